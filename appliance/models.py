"""The model repository: folders of named, versioned models, offered to guests by name.

    <root>/<name>/<version>/model.toml      roots: the operator's first, then what we ship

The versions of a name in all roots are one list: an uploaded version 2 of a shipped model leaves
its version 1 to those who ask for it, and is what the plain name means from then on. Where two
roots have the same version the operator's counts. Only the operator's root is ever written.

A folder is read when it is first asked for and kept as long as it does not change. Weights are
checked against the manifest's sha256 whenever they are read: a damaged file is refused, not run.
"""

import contextlib
import hashlib
import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import ApplianceError, BadManifest, Conflict
from appliance.errors import NotFound as AbsentModel
from appliance.files import (
    free_name,
    make_dirs,
    publish,
    read_bounded,
    sweep_temporaries,
    temporary_beside,
)
from appliance.manifests import ModelFiles, ModelPackage, load_model_folder
from wasi_nn.catalogue import ModelFile, NamedModel
from wasi_nn.errors import NotFound, RuntimeFailure

log = logging.getLogger(__name__)

# Chosen: what a box with 4 GiB can still hold beside itself.
MAX_WEIGHTS_BYTES = 2 * 1024**3
# NAME_MAX of Linux.
_MAX_NAME_BYTES = 255


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One version of a model as it stands on disk; package is None if it is broken, and why.

    is_shipped: it came with the box.   is_default: it is what the plain name means.
    """

    name: str
    version: str
    package: ModelPackage | None
    reason: str = ""
    is_shipped: bool = False
    is_default: bool = False
    folder: Path | None = None

    def size_bytes(self) -> int:
        """Sum up its files; 0 for one that is going away."""
        if self.folder is None:
            return 0
        try:
            return sum(p.stat().st_size for p in self.folder.rglob("*") if p.is_file())
        except OSError:
            return 0


class ModelRepository:
    """Finds models in several roots; of the same version the first root's counts.

    roots: the operator's, then those that are only read.
    Thread-safe. A `wasi_nn.catalogue.Catalogue`.
    """

    def __init__(self, roots: Sequence[Path]) -> None:
        self._roots = tuple(roots)
        self._lock = threading.Lock()
        self._packages: dict[Path, tuple[int, ModelPackage]] = {}
        self._writing = threading.Lock()

    def open(self) -> None:
        """Sweep what a crash left in the operator's root; only for the start."""
        root = self._roots[0]
        sweep_temporaries(root)
        for name in _names_in(root):
            sweep_temporaries(root / name)

    def find(self, name: str) -> NamedModel:
        """Resolve `name` (its highest version) or `name:version`.

        Raises: NotFound naming what there is; RuntimeFailure if the model's folder is broken.
        """
        wanted, _, version = name.partition(":")
        folders = self._versions_of(wanted)
        if not folders or (version and version not in folders):
            raise NotFound(str(self._absent(name)))
        version = version or max(folders, key=version_order)
        try:
            package = self._package(folders[version])
        except ApplianceError as exc:
            raise RuntimeFailure(f"model {wanted}:{version}: {exc}") from exc
        return named_model(wanted, version, package)

    def stamp(self, name: str, version: str) -> tuple[int, ...]:
        """Tell, at the cost of a few stats, whether `find` would look elsewhere than before.

        It changes when a version of the model comes or goes, or a file of this version is put,
        removed or renamed. A file that is written in place is only seen by `find`.
        """
        named = [f"{root}/{name}" for root in self._roots]
        return tuple(map(_put_ns, (*named, *(f"{folder}/{version}" for folder in named))))

    def entries(self) -> tuple[ModelEntry, ...]:
        """List every version of every model, broken ones with the reason."""
        names = {name for root in self._roots for name in _names_in(root)}
        return tuple(entry for name in sorted(names) for entry in self.versions(name))

    def versions(self, name: str) -> tuple[ModelEntry, ...]:
        """List every version of one model, the lowest first; () if there is none."""
        found = self._versions_of(name)
        ordered = sorted(found, key=version_order)
        return tuple(
            self._entry(name, version, found[version], is_default=version == ordered[-1])
            for version in ordered
        )

    def require(self, name: str) -> tuple[ModelEntry, ...]:
        """List every version of one model. Raises: NotFound naming what there is."""
        entries = self.versions(name)
        if not entries:
            raise self._absent(name)
        return entries

    def pick(self, name: str, version: str | None = None) -> ModelEntry:
        """Give one version, the default unless one is named. Raises: NotFound."""
        for entry in self.versions(name):
            if entry.is_default if version is None else entry.version == version:
                return entry
        raise self._absent(name if version is None else f"{name}:{version}")

    def is_shipped(self, full_name: str) -> bool:
        """Tell whether a version, name:version, is one of ours: of the last root."""
        name, _, version = full_name.partition(":")
        folder = self._versions_of(name).get(version)
        return folder is not None and folder.parent.parent == self._roots[-1]

    def _entry(self, name: str, version: str, folder: Path, *, is_default: bool) -> ModelEntry:
        package, reason = None, ""
        try:
            package = self._package(folder)
        except ApplianceError as exc:
            reason = str(exc)
        is_shipped = not folder.is_relative_to(self._roots[0])
        return ModelEntry(name, version, package, reason, is_shipped, is_default, folder)

    def _versions_of(self, name: str) -> dict[str, Path]:
        """List a model's versions in all roots."""
        # A guest's claim: what can be no folder's name is not there, whatever the disk would say.
        if not name or "/" in name or "\0" in name or name.startswith("."):
            return {}
        if len(name.encode("utf-8", "replace")) > _MAX_NAME_BYTES:
            return {}
        return {
            version: root / name / version
            for root in reversed(self._roots)
            for version in _names_in(root / name)
        }

    # -- the operator's root ---------------------------------------------------------------------

    def stage(self) -> Path:
        """Make a folder for what is to become a version; it has no name yet.

        Raises: Unavailable.   The caller removes it, or the next start does.
        """
        folder = temporary_beside(self._roots[0] / "upload")
        make_dirs(folder)
        return folder

    def check_absent(self, name: str, version: str) -> None:
        """Raises: Conflict if there is such a version, shipped or not."""
        if version in self._versions_of(name):
            raise Conflict(
                f"model {name}:{version}: exists already; upload it as another version, or delete "
                "this one first if it was uploaded"
            )

    def add(self, prepared: Path, name: str, version: str) -> None:
        """Give a prepared folder its name; it is found from now on.

        prepared: in a folder that `stage` gave; gone afterwards.
        Raises: Conflict if there is such a version, Unavailable.
        """
        with self._writing:
            self.check_absent(name, version)
            home = self._roots[0] / name
            make_dirs(home)
            publish(prepared, home / version)
        log.info("model added model=%s:%s", name, version)

    def remove(self, name: str, version: str) -> None:
        """Remove a version that was uploaded; graphs made of it live on until released.

        Raises: NotFound; Conflict if it is shipped; Unavailable if the disk refuses.
        """
        with self._writing:
            folder = self._versions_of(name).get(version)
            if folder is None:
                raise self._absent(f"{name}:{version}")
            if not folder.is_relative_to(self._roots[0]):
                raise Conflict(
                    f"model {name}:{version}: comes with the box and cannot be deleted; upload a "
                    "higher version to put another in its place"
                )
            free_name(folder)
            with self._lock:
                self._packages.pop(folder, None)
            # The last version takes the name along; whatever else lies there keeps it.
            with contextlib.suppress(OSError):
                folder.parent.rmdir()
        log.info("model removed model=%s:%s", name, version)

    def _absent(self, name: str) -> AbsentModel:
        known = ", ".join(f"{e.name}:{e.version}" for e in self.entries()) or "none"
        return AbsentModel(f"model {name[:130]}: not found; models on this box: {known}")

    def _package(self, folder: Path) -> ModelPackage:
        changed_ns = _changed_ns(folder)
        with self._lock:
            known = self._packages.get(folder)
        if known is not None and known[0] == changed_ns:
            return known[1]
        package = load_model_folder(folder, default_name=folder.parent.name)
        with self._lock:
            self._packages[folder] = (changed_ns, package)
        return package


def _names_in(folder: Path) -> list[str]:
    """List the folders in one that are not hidden; none if there is no such folder."""
    try:
        return [p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")]
    except OSError:
        return []


def _changed_ns(folder: Path) -> int:
    """Tell when anything in a folder last changed; its own time misses what is edited in place.

    Raises: BadManifest if it is not to be read, or going away just now.
    """
    try:
        return max(path.stat().st_ctime_ns for path in (folder, *folder.iterdir()))
    except OSError as exc:
        raise BadManifest(f"the model's folder cannot be read: {exc.strerror}") from exc


def _put_ns(folder: str) -> int:
    """Tell when something was last put into a folder; -1 if there is none."""
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return -1


def version_order(version: str) -> tuple[int, int, str]:
    """Order versions: numbers by value, after all names that are no numbers."""
    return (1, int(version), "") if version.isdecimal() else (0, 0, version)


def named_model(name: str, version: str, package: ModelPackage) -> NamedModel:
    """Describe a model's folder to WASI-NN; its weights are read when it is loaded."""
    files = tuple(_file(package, files) for files in package.manifest.files)
    return NamedModel(name, version, files, package=package)


def _file(package: ModelPackage, files: ModelFiles) -> ModelFile:
    """Describe one encoding of a model to WASI-NN."""

    def read() -> Sequence[bytes]:
        return [
            _read_checked(path, files.sha256[index] if files.sha256 else None)
            for index, path in enumerate(package.paths(files))
        ]

    digest = "sha256:" + "+".join(files.sha256) if files.sha256 else None
    return ModelFile(files.encoding, read, digest, files.image_layout.value)


def _read_checked(path: Path, wanted: str | None) -> bytes:
    try:
        content = read_bounded(path, max_bytes=MAX_WEIGHTS_BYTES)
    except ApplianceError as exc:
        raise RuntimeFailure(str(exc)) from exc
    if wanted is not None:
        got = hashlib.sha256(content).hexdigest()
        if got != wanted:
            raise RuntimeFailure(
                f"{path.name}: damaged, its sha256 is {got[:12]}.., model.toml says "
                f"{wanted[:12]}..; copy it again"
            )
    return content
