"""What lies in the inbox: an app or a model, as a file, an archive or a folder.

    x.wasm                                an app, with x.toml beside it as its app.toml
    x.wasm.sig                            who signed it
    x.zip, x.tar, x.tar.gz                an app if a .wasm is in it, else a model
    x.onnx, x.tflite                      a model, with x.toml beside it as its model.toml
    x/                                    a model, once all is there that its model.toml names

A model whose model.toml says no version, or that has none, becomes the next version. One that is
there already, byte for byte, is left as it is.
"""

import filecmp
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from appliance.archives import ARCHIVE_SUFFIXES, Bounds
from appliance.bundles import MAX_SIGNATURE_BYTES, MAX_WASM_BYTES, Bundle, read_bundle
from appliance.errors import BadGuest, BadManifest, BadRequest, NotFound
from appliance.files import new_file, read_bounded, writing
from appliance.golden import files_named
from appliance.manifests import (
    APP_MANIFEST,
    MAX_MANIFEST_BYTES,
    MODEL_MANIFEST,
    load_model_folder,
    name_from,
    parse_model_manifest,
)
from appliance.models import ModelEntry, ModelRepository
from appliance.unpacking import find_in, model_root, names_in, unpack
from appliance.uploads import Added, ModelUploads

_GUEST = ".wasm"
_BARE = {".onnx": "model.onnx", ".tflite": "model.tflite"}
# Compiled guests are refused, with the reason beside them; left alone they would seem lost.
_COMPILED = ".cwasm"
SUFFIXES = (_GUEST, _COMPILED, *ARCHIVE_SUFFIXES, *_BARE)
_MODEL_FILES = {MODEL_MANIFEST, "model.onnx", "model.tflite", "model.xml"}
# Of one folder, folders included; what has more is refused when it is taken.
_MAX_LOOKED_AT = 1024
_CHUNK_BYTES = 1024 * 1024
# Of a picture beside a lone guest.
_MAX_BESIDE_BYTES = 8 * 1024 * 1024

SIGNATURE_SUFFIX = ".sig"

Look = tuple[int, ...]


class Incomplete(Exception):
    """A folder that still lacks something; the message says what."""


def suffix_of(path: Path) -> str:
    """Give the suffix that says what a file is; "" if nobody here takes it."""
    name = path.name.lower()
    return max((s for s in SUFFIXES if name.endswith(s)), key=len, default="")


def signature_beside(path: Path) -> Path:
    """Name the signature that may lie beside a file."""
    return path.with_name(path.name + SIGNATURE_SUFFIX)


def is_drop(path: Path) -> bool:
    """Tell what is to be taken; a signature only where its guest is not there, or no more."""
    if path.name.startswith("."):
        return False
    return is_late_signature(path) or bool(suffix_of(path)) or is_folder(path)


def is_late_signature(path: Path) -> bool:
    """Tell a signature whose guest does not lie there."""
    guest = path.with_suffix("")
    is_signature = path.suffix == SIGNATURE_SUFFIX and suffix_of(guest) not in ("", *_BARE)
    return is_signature and not is_there(guest)


def is_there(path: Path) -> bool:
    """Tell whether there is a file; also False for a name that got too long by its suffix."""
    return _changed_ns(path) != 0


def _changed_ns(path: Path) -> int:
    try:
        return path.stat().st_ctime_ns
    except OSError:
        return 0


def manifest_beside(path: Path) -> Path:
    """Name the manifest that may lie beside a file."""
    return path.with_name(stem_of(path) + ".toml")


def is_folder(path: Path) -> bool:
    """Tell a folder that may be a model; one that is called like a file is a mistake."""
    return not suffix_of(path) and path.is_dir() and not path.is_symlink()


def signature_of(path: Path) -> Look | None:
    """Say what changes when a drop, or the manifest beside it, does; None if it is gone."""
    if is_folder(path):
        return _signature_of_folder(path)
    try:
        status = path.stat()
    except OSError:
        return None
    # The change time: `cp -p` and `mv` bring the modification time of somewhere else along.
    others = (_changed_ns(manifest_beside(path)), _changed_ns(signature_beside(path)))
    return (status.st_size, status.st_ctime_ns, *others)


def _signature_of_folder(folder: Path) -> Look | None:
    size, newest_ns, names = 0, 0, []
    try:
        for path in (folder, *_within(folder)):
            status = path.lstat()
            size += status.st_size
            newest_ns = max(newest_ns, status.st_ctime_ns)
            names.append(path.name)
    except OSError:
        # Somebody works in it; the next look sees another, or none.
        return None if not folder.is_dir() else (-1, 0, 0)
    return size, newest_ns, hash(tuple(names))


def _within(folder: Path) -> Iterator[Path]:
    """Walk what is in a folder, in order, up to a bound; links are not followed."""
    count = 0
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in (*folders, *sorted(names)):
            count += 1
            if count > _MAX_LOOKED_AT:
                return
            yield Path(parent, name)


def is_model(path: Path, max_bytes: int) -> bool:
    """Tell a model from an app. Raises: BadRequest if it is neither, or damaged; TooBig.

    max_bytes: how far an archive may go on, unpacked.
    """
    suffix = suffix_of(path)
    if not suffix or suffix in _BARE:
        return True
    if suffix in (_GUEST, _COMPILED) or not path.is_file():
        return False
    names = names_in(path, max_bytes)
    last = {name.split("/")[-1] for name in names}
    if APP_MANIFEST in last or any(name.endswith(_GUEST) for name in names):
        return False
    if not last & _MODEL_FILES:
        raise BadRequest(
            f"{path.name}: got neither a .wasm nor a {MODEL_MANIFEST} in it, wanted an app or a "
            "model; pack one of them"
        )
    return True


# -- apps ------------------------------------------------------------------------------------------


def read_drop(path: Path) -> Bundle:
    """Read a guest, and what lies beside it: its signature, its manifest, and what that names.

    Raises: BadGuest for an empty file, or one without a file that its manifest names; what
    `read_bundle` and reading raise.
    """
    content = read_bounded(path, max_bytes=MAX_WASM_BYTES)
    if not content:
        raise BadGuest(f"{path.name}: the file is empty; copy it again")
    signature = None
    if is_there(signature_beside(path)):
        signature = read_bounded(signature_beside(path), max_bytes=MAX_SIGNATURE_BYTES)
    bundle = read_bundle(content).signed(signature)
    if bundle.manifest is not None:
        return bundle
    try:
        manifest = read_bounded(manifest_beside(path), max_bytes=MAX_MANIFEST_BYTES)
    except NotFound:
        return bundle
    try:
        files = {
            name: read_bounded(path.parent / name, max_bytes=_MAX_BESIDE_BYTES)
            for name in files_named(manifest)
        }
    except NotFound as exc:
        raise BadGuest(
            f"{manifest_beside(path).name}: {exc}; copy it here first, or pack guest, "
            f"{APP_MANIFEST} and that into one .zip"
        ) from exc
    return Bundle(bundle.wasm, manifest, bundle.signature, files)


# -- models ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Taken:
    """A model that came by the inbox. is_new: False if it was there already, byte for byte."""

    name: str
    version: str
    added: Added | None

    @property
    def is_new(self) -> bool:
        return self.added is not None


class ModelDrops:
    """Publishes models by the same path as an upload over the socket."""

    def __init__(self, uploads: ModelUploads, repository: ModelRepository) -> None:
        self._uploads = uploads
        self._repository = repository

    @property
    def max_bytes(self) -> int:
        """What one version may have, unpacked."""
        return self._uploads.limits.max_bytes

    def take(self, path: Path) -> Taken:
        """Publish a model.

        Raises: Incomplete for a folder that lacks something; else as `ModelUploads`: BadManifest,
        BadModel, BadRequest, Conflict, TooBig, Unavailable.
        """
        text = self._manifest_of(path)
        name, said = name_from(stem_of(path)), None
        if text is not None:
            manifest = parse_model_manifest(text, default_name=stem_of(path))
            name = manifest.name
            said = manifest.version if "version" in manifest.model_fields_set else None
        there = self._repository.versions(name)
        rival = _rival(there, said)
        # Where there is such a version, another's place is taken to compare them.
        version = said if said is not None and rival is None else _next(there)
        with self._uploads.begin(name, version) as upload:
            bring(path, upload.files, upload.bounds)
            if rival is not None and _is_same(model_root(upload.files), rival):
                return Taken(name, rival.version, None)
            if rival is not None and said is not None:
                self._repository.check_absent(name, said)
            return Taken(name, version, self._uploads.install(upload))

    def _manifest_of(self, path: Path) -> bytes | None:
        if suffix_of(path) in ARCHIVE_SUFFIXES:
            return find_in(path, MODEL_MANIFEST, MAX_MANIFEST_BYTES)
        if not is_folder(path):
            try:
                return read_bounded(manifest_beside(path), max_bytes=MAX_MANIFEST_BYTES)
            except NotFound:
                return None
        return _complete(model_root(path))


def _complete(root: Path) -> bytes:
    """Give a folder's model.toml once all that it names is there.

    Raises: Incomplete; BadManifest for one that is wrong in itself.
    """
    try:
        text = read_bounded(root / MODEL_MANIFEST, max_bytes=MAX_MANIFEST_BYTES)
    except NotFound as exc:
        has_guest = any(path.suffix == _GUEST for path in root.iterdir())
        hint = "pack an app into a .zip" if has_guest else "a model's folder needs one"
        raise Incomplete(f"no {MODEL_MANIFEST} in it; {hint}") from exc
    parse_model_manifest(text, default_name=root.name)
    try:
        load_model_folder(root)
    except BadManifest as exc:
        raise Incomplete(str(exc)) from exc
    return text


def stem_of(path: Path) -> str:
    """Name a drop without its suffix."""
    return path.name[: len(path.name) - len(suffix_of(path))]


def _rival(there: tuple[ModelEntry, ...], said: str | None) -> ModelEntry | None:
    """Find the version that this may be: the one it says it is, or else the highest."""
    if said is None:
        return there[-1] if there else None
    return next((entry for entry in there if entry.version == said), None)


def _next(there: tuple[ModelEntry, ...]) -> str:
    numbers = [int(entry.version) for entry in there if entry.version.isdecimal()]
    return str(max(numbers, default=0) + 1)


def _is_same(folder: Path, entry: ModelEntry) -> bool:
    """Compare two folders, byte for byte."""
    if entry.folder is None:
        return False
    names = _files_in(folder)
    if names != _files_in(entry.folder):
        return False
    return all(filecmp.cmp(folder / name, entry.folder / name, shallow=False) for name in names)


def _files_in(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def bring(path: Path, target: Path, bounds: Bounds) -> None:
    """Unpack or copy a model to where it is checked. Raises: BadRequest, TooBig, Unavailable."""
    suffix = suffix_of(path)
    if suffix in ARCHIVE_SUFFIXES:
        unpack(path, target, bounds)
        return
    if suffix in _BARE:
        manifest = manifest_beside(path)
        has_manifest = manifest.is_file()
        # A manifest knows the file by the name it has here; without one it is found by ours.
        _copy(path, target / bounds.admit(path.name if has_manifest else _BARE[suffix]), bounds)
        if has_manifest:
            _copy(manifest, target / bounds.admit(MODEL_MANIFEST), bounds)
        return
    root = model_root(path)
    for file in _within(root):
        is_note = file.name.startswith(("._", ".DS_Store"))
        if not is_note and (file.is_symlink() or not file.is_dir()):
            _copy(file, target / bounds.admit(file.relative_to(root).as_posix()), bounds)


def _copy(source: Path, target: Path, bounds: Bounds) -> None:
    """Copy a regular file. Raises: BadRequest for anything else, TooBig, Unavailable."""
    # Neither a symlink's target nor a FIFO's writer is ours to wait for.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(source, flags)
    except OSError as exc:
        raise BadRequest(f"{source.name}: cannot be read: {exc.strerror}") from exc
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BadRequest(f"{source.name}: not a regular file")
        with writing(target), new_file(target) as out:
            while piece := file.read(_CHUNK_BYTES):
                bounds.count(len(piece))
                out.write(piece)
