"""Archives as people and attackers pack them."""

import gzip
import io
import tarfile
import warnings
import zipfile

TarEntry = tuple[str, bytes] | tarfile.TarInfo


def tarred(*entries: TarEntry, format: int = tarfile.PAX_FORMAT) -> bytes:
    """Pack a tar; an entry is a name with content, or a header without."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=format) as archive:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                archive.addfile(entry)
                continue
            info = tarfile.TarInfo(entry[0])
            info.size = len(entry[1])
            archive.addfile(info, io.BytesIO(entry[1]))
    return packed.getvalue()


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about a name that comes twice
        for name, content in members:
            archive.writestr(name, content)
    return packed.getvalue()


def gzipped(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    """Make the header of a link, a device or a folder."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = target
    return info
