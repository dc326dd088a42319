"""The versions of apps on disk.

    apps/<name>/<version>/app.wasm, app.toml     one folder a version, named by its content
    apps/<name>/<version>/files/                 what its app.toml names
    apps/<name>/<version>/app.sig                who signed it, if anybody did
    apps/<name>/current                          the version that answers
    apps/<name>/disabled                         there: the operator switched the app off

A version's folder bears the time when it was last put in front (its modification time), which is
what "the version before" goes by. These times only grow within an app, though the clock of a box
without a battery may not.

Whoever changes an app has its turn at the deployer (`deploying.turns`); reading needs none.
"""

import contextlib
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from appliance.bundles import (
    MAX_FILE_BYTES,
    MAX_SIGNATURE_BYTES,
    MAX_WASM_BYTES,
    SIGNATURE_FILE,
    Bundle,
)
from appliance.errors import ApplianceError, BadGuest, NotFound, Unavailable
from appliance.files import (
    TEMPORARY_PREFIX,
    free_name,
    make_dirs,
    new_file,
    publish,
    read_bounded,
    read_pointer,
    remove_tree,
    replace_pointer,
    sweep_temporaries,
    temporary_beside,
    write_atomic,
    writing,
)
from appliance.golden import files_named
from appliance.manifests import APP_MANIFEST, MAX_MANIFEST_BYTES

log = logging.getLogger(__name__)

GUEST_FILE = "app.wasm"
FILES_FOLDER = "files"
CURRENT = "current"
DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """One version on disk. deployed_at: Unix seconds when it was last put in front."""

    version: str
    deployed_at: float
    size_bytes: int
    is_current: bool


class AppShelf:
    """The folder of all apps. clock: Unix nanoseconds."""

    def __init__(self, folder: Path, clock: Callable[[], int] = time.time_ns) -> None:
        self._folder = folder
        self._clock = clock

    def open(self) -> None:
        """Make the folder, and sweep what a crash left; only for the start."""
        try:
            make_dirs(self._folder)
        except Unavailable as exc:
            # A full or read-only disk: the first version makes it.
            log.warning("no folder of apps reason=%s", exc)
        sweep_temporaries(self._folder)
        for name in self.names():
            sweep_temporaries(self._folder / name)
            self._remove_empty(name)

    def names(self) -> tuple[str, ...]:
        """List the apps that have a folder, sorted."""
        try:
            return tuple(
                sorted(
                    path.name
                    for path in self._folder.iterdir()
                    if path.is_dir() and not path.name.startswith(TEMPORARY_PREFIX)
                )
            )
        except FileNotFoundError:
            return ()

    def current(self, name: str) -> str | None:
        """Tell which version the pointer names; None if there is no pointer or it is damaged."""
        return read_pointer(self._folder / name / CURRENT)

    def recovered(self, name: str) -> str | None:
        """Tell what the pointer names; the version put in front last if it is lost or damaged."""
        pointed = self.current(name)
        if pointed is not None and (self._folder / name / pointed).is_dir():
            return pointed
        found = self.versions(name)
        if not found:
            return None
        log.error("pointer lost, taking the newest app=%s version=%s", name, found[0].version)
        try:
            replace_pointer(self._folder / name / CURRENT, found[0].version)
        except Unavailable as exc:
            log.warning("pointer not mended app=%s reason=%s", name, exc)
        return found[0].version

    def versions(self, name: str) -> tuple[StoredVersion, ...]:
        """List an app's versions, the one put in front last comes first."""
        current = self.current(name)
        found = [
            (moment_ns, StoredVersion(path.name, moment_ns / 1e9, size, path.name == current))
            for path, moment_ns, size in self._folders(name)
        ]
        return tuple(version for _, version in sorted(found, key=lambda f: f[0], reverse=True))

    def _folders(self, name: str) -> list[tuple[Path, int, int]]:
        """List version folders with their time and size; one that goes away meanwhile is left out.

        Raises: Unavailable if the disk refuses.
        """
        found = []
        try:
            for path in (self._folder / name).iterdir():
                if path.is_dir() and not path.name.startswith(TEMPORARY_PREFIX):
                    try:
                        size = sum(f.stat().st_size for f in path.rglob("*") if not f.is_dir())
                        found.append((path, path.stat().st_mtime_ns, size))
                    except FileNotFoundError:
                        continue
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as exc:
            raise Unavailable(f"app {name}: its versions cannot be read: {exc.strerror}") from exc
        return found

    def read(self, name: str, version: str) -> Bundle:
        """Read a version that `versions` or `current` named.

        Raises: BadGuest if it is damaged; NotFound, BadRequest or TooBig from reading.
        """
        bundle = _read(self._folder / name / version)
        if bundle.version != version:
            raise BadGuest(f"version {version}: damaged on disk; deploy the app again")
        return bundle

    def write(self, name: str, bundle: Bundle) -> None:
        """Put a version on disk, whole or not at all; the pointer stays. Raises: Unavailable."""
        home = self._folder / name
        make_dirs(home)
        target = home / bundle.version
        if self._holds(name, bundle):
            self.sign(name, bundle)
            return
        remove_tree(target)
        unfinished = temporary_beside(target)
        try:
            _write(unfinished / GUEST_FILE, bundle.wasm)
            if bundle.manifest is not None:
                _write(unfinished / APP_MANIFEST, bundle.manifest)
            if bundle.signature is not None:
                _write(unfinished / SIGNATURE_FILE, bundle.signature)
            for file, content in bundle.files.items():
                _write(unfinished / FILES_FOLDER / file, content)
            publish(unfinished, target)
        except BaseException:
            remove_tree(unfinished)
            self._remove_empty(name)
            raise

    def sign(self, name: str, bundle: Bundle) -> None:
        """Keep the signature of a version on disk; without one there stays what is there.

        Raises: Unavailable; NotFound if the version is not on disk.
        """
        if bundle.signature is None:
            return
        if self.read(name, bundle.version).signature != bundle.signature:
            write_atomic(self._folder / name / bundle.version / SIGNATURE_FILE, bundle.signature)

    def has(self, name: str, version: str) -> bool:
        """Tell whether there is a folder of a version, whatever is in it."""
        return any(path.name == version for path, _, _ in self._folders(name))

    def discard(self, name: str, version: str) -> None:
        """Remove a version that never was in front; the current one stays.

        A failure costs disk space and nothing else: it is logged.
        """
        try:
            if self.current(name) != version and self.has(name, version):
                remove_tree(self._folder / name / version)
            self._remove_empty(name)
        except ApplianceError as exc:
            log.warning("version not removed app=%s version=%s reason=%s", name, version, exc)

    def _remove_empty(self, name: str) -> None:
        """Leave no folder behind of an app whose first version never came to be."""
        with contextlib.suppress(OSError):  # there is something in it, or it is gone
            (self._folder / name).rmdir()

    def _holds(self, name: str, bundle: Bundle) -> bool:
        """Tell whether a version is on disk, whole; its signature may be another."""
        try:
            held = self.read(name, bundle.version)
            return held.digest == bundle.digest
        except ApplianceError:
            return False

    def put_in_front(self, name: str, version: str) -> None:
        """Let a version be the current one. Raises: Unavailable."""
        home = self._folder / name
        newest_ns = max((moment_ns for _, moment_ns, _ in self._folders(name)), default=0)
        # Before the pointer: after a crash in between the old one answers, and the one that was
        # to come is the newest beside it, which is true.
        moment_ns = max(self._clock(), newest_ns + 1)
        try:
            os.utime(home / version, ns=(moment_ns, moment_ns))
        except OSError as exc:
            raise Unavailable(f"version {version}: {exc.strerror}; deploy the app again") from exc
        # As it stands it needs no disk: an app is switched on again though that is full.
        if self.current(name) != version:
            replace_pointer(home / CURRENT, version)

    def trim(self, name: str, *, kept: int, before: str = "") -> None:
        """Keep the versions that were in front last, the current one and the one before always.

        A failure costs disk space and nothing else: it is logged.
        """
        try:
            for old in self.versions(name)[kept:]:
                if not old.is_current and old.version != before:
                    remove_tree(self._folder / name / old.version)
        except ApplianceError as exc:
            log.warning("old versions not removed app=%s reason=%s", name, exc)

    def is_disabled(self, name: str) -> bool:
        """Tell whether the operator switched the app off."""
        return (self._folder / name / DISABLED).exists()

    def disable(self, name: str) -> None:
        """Keep the app off, restarts included. Raises: Unavailable."""
        write_atomic(self._folder / name / DISABLED, b"")

    def enable(self, name: str) -> None:
        """Undo `disable`. Raises: Unavailable."""
        remove_tree(self._folder / name / DISABLED)

    def remove(self, name: str) -> bool:
        """Remove an app with all its versions; its name is gone at once or not at all.

        Returns: whether there was anything.   Raises: Unavailable if all of it is still there.
        """
        return free_name(self._folder / name)


def _write(path: Path, content: bytes) -> None:
    """Write a file of a version that `publish` is to make safe, all at once: each wait for the disk
    is a deploy's."""
    with writing(path):
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        with new_file(path) as file:
            file.write(content)


def _read(folder: Path) -> Bundle:
    wasm = read_bounded(folder / GUEST_FILE, max_bytes=MAX_WASM_BYTES)
    manifest = _read_optional(folder / APP_MANIFEST, MAX_MANIFEST_BYTES)
    signature = _read_optional(folder / SIGNATURE_FILE, MAX_SIGNATURE_BYTES)
    files = {
        name: read_bounded(folder / FILES_FOLDER / name, max_bytes=MAX_FILE_BYTES)
        for name in files_named(manifest)
    }
    return Bundle(wasm, manifest, signature, files)


def _read_optional(path: Path, max_bytes: int) -> bytes | None:
    try:
        return read_bounded(path, max_bytes=max_bytes)
    except NotFound:
        return None
