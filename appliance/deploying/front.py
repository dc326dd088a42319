"""What answers for each app: versions are put in front, watched, and taken back.

Whoever calls has the app's turn, but for the start of the box.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from appliance.apps import AppTable, LiveApp
from appliance.bundles import Bundle
from appliance.deploying.attempts import Attempts, Wish
from appliance.deploying.bringing import Bringer
from appliance.deploying.chores import Later
from appliance.deploying.fallback import candidates
from appliance.deploying.journal import DeployJournal
from appliance.deploying.probation import NO_PROBATION, Probation
from appliance.deploying.stages import Asker, Deploy, Kind, Stage
from appliance.deploying.turns import Turns
from appliance.deploying.watch import Watch
from appliance.errors import ApplianceError, NotFound
from appliance.manifests import AppManifest, parse_app_manifest
from appliance.standings import FailureBook
from appliance.versions import CURRENT, AppShelf

log = logging.getLogger(__name__)

# Says whether an app may be on this box; it raises if not.
Gate = Callable[[Bundle, AppManifest], object]


@dataclass(frozen=True, slots=True)
class Parts:
    """What a deployer is made of. later: does what a frame's thread must not wait for."""

    shelf: AppShelf
    table: AppTable
    bringer: Bringer
    journal: DeployJournal
    failures: FailureBook
    attempts: Attempts
    turns: Turns
    gate: Gate | None
    later: Later
    clock: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Answering:
    """The version that answers. deploy: the number of what made it do so."""

    version: str
    deploy: int


class Front:
    """Knows what answers, and changes it."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._lock = threading.Lock()
        self._live: dict[str, Answering] = {}

    def names(self) -> frozenset[str]:
        """Name the apps that answer."""
        with self._lock:
            return frozenset(self._live)

    def version(self, name: str) -> str | None:
        """Tell which version answers for a name."""
        with self._lock:
            answering = self._live.get(name)
        return None if answering is None else answering.version

    # -- putting in front ------------------------------------------------------------------------

    def read(self, name: str, version: str | None) -> tuple[Bundle, AppManifest]:
        """Read a version from disk. Raises: NotFound, BadGuest, BadManifest."""
        if version is None:
            raise NotFound(f"{CURRENT}: names no version; deploy the app again")
        bundle = self._parts.shelf.read(name, version)
        return bundle, parse_app_manifest(bundle.manifest or b"", default_name=name)

    def admit(self, bundle: Bundle, manifest: AppManifest) -> None:
        """Ask the gate, if there is one. Raises: what it raises."""
        if self._parts.gate is not None:
            self._parts.gate(bundle, manifest)

    def revive(self, wish: Wish) -> None:
        """Make a version answer that is on disk. Raises: as a deploy; what was live still is."""
        with self._parts.attempts.of(wish) as attempt:
            bundle, manifest = self.read(wish.name, wish.version)
            self.admit(bundle, manifest)
            attempt.reach(Stage.VALIDATED)
            live = self._parts.bringer.bring_up(bundle, manifest, attempt.reach)
            self.put(live, attempt.id, wish.probation)

    def put(
        self, live: LiveApp, deploy: int, probation: Probation,
        write: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        """Put a version that was brought up in front: on disk, then for frames.

        write: what is to be on disk before.   Raises: Unavailable; what was live still is.
        """
        try:
            write()
            self._parts.shelf.put_in_front(live.name, live.version)
            self._parts.shelf.enable(live.name)
        except BaseException:
            live.retire()
            raise
        self.switch(live, deploy, probation)

    def switch(self, live: LiveApp, deploy: int, probation: Probation) -> None:
        """Let a version answer that the pointer names; the one before is drained."""
        name, parts = live.name, self._parts
        if probation.is_open:
            live.on_frame = Watch(
                probation,
                lambda after, reason: parts.later(
                    lambda: self._counted(name, deploy, after, reason)
                ),
            )
        live.on_closed = lambda: parts.later(lambda: self._closed(name, deploy))
        with self._lock:
            old = self._live.get(name)
            self._live[name] = Answering(live.version, deploy)
        parts.table.switch(live)
        parts.journal.step(deploy, Stage.LIVE)
        for other in parts.journal.of(name):
            if other.id != deploy and other.stage is Stage.LIVE:
                is_old = old is not None and other.id == old.deploy
                self._end(other, Stage.DRAINING if is_old else Stage.GONE)

    def withdraw(self, name: str) -> None:
        """Note that nobody answers for a name any more; the table is the caller's."""
        with self._lock:
            old = self._live.pop(name, None)
        deploy = None if old is None else self._parts.journal.get(old.deploy)
        if deploy is not None:
            self._end(deploy, Stage.DRAINING)

    def _closed(self, name: str, number: int) -> None:
        """Note that a version's last frame is finished."""
        with self._lock:
            answering = self._live.get(name)
        deploy = self._parts.journal.get(number)
        # One that still answers is closed with the box: the next start goes on with it.
        if deploy is not None and (answering is None or answering.deploy != number):
            self._end(deploy, Stage.GONE)

    def _end(self, deploy: Deploy, stage: Stage) -> None:
        """Note that a version answers no more; one that was bad has failed."""
        is_bad = deploy.probation.is_bad
        self._parts.journal.step(deploy.id, Stage.FAILED if is_bad else stage)

    # -- probation -------------------------------------------------------------------------------

    def unfinished(self, name: str, version: str) -> Probation:
        """Find the probation that a version did not end, to go on with it."""
        past = (d.probation for d in self._parts.journal.of(name) if d.version == version)
        latest = next(past, NO_PROBATION)
        return latest if latest.is_open else NO_PROBATION

    def _counted(self, name: str, number: int, probation: Probation, reason: str) -> None:
        """Note a frame of a probation, and what follows from it."""
        journal = self._parts.journal
        journal.judge(number, probation, reason)
        if not probation.is_bad:
            return
        # However many wait: it is the box's own wish, and there is one for each version.
        with self._parts.turns.of(name, is_patient=True):
            bad = journal.get(number)
            with self._lock:
                answering = self._live.get(name)
            if bad is None or answering is None or answering.deploy != number:
                return  # somebody was faster
            try:
                self.go_back(bad)
            except ApplianceError as exc:
                log.error("not rolled back app=%s version=%s reason=%s", name, bad.version, exc)

    def go_back(self, bad: Deploy) -> bool:
        """Let the version before one that failed its probation answer.

        Returns: False if there is none: what answers goes on.
        Raises: what the last one raised, if none of them comes up.
        """
        name, parts = bad.app, self._parts
        kept = [stored.version for stored in parts.shelf.versions(name)]
        failed: ApplianceError | None = None
        for version in candidates(bad, kept, parts.journal.of(name)):
            try:
                self.revive(
                    Wish(name, version, Kind.ROLLBACK, Asker.AUTOMATIC, bad.version,
                         reason=bad.reason)
                )  # fmt: skip
            except ApplianceError as exc:
                failed = exc
                continue
            log.warning(
                "rolled back automatically app=%s version=%s bad=%s reason=%s", name, version,
                bad.version, bad.reason,
            )  # fmt: skip
            self._note(bad, f"{version} answers again; the box does not try it by itself")
            return True
        if failed is None:
            log.warning("bad version kept app=%s version=%s reason=%s", name, bad.version,
                        bad.reason)  # fmt: skip
            self._note(bad, "there is no version to go back to; deploy a better one")
            return False
        self._note(bad, f"going back failed: {failed}")
        raise failed

    def _note(self, bad: Deploy, rest: str) -> None:
        reason = f"version {bad.version} failed its probation: {bad.reason}; {rest}"
        self._parts.failures.note(bad.app, bad.version, reason, at=self._parts.clock())
