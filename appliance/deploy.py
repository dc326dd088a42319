"""Putting a guest on the box: check, compile, warm up, then switch.

    apps/<name>/<version>/app.wasm, app.toml     one folder a version, named by its content
    apps/<name>/current                          the version that answers

Guarantees:
1. Until the new version has been instantiated the old one answers, and a failure leaves it so.
2. The version's folder is complete before `current` names it: a power cut at any moment leaves
   the old or the new version.
3. Nothing half-written remains: a refused guest leaves no file, an interrupted one leaves a
   temporary that the next start sweeps.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from appliance.apps import AppTable, make_live
from appliance.bundles import MAX_WASM_BYTES, Bundle
from appliance.errors import ApplianceError, BadGuest, BadManifest, NotFound
from appliance.files import (
    make_dirs,
    publish,
    read_bounded,
    read_pointer,
    remove_tree,
    replace_pointer,
    sweep_temporaries,
    temporary_beside,
    write_atomic,
)
from appliance.guests.aot import AotCache
from appliance.guests.program import Host, make_program
from appliance.manifests import APP_MANIFEST, MAX_MANIFEST_BYTES, AppManifest, parse_app_manifest

log = logging.getLogger(__name__)

GUEST_FILE = "app.wasm"
CURRENT = "current"
# The one that answers and two to go back to; chosen, not measured.
KEPT_VERSIONS = 3
# Names are the client's to invent; the oldest failure is forgotten.
KEPT_FAILURES = 100


@dataclass(frozen=True, slots=True)
class Failure:
    """The last deploy of a name that failed.

    at: Unix seconds.
    """

    name: str
    version: str
    reason: str
    at: float


@dataclass(frozen=True, slots=True)
class Deployed:
    """What answers now.

    is_new: False if this very version was live already.
    """

    name: str
    version: str
    is_new: bool


class Deployer:
    """Deploys apps, one at a time.

    scratch: where command guests find their frames.   instances: warm ones of a reactor, at most.
    """

    def __init__(
        self, folder: Path, host: Host, cache: AotCache, table: AppTable, *, scratch: Path,
        instances: int, clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._folder = folder
        self._host = host
        self._cache = cache
        self._table = table
        self._scratch = scratch
        self._instances = instances
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: dict[str, Failure] = {}
        self._live: dict[str, str] = {}

    def failures(self) -> tuple[Failure, ...]:
        """The last failure of each name that has not been deployed well since."""
        return tuple(self._failures.values())

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
                self._note_failure(name, bundle.version, exc)
                log.warning("deploy failed app=%s version=%s reason=%s", name, bundle.version, exc)
                raise
            self._failures.pop(name, None)
        return deployed

    def _note_failure(self, name: str, version: str, error: ApplianceError) -> None:
        self._failures.pop(name, None)
        self._failures[name] = Failure(name, version, str(error), self._clock())
        if len(self._failures) > KEPT_FAILURES:
            del self._failures[next(iter(self._failures))]

    def _deploy(self, bundle: Bundle, manifest: AppManifest) -> Deployed:
        name, version = manifest.name, bundle.version
        if self._live.get(name) == version:
            return Deployed(name, version, is_new=False)
        self._bring_up(bundle, manifest, before_switch=lambda: self._write(bundle, name))
        log.info("deployed app=%s version=%s", name, version)
        self._remove_old(name)
        return Deployed(name, version, is_new=True)

    def _bring_up(
        self, bundle: Bundle, manifest: AppManifest, before_switch: Callable[[], None]
    ) -> None:
        module = self._cache.module(bundle.wasm)
        program = make_program(self._host, module, manifest)
        live = make_live(
            program, bundle.version, instances=self._instances, scratch=self._scratch,
            clock=self._clock,
        )  # fmt: skip
        try:
            before_switch()
        except BaseException:
            live.retire()
            raise
        self._table.switch(live)
        self._live[manifest.name] = bundle.version

    def _write(self, bundle: Bundle, name: str) -> None:
        """Put the version on disk, then the pointer."""
        home = self._folder / name
        make_dirs(home)
        target = home / bundle.version
        if not _holds(target, bundle):
            remove_tree(target)
            unfinished = temporary_beside(target)
            try:
                make_dirs(unfinished)
                write_atomic(unfinished / GUEST_FILE, bundle.wasm)
                if bundle.manifest is not None:
                    write_atomic(unfinished / APP_MANIFEST, bundle.manifest)
                publish(unfinished, target)
            except BaseException:
                remove_tree(unfinished)
                raise
        replace_pointer(home / CURRENT, bundle.version)

    def _remove_old(self, name: str) -> None:
        """Keep the newest versions; a failure here costs disk space, nothing else."""
        try:
            versions = sorted(
                (p for p in (self._folder / name).iterdir() if p.is_dir()),
                key=lambda p: p.stat().st_mtime_ns,
                reverse=True,
            )
            for folder in versions[KEPT_VERSIONS:]:
                if folder.name != self._live.get(name):
                    remove_tree(folder)
        except (OSError, ApplianceError) as exc:
            log.warning("old versions not removed app=%s reason=%s", name, exc)

    # -- start -----------------------------------------------------------------------------------

    def restore(self) -> None:
        """Bring up what was live before the box stopped; a broken app is reported and skipped."""
        make_dirs(self._folder)
        sweep_temporaries(self._folder)
        for home in sorted(p for p in self._folder.iterdir() if p.is_dir()):
            sweep_temporaries(home)
            version = read_pointer(home / CURRENT)
            try:
                if version is None:
                    raise NotFound(f"{CURRENT}: names no version; deploy the app again")
                bundle = _read_version(home / version)
                if bundle.version != version:
                    raise BadGuest(f"version {version}: damaged on disk; deploy the app again")
                manifest = parse_app_manifest(bundle.manifest or b"", default_name=home.name)
                self._bring_up(bundle, manifest, before_switch=lambda: None)
            except ApplianceError as exc:
                self._note_failure(home.name, version or "", exc)
                log.error("app not restored app=%s version=%s reason=%s", home.name, version, exc)


def _holds(folder: Path, bundle: Bundle) -> bool:
    """Tell whether a version is on disk, whole."""
    try:
        return _read_version(folder) == bundle
    except ApplianceError:
        return False


def _read_version(folder: Path) -> Bundle:
    wasm = read_bounded(folder / GUEST_FILE, max_bytes=MAX_WASM_BYTES)
    try:
        manifest = read_bounded(folder / APP_MANIFEST, max_bytes=MAX_MANIFEST_BYTES)
    except NotFound:
        return Bundle(wasm)
    return Bundle(wasm, manifest)
