"""The model repository: folders of named, versioned models, offered to guests by name.

    <root>/<name>/<version>/model.toml      roots: the operator's first, then what we ship

A folder is read when it is first asked for and kept as long as it does not change. Weights are
checked against the manifest's sha256 whenever they are read: a damaged file is refused, not run.
"""

import hashlib
import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import ApplianceError, BadManifest
from appliance.files import read_bounded
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
    """One version of a model as it stands on disk; package is None if it is broken, and why."""

    name: str
    version: str
    package: ModelPackage | None
    reason: str = ""


class ModelRepository:
    """Finds models in several roots; the first root that has a name wins.

    Thread-safe. A `wasi_nn.catalogue.Catalogue`.
    """

    def __init__(self, roots: Sequence[Path]) -> None:
        self._roots = tuple(roots)
        self._lock = threading.Lock()
        self._packages: dict[Path, tuple[int, ModelPackage]] = {}

    def find(self, name: str) -> NamedModel:
        """Resolve `name` (its highest version) or `name:version`.

        Raises: NotFound naming what there is; RuntimeFailure if the model's folder is broken.
        """
        wanted, _, version = name.partition(":")
        folders = self._versions_of(wanted)
        if not folders or (version and version not in folders):
            known = ", ".join(f"{e.name}:{e.version}" for e in self.entries()) or "none"
            raise NotFound(f"model {name}: not found; models on this box: {known}")
        version = version or max(folders, key=version_order)
        try:
            package = self._package(folders[version])
        except ApplianceError as exc:
            raise RuntimeFailure(f"model {wanted}:{version}: {exc}") from exc
        files = tuple(_file(package, files) for files in package.manifest.files)
        return NamedModel(wanted, version, files, package=package)

    def versions(self, name: str) -> tuple[str, ...]:
        """List a model's versions, oldest first; () if there is no such model."""
        return tuple(sorted(self._versions_of(name), key=version_order))

    def stamp(self, name: str, version: str) -> tuple[int, ...]:
        """Tell, at the cost of a few stats, whether `find` would look elsewhere than before.

        It changes when a version of the model comes or goes, or a file of this version is put,
        removed or renamed. A file that is written in place is only seen by `find`.
        """
        named = [f"{root}/{name}" for root in self._roots]
        return tuple(map(_put_ns, (*named, *(f"{folder}/{version}" for folder in named))))

    def entries(self) -> tuple[ModelEntry, ...]:
        """List every version of every model, broken ones with the reason."""
        names = {
            folder.name
            for root in self._roots
            if root.is_dir()
            for folder in root.iterdir()
            if folder.is_dir() and not folder.name.startswith(".")
        }
        return tuple(
            self._entry(name, version, folder)
            for name in sorted(names)
            for version, folder in sorted(
                self._versions_of(name).items(), key=lambda item: version_order(item[0])
            )
        )

    def is_shipped(self, full_name: str) -> bool:
        """Tell whether a version, name:version, is one of ours: of the last root."""
        name, _, version = full_name.partition(":")
        folder = self._versions_of(name).get(version)
        return folder is not None and folder.parent.parent == self._roots[-1]

    def _entry(self, name: str, version: str, folder: Path) -> ModelEntry:
        try:
            return ModelEntry(name, version, self._package(folder))
        except ApplianceError as exc:
            return ModelEntry(name, version, None, str(exc))

    def _versions_of(self, name: str) -> dict[str, Path]:
        """List a model's versions from the first root that has it."""
        # A guest's claim: what can be no folder's name is not there, whatever the disk would say.
        if not name or "/" in name or "\0" in name or name.startswith("."):
            return {}
        if len(name.encode("utf-8", "replace")) > _MAX_NAME_BYTES:
            return {}
        for root in self._roots:
            folder = root / name
            if folder.is_dir():
                found = {
                    p.name: p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")
                }
                if found:
                    return found
        return {}

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
