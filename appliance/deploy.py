"""What answers for each app, and every change of it: deploy, roll back, switch off, delete.

Guarantees:
1. Until the new version has been instantiated the old one answers, and a failure leaves it so.
2. The version's folder is complete before the pointer names it: a power cut at any moment leaves
   the old or the new version.
3. Nothing half-written remains: a refused guest leaves no file, an interrupted one leaves what
   the next start removes.
4. One change of an app at a time; a few wait for it, other apps do not. A frame under way is
   finished by the version that began it.
5. What makes a version answer is on record before it is done and at each stage of it
   (`deploying.journal`); a disk that refuses the record is a refusal of the deploy.
6. A version just deployed is on probation (`deploying.probation`): if it fails that, or ends the
   service, the version before answers again, and the bad one is not tried again by itself.

A rollback is a deploy of a version that is on disk, with the same checks, but for the trial: it
has answered before. Whatever was deployed or rolled back to answers, also if the app was disabled
before. How it lies on disk: `versions`.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from appliance.apps import AppTable
from appliance.bundles import Bundle
from appliance.deploying.attempts import Attempt, Attempts, Wish
from appliance.deploying.bringing import Bringer
from appliance.deploying.chores import Later, at_once
from appliance.deploying.front import Front, Gate, Parts
from appliance.deploying.journal import DeployJournal
from appliance.deploying.probation import Probation
from appliance.deploying.refusals import Refusals
from appliance.deploying.stages import Asker, Deploy, Kind, Stage
from appliance.deploying.starting import Restorer
from appliance.deploying.turns import Turns
from appliance.deploysettings import DeploySettings
from appliance.errors import BadManifest, Conflict, NotFound
from appliance.guests.aot import AotCache
from appliance.guests.program import Host
from appliance.manifests import APP_MANIFEST, AppManifest, parse_app_manifest
from appliance.marking import Guard
from appliance.standings import AppState, Failure, FailureBook, Standing
from appliance.suspicion import Kind as Suspected
from appliance.versions import AppShelf, StoredVersion

log = logging.getLogger(__name__)

Try = Callable[[Bundle, AppManifest], Sequence[str]]

# Under the state folder, beside `apps/`.
JOURNAL = "deploys.jsonl"


@dataclass(frozen=True, slots=True)
class Deployed:
    """What answers now.

    is_new: False if this very version was live already.
    """

    name: str
    version: str
    is_new: bool


class Deployer:
    """Changes apps.

    scratch: where command guests find their frames.   instances: warm ones of a reactor, at most.
    guard: marks what runs, and refuses what crashed the box too often.
    gate: says whether an app may be on this box, at a deploy and whenever it comes up; it raises.
    trial: tries a new version where it can do no harm; it raises, or tells what models it used.
    later: does what a frame's thread must not wait for.
    """

    def __init__(
        self, folder: Path, host: Host, cache: AotCache, table: AppTable, *, scratch: Path,
        instances: int, clock: Callable[[], float] = time.time, guard: Guard | None = None,
        gate: Gate | None = None, trial: Try | None = None,
        settings: DeploySettings | None = None, later: Later = at_once,
    ) -> None:  # fmt: skip
        self._settings = settings or DeploySettings()
        self._table = table
        self._guard = guard
        self._trial = trial
        self._turns = Turns()
        self._failures = FailureBook()
        self._refusals = Refusals()
        self._shelf = AppShelf(folder, lambda: int(clock() * 1e9))
        self._journal = DeployJournal(folder.with_name(JOURNAL), clock)
        self._attempts = Attempts(self._journal, self._failures, clock)
        bringer = Bringer(host, cache, scratch, instances, clock, guard)
        parts = Parts(
            self._shelf, table, bringer, self._journal, self._failures, self._attempts,
            self._turns, gate, later, clock,
        )  # fmt: skip
        self._bringer = bringer
        self._front = Front(parts)
        self._restorer = Restorer(
            parts, self._front, is_watched=self._settings.probation_frames > 0
        )

    def restore(self) -> None:
        """Bring up what was live before the box stopped; a broken app is reported and skipped."""
        self._restorer.restore()

    # -- what is there ---------------------------------------------------------------------------

    def failures(self) -> tuple[Failure, ...]:
        """The last failure of each name that has not been changed well since."""
        return self._failures.all()

    def outcomes(self) -> dict[tuple[str, str], int]:
        """Count deploys since the start: see `Attempts.outcomes`."""
        return self._attempts.outcomes()

    def history(self, name: str) -> tuple[Deploy, ...]:
        """List the last deploys of an app, the newest first."""
        return self._journal.of(name)

    def standings(self) -> tuple[Standing, ...]:
        """Say where every app stands, by name."""
        failed = (failure.name for failure in self._failures.all())
        under_way = {deploy.app: deploy for deploy in self._journal.under_way()}
        names = {*self._front.names(), *self._table.disabled(), *failed, *under_way}
        return tuple(self._standing(name, under_way.get(name)) for name in sorted(names))

    def standing(self, name: str) -> Standing:
        """Say where an app stands. Raises: NotFound naming the apps there are."""
        known = {standing.name: standing for standing in self.standings()}
        if name not in known:
            there = ", ".join(known) or "none is deployed"
            raise NotFound(f"app {name[:80]}: not found; apps on this box: {there}")
        return known[name]

    def _standing(self, name: str, under_way: Deploy | None) -> Standing:
        failure = self._failures.get(name)
        live = self._front.version(name)
        if live is not None:
            return Standing(name, AppState.LIVE, live, failure, under_way)
        if name in self._table.disabled():
            current = self._shelf.current(name) or ""
            return Standing(name, AppState.DISABLED, current, failure, under_way)
        version = self._shelf.current(name)
        if under_way is not None and version is None:
            return Standing(name, AppState.DEPLOYING, under_way.version, failure, under_way)
        version = version or (failure.version if failure is not None else "")
        return Standing(name, AppState.FAILED, version, failure, under_way)

    def versions(self, name: str) -> tuple[StoredVersion, ...]:
        """List an app's versions on disk, the one put in front last comes first."""
        return self._shelf.versions(name)

    def manifest(self, name: str) -> AppManifest:
        """Read the manifest of the current version from disk.

        Raises: NotFound if there is no version; what reading and parsing raise.
        """
        return self._front.read(name, self._shelf.current(name))[1]

    def bundle(self, name: str) -> Bundle:
        """Read the current version from disk. Raises: as `manifest`."""
        return self._front.read(name, self._shelf.current(name))[0]

    # -- changes ---------------------------------------------------------------------------------

    def deploy(
        self, bundle: Bundle, name: str, *, is_name_binding: bool = False, by: Asker = Asker.API
    ) -> Deployed:
        """Make a guest answer; the very version that does so already is left as it is.

        name: for an app whose manifest has none.   is_name_binding: the manifest must not say
        another one.   by: who asks, for the record.
        Raises: BadGuest, BadManifest, GuestFailed, at once if these bytes were refused just now
        (`deploying.refusals`); Unavailable, Conflict if too many changes of the app wait; whatever
        was live still is.
        """
        manifest = _parsed(bundle, name, is_name_binding=is_name_binding)
        if isinstance(manifest, AppManifest):
            name = manifest.name
        with self._turns.of(name):
            before = self._front.version(name) or ""
            if isinstance(manifest, AppManifest) and before == bundle.version:
                self._front.admit(bundle, manifest)
                self._shelf.sign(name, bundle)
                self._failures.forget(name)
                return Deployed(name, before, is_new=False)
            wish = Wish(
                name, bundle.version, Kind.DEPLOY, by, before,
                had_files=self._shelf.has(name, bundle.version),
                probation=Probation(self._settings.probation_frames),
            )  # fmt: skip
            with (
                self._refusals.remembered(name, bundle.version),
                self._attempts.of(wish) as attempt,
            ):
                if isinstance(manifest, BadManifest):
                    raise manifest
                self._make_answer(bundle, manifest, attempt)
            self._shelf.trim(name, kept=self._settings.kept_versions, before=before)
        log.info("deployed app=%s version=%s by=%s", name, bundle.version, by)
        return Deployed(name, bundle.version, is_new=True)

    def _make_answer(self, bundle: Bundle, manifest: AppManifest, attempt: Attempt) -> None:
        """Take a bundle through all stages up to live."""
        wish = attempt.wish
        self._front.admit(bundle, manifest)
        attempt.reach(Stage.VALIDATED)
        models = () if self._trial is None else self._trial(bundle, manifest)
        live = self._bringer.bring_up(bundle, manifest, attempt.reach, models)
        try:
            self._front.put(
                live, attempt.id, wish.probation,
                write=lambda: self._shelf.write(wish.name, bundle),
            )  # fmt: skip
        except Exception:
            if not wish.had_files:
                self._shelf.discard(wish.name, wish.version)
            raise

    def rollback(self, name: str, version: str | None = None, *, by: Asker = Asker.API) -> Deployed:
        """Make a version answer that is on disk.

        version: None for the one that was in front before the current one; twice is there and
        back again.
        Raises: NotFound for an unknown app or version, Conflict if there is none to go back to;
        else as `deploy`, and whatever was live still is.
        """
        with self._turns.of(name):
            standing = self.standing(name)
            chosen = self._choose(standing, version)
            before = self._front.version(name) or ""
            if before == chosen:
                return Deployed(name, chosen, is_new=False)
            self._front.revive(Wish(name, chosen, Kind.ROLLBACK, by, before))
        log.info("rolled back app=%s version=%s by=%s", name, chosen, by)
        return Deployed(name, chosen, is_new=True)

    def enable(self, name: str, *, by: Asker = Asker.API) -> Deployed:
        """Make an app answer that is disabled, quarantined, or did not come up at the start.

        Raises: NotFound for an unknown app, Conflict if it has no current version; else as
        `deploy`, and it stays as it is.
        """
        with self._turns.of(name):
            standing = self.standing(name)
            if standing.state is AppState.LIVE:
                return Deployed(name, standing.version, is_new=False)
            current = self._shelf.current(name)
            if current is None:
                raise Conflict(f"app {name}: no version of it was ever live; deploy it again")
            if self._guard is not None:
                self._guard.quarantine.release(Suspected.APP, name)
            unfinished = self._front.unfinished(name, current)
            self._front.revive(Wish(name, current, Kind.ENABLE, by, probation=unfinished))
        log.info("enabled app=%s version=%s by=%s", name, current, by)
        return Deployed(name, current, is_new=True)

    def disable(self, name: str) -> None:
        """Let an app answer no frames, restarts included, until it is enabled or deployed.

        Raises: NotFound for an unknown app, Conflict if it never was live, Unavailable.
        """
        with self._turns.of(name):
            self.standing(name)
            if name not in self._shelf.names():
                raise Conflict(f"app {name}: no version of it was ever live; delete or deploy it")
            # The disk first: what it refuses must not come back at the next start.
            self._shelf.disable(name)
            self._front.withdraw(name)
            self._table.disable(name)
        log.info("disabled app=%s", name)

    def delete(self, name: str) -> None:
        """Forget an app: its versions, and what failed. Its predictions stay in the history.

        Raises: NotFound for an unknown app; Unavailable if the disk refuses, and it stays live.
        """
        with self._turns.of(name):
            self.standing(name)
            # The disk first: what it refuses must not come back at the next start.
            self._shelf.remove(name)
            self._front.withdraw(name)
            self._table.remove(name)
            self._failures.forget(name)
            self._journal.forget(name)
        log.info("deleted app=%s", name)

    def _choose(self, standing: Standing, version: str | None) -> str:
        """Find the version to go back to."""
        kept = [stored.version for stored in self._shelf.versions(standing.name)]
        if version is None:
            before = [name for name in kept if name != self._shelf.current(standing.name)]
            if not before:
                raise Conflict(
                    f"app {standing.name}: no version to go back to; the box keeps the last "
                    f"{self._settings.kept_versions} that answered"
                )
            return before[0]
        if version not in kept:
            raise NotFound(
                f"app {standing.name}: version {version[:80]} not found; versions on this box: "
                f"{', '.join(kept) or 'none'}"
            )
        return version


def _parsed(bundle: Bundle, name: str, *, is_name_binding: bool) -> AppManifest | BadManifest:
    """Read a manifest. Returns: what is wrong with it, to be put on record under the name given."""
    try:
        manifest = parse_app_manifest(bundle.manifest or b"", default_name=name)
    except BadManifest as exc:
        return exc
    if is_name_binding and manifest.name != name:
        return BadManifest(
            f"{APP_MANIFEST}: name: got {manifest.name}, wanted {name} as in the request; correct "
            "one of them"
        )
    return manifest
