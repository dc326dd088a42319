"""Archives as people and attackers pack them: .tar, .tar.gz and .zip, and nothing is believed.

Guarantees:
1. Only regular files are given out, under plain relative names, each name once. A link, a device
   or a name that leads elsewhere refuses the whole archive.
2. What comes out is counted, not what the archive claims: files and bytes are bounded, and so are
   the directory of an archive and the memory that reading it takes.

What becomes of the files is the caller's: `unpacking` writes a model's into a folder, `bundles`
keeps an app's in memory.
"""

import gzip
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, BinaryIO, cast

from appliance.errors import BadRequest, TooBig

# Weights in three formats, labels, licences and a picture are ten.
MAX_FILES = 64
MAX_DEPTH = 8
_MAX_NAME_BYTES = 255
_CHUNK_BYTES = 1024 * 1024
# Names of 64 files; and folders, notes and long names beside them.
_MAX_DIRECTORY_BYTES = 1024 * 1024
_MAX_ENTRIES = 16 * MAX_FILES
ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".zip")
# zipfile asks bzip2 and LZMA for a bounded input, not a bounded output: 900 bytes took 2 GB.
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
# What the libraries raise on damaged archives, found by changing every byte of one: beside their
# own errors those of the decompressors, of seeking and of parsing fields.
_DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError,
    IndexError, NotImplementedError, RuntimeError,
)  # fmt: skip
# What macOS adds to archives.
_NOTES = ("__MACOSX/", "._", ".DS_Store")
_TAR_MAGIC_AT = 257


@dataclass(slots=True)
class Bounds:
    """How much may still come out. max_bytes: all files together, inclusive.

    what: begins each sentence.   remedy: ends the one about too many bytes.
    """

    max_bytes: int
    max_files: int = MAX_FILES
    what: str = "upload"
    remedy: str = "; the operator may raise max_model_bytes"
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
                f"{self.what}: got the name {name[:80]!r}, wanted a plain relative one such as "
                '"weights/model.onnx"'
            )
        if len(self._seen) >= self.max_files:
            raise TooBig(f"{self.what}: got over {self.max_files} files, wanted at most that")
        # A file may not be another's folder, either.
        folders = {"/".join(parts[:depth]) for depth in range(1, len(parts))}
        if plain in self._seen or folders & self._seen or any(
            seen.startswith(f"{plain}/") for seen in self._seen
        ):  # fmt: skip
            raise BadRequest(f"{self.what}: the name {plain[:80]!r} comes twice")
        self._seen.add(plain)
        return plain

    def count(self, size_bytes: int) -> None:
        """Count what came out. Raises: TooBig."""
        self._bytes += size_bytes
        if self._bytes > self.max_bytes:
            raise TooBig(
                f"{self.what}: got over {self.max_bytes} bytes unpacked, wanted at most that"
                f"{self.remedy}"
            )


@dataclass(frozen=True, slots=True)
class Visitor:
    """What is wanted of an archive, and who takes it.

    wants: asked about the name of every file but macOS's notes.   take: gets each wanted one's
    plain name and its content in pieces, which it must read to the end or raise.
    reach_bytes: how far the archive may go on, unpacked, with what is not wanted.
    """

    wants: Callable[[str], bool]
    take: Callable[[str, Iterator[bytes]], None]
    reach_bytes: int


def is_archive(start: bytes) -> bool:
    """Tell an archive by its first 512 bytes."""
    return start.startswith((b"PK\x03\x04", b"\x1f\x8b")) or _is_tar(start)


def _is_tar(start: bytes) -> bool:
    return start[_TAR_MAGIC_AT : _TAR_MAGIC_AT + 5] == b"ustar"


def visit(file: BinaryIO, bounds: Bounds, visitor: Visitor) -> None:
    """Show an archive's files to a visitor.

    Raises: BadRequest for what is no archive, damaged, or holds what it should not; TooBig; what
    the visitor raises.
    """
    start = file.read(512)
    file.seek(0)
    try:
        if start.startswith(b"PK"):
            _visit_zip(file, bounds, visitor)
        elif start.startswith(b"\x1f\x8b"):
            with gzip.GzipFile(fileobj=file) as plain:
                _visit_tar(cast(BinaryIO, plain), bounds, visitor)
        elif _is_tar(start):
            _visit_tar(file, bounds, visitor)
        else:
            raise BadRequest(
                f"{bounds.what}: got {_kind_of(start)}, wanted a .tar, .tar.gz or .zip, or "
                "multipart/form-data with the files"
            )
    except _DAMAGED as exc:
        raise _damaged(bounds, exc) from exc


def _damaged(bounds: Bounds, cause: BaseException) -> BadRequest:
    return BadRequest(f"{bounds.what}: the archive is damaged or encrypted: {cause}")


def _kind_of(start: bytes) -> str:
    known = {b"\xfd7zXZ": "xz data", b"BZh": "bzip2 data", b"\x28\xb5\x2f\xfd": "zstd data",
             b"\0asm": "a wasm module", b"7z\xbc": "a 7z archive"}  # fmt: skip
    return next((kind for magic, kind in known.items() if start.startswith(magic)), "no archive")


class _Source:
    """An archive's bytes, in pieces of bounded size: the libraries read what a header claims.

    is_directory: what is read now describes files, and is bounded; else it is a file's content.
    """

    def __init__(self, file: BinaryIO, what: str, reach_bytes: int) -> None:
        self._file = file
        self._what = what
        # Padding and headers come on top of what the files may have.
        self._end = reach_bytes + _MAX_DIRECTORY_BYTES + _MAX_ENTRIES * 1024
        self._directory_bytes = 0
        self.is_directory = True

    def read(self, size: int = -1) -> bytes:
        if not self.is_directory:
            return self._file.read(size)
        if size > _MAX_DIRECTORY_BYTES:
            raise TooBig(f"{self._what}: the archive's directory is too large")
        got = self._file.read(size if size >= 0 else _MAX_DIRECTORY_BYTES)
        self._directory_bytes += len(got)
        if self._directory_bytes > 4 * _MAX_DIRECTORY_BYTES:
            raise TooBig(f"{self._what}: the archive's directory is too large")
        return got

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence == 0 and offset > self._end:
            raise TooBig(f"{self._what}: the archive goes on beyond what its files may have")
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


def _visit_zip(file: BinaryIO, bounds: Bounds, visitor: Visitor) -> None:
    source = _Source(file, bounds.what, visitor.reach_bytes)
    with zipfile.ZipFile(cast(IO[bytes], source)) as archive:
        for info in archive.infolist():
            if info.is_dir() or not _is_wanted(info.filename, visitor):
                continue
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG):
                raise BadRequest(
                    f"{bounds.what}: {info.filename[:80]} is a link or a device; pack files"
                )
            if info.compress_type not in _METHODS:
                raise BadRequest(
                    f"{bounds.what}: {info.filename[:80]} is packed by method "
                    f"{info.compress_type}, wanted deflate or none; pack it anew"
                )
            name = bounds.admit(info.filename)
            with source.content(), archive.open(info) as member:
                visitor.take(name, _Pieces(member, bounds))


def _visit_tar(file: BinaryIO, bounds: Bounds, visitor: Visitor) -> None:
    source = _Source(file, bounds.what, visitor.reach_bytes)
    with tarfile.open(fileobj=cast(IO[bytes], source), mode="r:") as archive:
        for number, info in enumerate(archive):
            if number >= _MAX_ENTRIES:
                raise TooBig(f"{bounds.what}: got over {_MAX_ENTRIES} entries, wanted at most that")
            if info.isdir() or not _is_wanted(info.name, visitor):
                continue
            if not info.isreg() or info.issparse():
                raise BadRequest(
                    f"{bounds.what}: {info.name[:80]} is a link, a device or sparse; pack plain "
                    "files"
                )
            member = archive.extractfile(info)
            assert member is not None, "a regular file has content"
            name = bounds.admit(info.name)
            with source.content(), member:
                pieces = _Pieces(member, bounds)
                visitor.take(name, pieces)
            if pieces.size_bytes != info.size:
                raise BadRequest(f"{bounds.what}: the archive ends within {info.name[:80]}")


def _is_wanted(name: str, visitor: Visitor) -> bool:
    plain = name.removeprefix("./")
    is_note = plain.startswith(_NOTES[0]) or plain.split("/")[-1].startswith(_NOTES[1:])
    return not is_note and visitor.wants(plain)


class _Pieces:
    """A member's content in pieces, counted."""

    def __init__(self, member: IO[bytes], bounds: Bounds) -> None:
        self._member = member
        self._bounds = bounds
        self.size_bytes = 0

    def __iter__(self) -> "_Pieces":
        return self

    def __next__(self) -> bytes:
        try:
            piece = self._member.read(_CHUNK_BYTES)
        except _DAMAGED as exc:
            # Here, or it would pass for the failure of whoever takes it, such as the disk's.
            raise _damaged(self._bounds, exc) from exc
        if not piece:
            raise StopIteration
        self.size_bytes += len(piece)
        self._bounds.count(len(piece))
        return piece
