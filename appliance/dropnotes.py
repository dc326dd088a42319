"""What became of each drop, as one JSON object in a file beside it: `x.wasm.status`.

A drop whose app answers may still fail its probation, today or after a restart: then its file says
so, for whoever dropped it looks nowhere else.
"""

import json
import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from appliance.errors import ApplianceError
from appliance.files import read_bounded, write_atomic
from appliance.standings import Failure

log = logging.getLogger(__name__)

_SUFFIX = ".status"
# Ours are a few hundred bytes; the folder is anybody's.
_MAX_BYTES = 16 * 1024


class Notes:
    """The status files of one folder; one thread at a time. clock: Unix seconds."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._clock = clock
        # By app: whose drop made it answer, and with which version.
        self._live: dict[str, tuple[Path, str]] = {}

    def open(self) -> None:
        """Recall which drops answered when the box stopped."""
        for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
            try:
                said = json.loads(read_bounded(path, max_bytes=_MAX_BYTES))
                self._recall(path.with_name(path.name.removesuffix(_SUFFIX)), said)
            except (ApplianceError, OSError, ValueError, RecursionError):
                continue  # not ours, or damaged: the drop is not followed any more

    def write(self, drop: Path, status: dict[str, object]) -> None:
        """Write beside a drop what became of it; `at`, Unix seconds, is added."""
        self._recall(drop, status)
        line = json.dumps({**status, "at": self._clock()}).encode() + b"\n"
        try:
            write_atomic(drop.with_name(drop.name + _SUFFIX), line)
        except ApplianceError as exc:
            log.error("inbox status not written file=%s reason=%s", drop.name, exc)

    def follow(self, failures: Iterable[Failure]) -> None:
        """Correct what says live of a version that has failed since."""
        for failure in failures if self._live else ():
            drop, version = self._live.get(failure.name, (None, ""))
            if drop is not None and version == failure.version:
                del self._live[failure.name]
                status: dict[str, object] = {
                    "state": "failed", "app": failure.name, "version": version,
                    "reason": failure.reason,
                }  # fmt: skip
                self.write(drop, status)

    def _recall(self, drop: Path, said: object) -> None:
        match said:
            case {"state": "live", "app": str(app), "version": str(version)}:
                self._live[app] = (drop, version)
