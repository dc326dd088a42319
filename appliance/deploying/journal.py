"""Every deploy on disk, and what became of it: state/deploys.jsonl.

One file for the box, and not one for each app: names are the client's to invent, and one file is
bounded, read and repaired once. `lines` says what is in it.

Guarantees:
1. A deploy is on disk before anything else of it happens (`begin`); if the disk refuses, it does
   not happen. What follows is written without waiting for the disk: a process that is killed
   loses none of it, and after a power cut the pointers on disk say how it ended.
2. A torn or damaged line costs itself, a missing or unreadable file the history: never an app.
3. The last KEPT_DEPLOYS of the KEPT_APPS that changed last, and whatever is live or under way, are
   kept; the file is written anew when it has grown to twice that.
"""

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from appliance.deploying import lines
from appliance.deploying.probation import NO_PROBATION, Probation
from appliance.deploying.stages import MAX_REASON_LENGTH, Asker, Deploy, Kind, Stage, Step
from appliance.errors import ApplianceError, NotFound, Unavailable
from appliance.files import read_bounded, sync_folder, write_atomic, writing

log = logging.getLogger(__name__)

KEPT_DEPLOYS = 20
KEPT_APPS = 200
# 4000 deploys of half a kilobyte, twice; what is larger we did not write.
MAX_BYTES = 16 * 1024 * 1024
_SLACK_BYTES = 256 * 1024


class DeployJournal:
    """Remembers deploys. Thread-safe. clock: Unix seconds."""

    def __init__(self, file: Path, clock: Callable[[], float]) -> None:
        self._file = file
        self._clock = clock
        # Held while a line is written: the file has the order of what happened.
        self._lock = threading.Lock()
        self._deploys: dict[int, Deploy] = {}
        self._last_id = 0
        self._room_bytes = _SLACK_BYTES
        self._is_torn = False

    def open(self) -> None:
        """Read what is known; only for the start."""
        try:
            content = read_bounded(self._file, max_bytes=MAX_BYTES)
        except NotFound:
            return
        except ApplianceError as exc:
            log.error("deploys.jsonl set aside, the history of deploys is lost reason=%s", exc)
            self._set_aside()
            return
        self._deploys, damaged = lines.read(content.splitlines())
        self._last_id = max(self._deploys, default=0)
        self._is_torn = not content.endswith(b"\n") and content != b""
        self._room_bytes = max(0, _SLACK_BYTES - len(content))
        if damaged:
            log.warning("deploys.jsonl: lines skipped, damaged count=%d", damaged)

    def _set_aside(self) -> None:
        try:
            self._file.replace(self._file.with_name(self._file.name + ".damaged"))
        except OSError as exc:
            log.error("deploys.jsonl cannot be set aside reason=%s", exc.strerror)

    # -- what is known ---------------------------------------------------------------------------

    def apps(self) -> tuple[str, ...]:
        """Name the apps there is something about."""
        with self._lock:
            return tuple(sorted({deploy.app for deploy in self._deploys.values()}))

    def get(self, number: int) -> Deploy | None:
        """Find a deploy; None if it is long ago, or its app was deleted."""
        with self._lock:
            return self._deploys.get(number)

    def of(self, app: str) -> tuple[Deploy, ...]:
        """List an app's deploys, the newest first."""
        with self._lock:
            found = [deploy for deploy in self._deploys.values() if deploy.app == app]
        return tuple(sorted(found, key=lambda deploy: deploy.id, reverse=True))

    def under_way(self) -> tuple[Deploy, ...]:
        """List the deploys that have not ended."""
        with self._lock:
            return tuple(deploy for deploy in self._deploys.values() if deploy.is_under_way)

    # -- what happens ----------------------------------------------------------------------------

    def begin(
        self, app: str, version: str, kind: Kind, by: Asker, *, before: str = "",
        had_files: bool = True, reason: str = "", probation: Probation = NO_PROBATION,
    ) -> Deploy:  # fmt: skip
        """Put a deploy on record, safe on disk when this returns. Raises: Unavailable."""
        deploy = Deploy(
            0, app, version, before, kind, by, (Step(Stage.RECEIVED, self._clock()),), had_files,
            reason[:MAX_REASON_LENGTH], probation,
        )  # fmt: skip
        with self._lock:
            deploy = replace(deploy, id=self._last_id + 1)
            self._append(lines.first_line(deploy), is_durable=True)
            self._last_id = deploy.id
            self._deploys[deploy.id] = deploy
        return deploy

    def adopt(self, app: str, version: str, probation: Probation) -> Deploy:
        """Put on record what is live without any record; a disk that refuses does not matter."""
        with self._lock:
            self._last_id += 1
            step = Step(Stage.RECEIVED, self._clock())
            deploy = self._deploys[self._last_id] = Deploy(
                self._last_id, app, version, "", Kind.START, Asker.AUTOMATIC, (step,),
                probation=probation,
            )  # fmt: skip
            self._try_to_append(lines.first_line(deploy))
        return deploy

    def step(self, number: int, stage: Stage, reason: str = "") -> None:
        """Let a deploy go on to a stage. A disk that refuses costs the line, no more."""
        with self._lock:
            deploy = self._deploys.get(number)
            if deploy is None:
                return
            if stage is Stage.GONE and deploy.stage is Stage.LIVE:
                # Its last frame was finished at once.
                deploy = deploy.reached(Stage.DRAINING, self._clock())
                self._try_to_append(lines.stage_line(deploy))
            reached = deploy.reached(stage, self._clock(), reason)
            if reached is not deploy or deploy is not self._deploys[number]:
                self._deploys[number] = reached
                self._try_to_append(lines.stage_line(reached))

    def judge(self, number: int, probation: Probation, reason: str = "") -> None:
        """Note how far a probation is; a verdict is safe on disk when this returns."""
        with self._lock:
            deploy = self._deploys.get(number)
            if deploy is None:
                return
            reason = reason[:MAX_REASON_LENGTH] or deploy.reason
            deploy = self._deploys[number] = replace(deploy, probation=probation, reason=reason)
            self._try_to_append(
                lines.probation_line(deploy), is_durable=probation.verdict is not None
            )

    def forget(self, app: str) -> None:
        """Strike an app off."""
        with self._lock:
            self._deploys = {i: d for i, d in self._deploys.items() if d.app != app}
            self._try_to_append(lines.forget_line(app))

    def tidy(self) -> None:
        """Write the file anew with what is kept; a disk that refuses is logged."""
        with self._lock:
            self._tidy()

    # -- the file; all under the lock ------------------------------------------------------------

    def _tidy(self) -> None:
        self._deploys = _kept(self._deploys)
        content = b"".join(lines.first_line(deploy) for deploy in self._deploys.values())
        try:
            write_atomic(self._file, content)
        except Unavailable as exc:
            log.error("deploys.jsonl not written anew reason=%s", exc)
            self._room_bytes = _SLACK_BYTES
            return
        self._is_torn = False
        self._room_bytes = len(content) + _SLACK_BYTES

    def _try_to_append(self, line: bytes, *, is_durable: bool = False) -> None:
        try:
            self._append(line, is_durable=is_durable)
        except Unavailable as exc:
            log.error("deploy not journalled reason=%s", exc)

    def _append(self, line: bytes, *, is_durable: bool) -> None:
        """Write a line whole or not at all. Raises: Unavailable."""
        if self._room_bytes < len(line):
            self._tidy()
        with writing(self._file):
            is_new = not self._file.exists()
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(self._file, flags | os.O_NONBLOCK, 0o640)
            try:
                self._write(descriptor, b"\n" + line if self._is_torn else line)
                if is_durable:
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
            self._is_torn = False
            self._room_bytes -= len(line)
            if is_new:
                sync_folder(self._file.parent)

    def _write(self, descriptor: int, line: bytes) -> None:
        size = os.fstat(descriptor).st_size
        # What is torn is ended by the next line, should even taking it back fail.
        self._is_torn = True
        written = os.write(descriptor, line)
        if written < len(line):
            os.ftruncate(descriptor, size)
            raise OSError(28, "No space left on device")


def _kept(deploys: dict[int, Deploy]) -> dict[int, Deploy]:
    """Choose what is kept: of each app the last ones, of apps those that changed last."""
    by_app: dict[str, list[Deploy]] = {}
    for number in sorted(deploys, reverse=True):
        by_app.setdefault(deploys[number].app, []).append(deploys[number])
    # Those with something live come first, whatever clients invent.
    ranked = sorted(by_app.values(), key=lambda found: not any(_is_vital(d) for d in found))
    kept = [
        deploy
        for rank, found in enumerate(ranked)
        for age, deploy in enumerate(found)
        if (age < KEPT_DEPLOYS and rank < KEPT_APPS) or _is_vital(deploy)
    ]
    return {deploy.id: deploy for deploy in sorted(kept, key=lambda deploy: deploy.id)}


def _is_vital(deploy: Deploy) -> bool:
    return deploy.is_under_way or deploy.stage is Stage.LIVE
