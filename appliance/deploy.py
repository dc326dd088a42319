"""What answers for each app, and every change of it: deploy, roll back, switch off, delete.

Guarantees:
1. Until the new version has been instantiated the old one answers, and a failure leaves it so.
2. The version's folder is complete before the pointer names it: a power cut at any moment leaves
   the old or the new version.
3. Nothing half-written remains: a refused guest leaves no file, an interrupted one leaves a
   temporary that the next start sweeps.
4. One change at a time. A frame under way is finished by the version that began it.

A rollback is a deploy of a version that is on disk, with the same checks. Whatever was deployed
or rolled back to answers, also if the app was disabled before. How it lies on disk: `versions`.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from appliance.apps import AppTable, LiveApp, make_live
from appliance.bundles import Bundle
from appliance.errors import ApplianceError, BadManifest, Conflict, NotFound
from appliance.guests.aot import AotCache
from appliance.guests.program import Host, make_program
from appliance.manifests import APP_MANIFEST, AppManifest, parse_app_manifest
from appliance.marking import Guard
from appliance.standings import AppState, Failure, FailureBook, Standing
from appliance.suspicion import Kind
from appliance.versions import CURRENT, AppShelf, StoredVersion

log = logging.getLogger(__name__)

# The one that answers and two to go back to; chosen, not measured.
KEPT_VERSIONS = 3


@dataclass(frozen=True, slots=True)
class Deployed:
    """What answers now.

    is_new: False if this very version was live already.
    """

    name: str
    version: str
    is_new: bool


class Deployer:
    """Changes apps, one at a time.

    scratch: where command guests find their frames.   instances: warm ones of a reactor, at most.
    guard: marks what runs, and refuses what crashed the box too often.
    """

    def __init__(
        self, folder: Path, host: Host, cache: AotCache, table: AppTable, *, scratch: Path,
        instances: int, clock: Callable[[], float] = time.time, guard: Guard | None = None,
    ) -> None:  # fmt: skip
        self._shelf = AppShelf(folder, lambda: int(clock() * 1e9))
        self._host = host
        self._cache = cache
        self._table = table
        self._scratch = scratch
        self._instances = instances
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = FailureBook()
        self._live: dict[str, str] = {}
        self._guard = guard

    # -- what is there ---------------------------------------------------------------------------

    def failures(self) -> tuple[Failure, ...]:
        """The last failure of each name that has not been changed well since."""
        return self._failures.all()

    def standings(self) -> tuple[Standing, ...]:
        """Say where every app stands, by name."""
        failed = (failure.name for failure in self._failures.all())
        names = {*self._live, *self._table.disabled(), *failed}
        return tuple(self._standing(name) for name in sorted(names))

    def standing(self, name: str) -> Standing:
        """Say where an app stands. Raises: NotFound naming the apps there are."""
        known = {standing.name: standing for standing in self.standings()}
        if name not in known:
            there = ", ".join(known) or "none is deployed"
            raise NotFound(f"app {name[:80]}: not found; apps on this box: {there}")
        return known[name]

    def _standing(self, name: str) -> Standing:
        failure = self._failures.get(name)
        live = self._live.get(name)
        if live is not None:
            return Standing(name, AppState.LIVE, live, failure)
        if name in self._table.disabled():
            return Standing(name, AppState.DISABLED, self._shelf.current(name) or "", failure)
        version = self._shelf.current(name) or (failure.version if failure is not None else "")
        return Standing(name, AppState.FAILED, version, failure)

    def versions(self, name: str) -> tuple[StoredVersion, ...]:
        """List an app's versions on disk, the one put in front last comes first."""
        return self._shelf.versions(name)

    def manifest(self, name: str) -> AppManifest:
        """Read the manifest of the current version from disk.

        Raises: NotFound if there is no version; what reading and parsing raise.
        """
        return self._read(name, self._shelf.current(name))[1]

    # -- changes ---------------------------------------------------------------------------------

    def deploy(self, bundle: Bundle, name: str, *, is_name_binding: bool = False) -> Deployed:
        """Make a guest answer.

        name: for an app whose manifest has none.   is_name_binding: the manifest must not say
        another one.
        Raises: BadGuest, BadManifest, GuestFailed, Unavailable; whatever was live still is.
        """
        with self._lock:
            try:
                manifest = parse_app_manifest(bundle.manifest or b"", default_name=name)
                if is_name_binding and manifest.name != name:
                    raise BadManifest(
                        f"{APP_MANIFEST}: name: got {manifest.name}, wanted {name} as in the "
                        "request; correct one of them"
                    )
                name = manifest.name
                deployed = self._deploy(bundle, manifest)
            except ApplianceError as exc:
                self._failures.note(name, bundle.version, exc, at=self._clock())
                log.warning("deploy failed app=%s version=%s reason=%s", name, bundle.version, exc)
                raise
            self._failures.forget(name)
        return deployed

    def rollback(self, name: str, version: str | None = None) -> Deployed:
        """Make a version answer that is on disk.

        version: None for the one that was in front before the current one; twice is there and
        back again.
        Raises: NotFound for an unknown app or version, Conflict if there is none to go back to;
        else as `deploy`, and whatever was live still is.
        """
        with self._lock:
            standing = self.standing(name)
            chosen = self._choose(standing, version)
            if standing.state is AppState.LIVE and standing.version == chosen:
                return Deployed(name, chosen, is_new=False)
            self._revive(name, chosen, "rollback")
        log.info("rolled back app=%s version=%s", name, chosen)
        return Deployed(name, chosen, is_new=True)

    def enable(self, name: str) -> Deployed:
        """Make an app answer that is disabled, quarantined, or did not come up at the start.

        Raises: NotFound for an unknown app, Conflict if it has no current version; else as
        `deploy`, and it stays as it is.
        """
        with self._lock:
            standing = self.standing(name)
            if standing.state is AppState.LIVE:
                return Deployed(name, standing.version, is_new=False)
            current = self._shelf.current(name)
            if current is None:
                raise Conflict(f"app {name}: no version of it was ever live; deploy it again")
            if self._guard is not None:
                self._guard.quarantine.release(Kind.APP, name)
            self._revive(name, current, "enable")
        log.info("enabled app=%s version=%s", name, current)
        return Deployed(name, current, is_new=True)

    def disable(self, name: str) -> None:
        """Let an app answer no frames, restarts included, until it is enabled or deployed.

        Raises: NotFound for an unknown app, Conflict if it never was live, Unavailable.
        """
        with self._lock:
            self.standing(name)
            if name not in self._shelf.names():
                raise Conflict(f"app {name}: no version of it was ever live; delete or deploy it")
            # The disk first: what it refuses must not come back at the next start.
            self._shelf.disable(name)
            self._table.disable(name)
            self._live.pop(name, None)
        log.info("disabled app=%s", name)

    def delete(self, name: str) -> None:
        """Forget an app: its versions, and what failed. Its predictions stay in the history.

        Raises: NotFound for an unknown app; Unavailable if the disk refuses, and it stays live.
        """
        with self._lock:
            self.standing(name)
            # The disk first: what it refuses must not come back at the next start.
            self._shelf.remove(name)
            self._table.remove(name)
            self._live.pop(name, None)
            self._failures.forget(name)
        log.info("deleted app=%s", name)

    # -- how -------------------------------------------------------------------------------------

    def _choose(self, standing: Standing, version: str | None) -> str:
        """Find the version to go back to."""
        kept = [stored.version for stored in self._shelf.versions(standing.name)]
        if version is None:
            before = [name for name in kept if name != self._shelf.current(standing.name)]
            if not before:
                raise Conflict(
                    f"app {standing.name}: no version to go back to; the box keeps the last "
                    f"{KEPT_VERSIONS} that answered"
                )
            return before[0]
        if version not in kept:
            raise NotFound(
                f"app {standing.name}: version {version[:80]} not found; versions on this box: "
                f"{', '.join(kept) or 'none'}"
            )
        return version

    def _revive(self, name: str, version: str, what: str) -> None:
        """Make a version on disk answer, noting a failure."""
        try:
            bundle, manifest = self._read(name, version)
            self._bring_up(bundle, manifest, lambda: self._put_in_front(name, version))
        except ApplianceError as exc:
            self._failures.note(name, version, exc, at=self._clock())
            log.warning("%s failed app=%s version=%s reason=%s", what, name, version, exc)
            raise
        self._failures.forget(name)

    def _deploy(self, bundle: Bundle, manifest: AppManifest) -> Deployed:
        name, version = manifest.name, bundle.version
        if self._live.get(name) == version:
            return Deployed(name, version, is_new=False)

        def write() -> None:
            self._shelf.write(name, bundle)
            self._put_in_front(name, version)

        self._bring_up(bundle, manifest, before_switch=write)
        log.info("deployed app=%s version=%s", name, version)
        self._shelf.trim(name, kept=KEPT_VERSIONS)
        return Deployed(name, version, is_new=True)

    def _put_in_front(self, name: str, version: str) -> None:
        self._shelf.put_in_front(name, version)
        self._shelf.enable(name)

    def _bring_up(
        self, bundle: Bundle, manifest: AppManifest, before_switch: Callable[[], None]
    ) -> None:
        live = self._make_live(bundle, manifest)
        try:
            before_switch()
        except BaseException:
            live.retire()
            raise
        self._table.switch(live)
        self._live[manifest.name] = bundle.version

    def _make_live(self, bundle: Bundle, manifest: AppManifest) -> LiveApp:
        """Compile and instantiate. Raises: also Conflict if that crashed the box too often."""
        name, version, guard = manifest.name, bundle.version, self._guard
        host, cache = self._host, self._cache
        if manifest.limits_over(host.defaults).fuel is not None:
            host = replace(host, engine=host.engine.counting())
            cache = cache.for_engine(host.engine)
        with nullcontext() if guard is None else guard.bringing_up(name, version):
            live = make_live(
                make_program(host, cache.module(bundle.wasm), manifest), version,
                instances=self._instances, scratch=self._scratch, clock=self._clock,
            )  # fmt: skip
        if guard is not None:
            live.runner.watched = guard.runner(live.runner.watched, name, version)
        return live

    def _read(self, name: str, version: str | None) -> tuple[Bundle, AppManifest]:
        if version is None:
            raise NotFound(f"{CURRENT}: names no version; deploy the app again")
        bundle = self._shelf.read(name, version)
        return bundle, parse_app_manifest(bundle.manifest or b"", default_name=name)

    # -- start -----------------------------------------------------------------------------------

    def restore(self) -> None:
        """Bring up what was live before the box stopped; a broken app is reported and skipped."""
        self._shelf.open()
        for name in self._shelf.names():
            if self._shelf.is_disabled(name):
                self._table.disable(name)
                continue
            version = None
            try:
                version = self._shelf.recovered(name)
                bundle, manifest = self._read(name, version)
                self._bring_up(bundle, manifest, before_switch=lambda: None)
            except ApplianceError as exc:
                self._failures.note(name, version or "", exc, at=self._clock())
                log.error("app not restored app=%s version=%s reason=%s", name, version, exc)
