"""Model archives, unpacked to a folder: .tar, .tar.gz, .zip, and nothing in them is believed.

Guarantees:
1. Only regular files come out, under plain relative names inside the folder, each name once. A
   link, a device or a name that leads elsewhere refuses the whole archive.
2. What comes out is counted, not what the archive claims: files and bytes are bounded, and so are
   the directory of an archive and the memory that reading it takes.
3. A failure leaves a partly filled folder, which is the caller's to remove.
"""

import gzip
import lzma
import stat
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, BinaryIO, cast

from appliance.bundles import METHODS
from appliance.errors import BadRequest, TooBig
from appliance.files import new_file, writing

# Weights in three formats, labels, licences and a picture are ten.
MAX_FILES = 64
MAX_DEPTH = 8
_MAX_NAME_BYTES = 255
_CHUNK_BYTES = 1024 * 1024
# Names of 64 files; and folders, notes and long names beside them.
_MAX_DIRECTORY_BYTES = 1024 * 1024
_MAX_ENTRIES = 16 * MAX_FILES
ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".zip")
# What the libraries raise on damaged archives; see `bundles`.
_DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError,
    IndexError, NotImplementedError, RuntimeError,
)  # fmt: skip
# What macOS adds to archives.
_NOTES = ("__MACOSX/", "._", ".DS_Store")


@dataclass(slots=True)
class Bounds:
    """How much may still come out. max_bytes: all files together, inclusive."""

    max_bytes: int
    max_files: int = MAX_FILES
    _seen: set[str] = field(default_factory=set)
    _bytes: int = 0

    def admit(self, name: str) -> str:
        """Check the name of the next file. Returns: it, plain.

        Raises: BadRequest for a name that is none, or came before; TooBig for one file too many.
        """
        plain = name.removeprefix("./")
        parts = plain.split("/")
        is_plain = plain.isprintable() and "\\" not in plain and not {"", ".", ".."} & set(parts)
        is_short = len(parts) <= MAX_DEPTH and all(
            len(part.encode("utf-8", "replace")) <= _MAX_NAME_BYTES for part in parts
        )
        if not is_plain or not is_short:
            raise BadRequest(
                f"upload: got the name {name[:80]!r}, wanted a plain relative one such as "
                '"weights/model.onnx"'
            )
        if len(self._seen) >= self.max_files:
            raise TooBig(f"upload: got over {self.max_files} files, wanted at most that")
        # A file may not be another's folder, either.
        folders = {"/".join(parts[:depth]) for depth in range(1, len(parts))}
        if plain in self._seen or folders & self._seen or any(
            seen.startswith(f"{plain}/") for seen in self._seen
        ):  # fmt: skip
            raise BadRequest(f"upload: the name {plain[:80]!r} comes twice")
        self._seen.add(plain)
        return plain

    def count(self, size_bytes: int) -> None:
        """Count what came out. Raises: TooBig."""
        self._bytes += size_bytes
        if self._bytes > self.max_bytes:
            raise TooBig(
                f"upload: got over {self.max_bytes} bytes unpacked, wanted at most that; the "
                "operator may raise max_model_bytes"
            )


def unpack(archive: Path, folder: Path, bounds: Bounds, *, only: str | None = None) -> None:
    """Unpack an archive into a folder.

    only: the last part of the names of files that are wanted; None for all.
    Raises: BadRequest for what is no archive, damaged, or holds what it should not; TooBig;
    Unavailable if the disk refuses.
    """
    with archive.open("rb") as file:
        start = file.read(512)
        file.seek(0)
        try:
            if start.startswith(b"PK"):
                _unpack_zip(file, folder, bounds, only)
            elif start.startswith(b"\x1f\x8b"):
                with gzip.GzipFile(fileobj=file) as plain:
                    _unpack_tar(cast(BinaryIO, plain), folder, bounds, only)
            elif start[257:262] == b"ustar":
                _unpack_tar(file, folder, bounds, only)
            else:
                raise BadRequest(
                    f"upload: got {_kind_of(start)}, wanted a .tar, .tar.gz or .zip, or "
                    "multipart/form-data with the files"
                )
        except _DAMAGED as exc:
            raise BadRequest(f"upload: the archive is damaged or encrypted: {exc}") from exc


def _kind_of(start: bytes) -> str:
    known = {b"\xfd7zXZ": "xz data", b"BZh": "bzip2 data", b"\x28\xb5\x2f\xfd": "zstd data",
             b"\0asm": "a wasm module", b"7z\xbc": "a 7z archive"}  # fmt: skip
    return next((kind for magic, kind in known.items() if start.startswith(magic)), "no archive")


class _Source:
    """An archive's bytes, in pieces of bounded size: the libraries read what a header claims.

    is_directory: what is read now describes files, and is bounded; else it is a file's content.
    """

    def __init__(self, file: BinaryIO, max_bytes: int) -> None:
        self._file = file
        # Padding and headers come on top of what the files may have.
        self._end = max_bytes + _MAX_DIRECTORY_BYTES + _MAX_ENTRIES * 1024
        self._directory_bytes = 0
        self.is_directory = True

    def read(self, size: int = -1) -> bytes:
        if not self.is_directory:
            return self._file.read(size)
        if size > _MAX_DIRECTORY_BYTES:
            raise TooBig("upload: the archive's directory is too large")
        got = self._file.read(size if size >= 0 else _MAX_DIRECTORY_BYTES)
        self._directory_bytes += len(got)
        if self._directory_bytes > 4 * _MAX_DIRECTORY_BYTES:
            raise TooBig("upload: the archive's directory is too large")
        return got

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence == 0 and offset > self._end:
            raise TooBig("upload: the archive goes on beyond what its files may have")
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True

    @contextmanager
    def content(self) -> Iterator[None]:
        """Inside the block files are read."""
        self.is_directory = False
        try:
            yield
        finally:
            self.is_directory = True


def _unpack_zip(file: BinaryIO, folder: Path, bounds: Bounds, only: str | None) -> None:
    source = _Source(file, bounds.max_bytes)
    with zipfile.ZipFile(cast(IO[bytes], source)) as archive:
        for info in archive.infolist():
            if info.is_dir() or _is_skipped(info.filename, only):
                continue
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG):
                raise BadRequest(f"upload: {info.filename[:80]} is a link or a device; pack files")
            # The others give out more than they are asked for; see `bundles`.
            if info.compress_type not in METHODS:
                raise BadRequest(
                    f"upload: {info.filename[:80]} is packed by method {info.compress_type}, "
                    "wanted deflate or none"
                )
            with source.content(), archive.open(info) as member:
                _write(member, folder / bounds.admit(info.filename), bounds)


def _unpack_tar(file: BinaryIO, folder: Path, bounds: Bounds, only: str | None) -> None:
    # What is not wanted is skipped, however long it is.
    source = _Source(file, bounds.max_bytes if only is None else sys.maxsize)
    with tarfile.open(fileobj=cast(IO[bytes], source), mode="r:") as archive:
        for number, info in enumerate(archive):
            if number >= _MAX_ENTRIES:
                raise TooBig(f"upload: got over {_MAX_ENTRIES} entries, wanted at most that")
            if info.isdir() or _is_skipped(info.name, only):
                continue
            if not info.isreg() or info.issparse():
                raise BadRequest(
                    f"upload: {info.name[:80]} is a link, a device or sparse; pack plain files"
                )
            member = archive.extractfile(info)
            assert member is not None, "a regular file has content"
            target = folder / bounds.admit(info.name)
            with source.content(), member:
                if _write(member, target, bounds) != info.size:
                    raise BadRequest(f"upload: the archive ends within {info.name[:80]}")


def _is_skipped(name: str, only: str | None) -> bool:
    plain = name.removeprefix("./")
    if only is not None and plain.split("/")[-1] != only:
        return True
    return plain.startswith(_NOTES[0]) or plain.split("/")[-1].startswith(_NOTES[1:])


def _write(member: IO[bytes], target: Path, bounds: Bounds) -> int:
    """Write a member's content. Returns: its size."""
    written = 0
    with writing(target), new_file(target) as out:
        while chunk := _read(member):
            bounds.count(len(chunk))
            out.write(chunk)
            written += len(chunk)
    return written


def _read(member: IO[bytes]) -> bytes:
    """Read a piece; what a damaged archive raises must not pass for the disk's failure."""
    try:
        return member.read(_CHUNK_BYTES)
    except _DAMAGED as exc:
        raise BadRequest(f"upload: the archive is damaged or encrypted: {exc}") from exc


def find_in(archive: Path, name: str, max_bytes: int) -> bytes | None:
    """Read the first file of that name in an archive, wherever it lies; None if there is none.

    Raises: BadRequest if it is no archive or damaged, TooBig.
    """
    with tempfile.TemporaryDirectory() as folder:
        unpack(archive, Path(folder), Bounds(max_bytes), only=name)
        found = next(Path(folder).rglob(name), None)
        return None if found is None else found.read_bytes()


def model_root(folder: Path) -> Path:
    """Find the model in what was unpacked: people pack a folder as often as its files."""
    for _ in range(MAX_DEPTH):
        inside = list(folder.iterdir())
        if len(inside) != 1 or not inside[0].is_dir():
            break
        folder = inside[0]
    return folder
