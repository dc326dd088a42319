"""Changes on disk that a power cut cannot halve.

Guarantees:
1. `write_atomic`, `replace_pointer` and `publish`: at any instant the name shows the old content
   or the new one, whole; when the call returns, the new one survives a power cut.
2. `remove_tree`: at any instant the name shows the whole folder or nothing.
3. Everything unfinished is named `.tmp-*`; `sweep_temporaries` at start, before anything else
   writes, is all the repair there is.
4. What is damaged, or no file where one belongs, is set aside under a dated name, never deleted.

Reading refuses what is not a regular file: a FIFO dropped into the inbox must not hang the box.
"""

import contextlib
import errno
import hashlib
import logging
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO

from appliance.errors import BadRequest, Conflict, NotFound, TooBig, Unavailable

log = logging.getLogger(__name__)

TEMPORARY_PREFIX = ".tmp-"
# A full or failing disk is somebody's to repair; chosen, not measured.
_DISK_RETRY_S = 60.0
_POINTER_BYTES = 256


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the disk refuses inside the block into Unavailable, which names the file."""
    try:
        yield
    except OSError as exc:
        # A temporary's name tells nobody anything.
        name = "a new file" if path.name.startswith(TEMPORARY_PREFIX) else path.name
        raise Unavailable(
            f"cannot write {name}: {exc.strerror or exc}; check the disk's space and rights",
            retry_after_s=_DISK_RETRY_S,
        ) from exc


def is_read_only(folder: Path) -> bool:
    """Find out whether a folder's disk is read-only, by trying.

    A disk that turned read-only by itself, after an error, still claims otherwise (access(2)).
    """
    probe = folder / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
    try:
        probe.mkdir()
        probe.rmdir()
    except OSError as exc:
        return exc.errno == errno.EROFS
    return False


def temporary_beside(path: Path) -> Path:
    """Name a temporary in the same folder, hence on the same disk; nothing is made."""
    return path.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"


def sync_folder(folder: Path) -> None:
    """Make the folder's entries (renames, removals) survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def set_aside(path: Path) -> Path | None:
    """Move what is damaged out of the way, as <name>.corrupt-<Unix seconds>; a link goes itself.

    Returns: where it is now; None if the disk refuses, and it is still there.
    """
    stamp = f"{path.name}.corrupt-{int(time.time())}"
    aside = path.with_name(stamp)
    number = 1
    while os.path.lexists(aside):
        number += 1
        aside = path.with_name(f"{stamp}-{number}")
    try:
        path.rename(aside)
        sync_folder(path.parent)
    except OSError as exc:
        log.error("damaged and still there name=%s reason=%s", path.name, exc.strerror)
        return None
    log.error("damaged, set aside name=%s kept=%s", path.name, aside.name)
    return aside


def write_atomic(path: Path, content: bytes | memoryview, *, mode: int = 0o640) -> None:
    """Put the content under the name, whole or not at all; a folder of that name is set aside.

    mode: rights of the file, whatever the umask says.
    Raises: Unavailable if the disk refuses; the old content is still there.
    """
    temporary = temporary_beside(path)
    with writing(path):
        try:
            descriptor = os.open(
                temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600
            )
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fchmod(descriptor, mode)
                os.fsync(descriptor)
            if path.is_dir() and not path.is_symlink():
                set_aside(path)
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def replace_pointer(pointer: Path, name: str) -> None:
    """Let a pointer name one of its neighbours.

    A text file and not a symlink: bundles unpacked by a user may bring symlinks, so no reader of
    the state folder has to follow any, and FAT disks have none.
    """
    assert _is_plain(name), f"a pointer holds a plain name, got {name!r}"
    write_atomic(pointer, f"{name}\n".encode())


def read_pointer(pointer: Path) -> str | None:
    """Tell which neighbour a pointer names; None if there is no pointer or it is damaged."""
    try:
        name = read_bounded(pointer, max_bytes=_POINTER_BYTES).decode().strip()
    except (NotFound, TooBig, BadRequest, UnicodeDecodeError):
        return None
    return name if _is_plain(name) else None


def _is_plain(name: str) -> bool:
    return name.isprintable() and "/" not in name and name not in {"", ".", ".."}


def make_dirs(folder: Path, *, mode: int = 0o750) -> None:
    """Make a folder and its parents, each one safe before the next is made in it."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        with writing(path):
            path.mkdir(mode=mode, exist_ok=True)
            sync_folder(path.parent)


def publish(temporary: Path, destination: Path) -> None:
    """Give a prepared folder its name, after everything in it is safe on disk.

    temporary: a folder made under `temporary_beside(destination)`; gone afterwards.
    Raises: Conflict if the destination exists; the temporary stays and is the caller's.
    """
    if destination.exists():
        raise Conflict(f"{destination.name}: exists already; remove it or use another name")
    with writing(destination):
        for parent, _, names in os.walk(temporary):
            for name in names:
                _sync_file(Path(parent, name))
            sync_folder(Path(parent))
        temporary.rename(destination)
        sync_folder(destination.parent)


def _sync_file(path: Path) -> None:
    # O_NOFOLLOW | O_NONBLOCK: neither a symlink's target nor a FIFO is ours to wait for.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except OSError as exc:
        if exc.errno == errno.ELOOP:
            return
        raise
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_tree(path: Path) -> bool:
    """Remove a file or folder; its name is free and durable before anything in it is touched.

    Returns: whether there was anything.
    """
    temporary = temporary_beside(path)
    with writing(path):
        try:
            path.rename(temporary)
        except FileNotFoundError:
            return False
        sync_folder(path.parent)
        _delete(temporary)
    return True


def free_name(path: Path) -> bool:
    """Remove a file or folder as far as anybody who looks is concerned.

    What cannot be deleted once its name is free is a temporary for the next start to sweep.
    Returns: whether there was anything.   Raises: Unavailable if all of it is still there.
    """
    try:
        return remove_tree(path)
    except Unavailable as exc:
        if path.exists():
            raise
        log.warning("removed, its files at the next start name=%s reason=%s", path.name, exc)
        return True


def new_file(path: Path) -> BinaryIO:
    """Make a file that is not there yet, for writing; its folder is made, too.

    Nothing of it is safe on disk before it is published. Write within `writing`.
    Raises: Unavailable if the disk refuses, or there is such a file.
    """
    make_dirs(path.parent)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with writing(path):
        return os.fdopen(os.open(path, flags, 0o640), "wb")


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sweep_temporaries(folder: Path) -> int:
    """Remove what a crash left unfinished directly in a folder; returns how many.

    Only for the start of the box: a temporary that is being written now looks the same. What the
    disk does not let go of stays until another start: nobody reads it.
    """
    removed = 0
    try:
        for path in [p for p in folder.iterdir() if p.name.startswith(TEMPORARY_PREFIX)]:
            _delete(path)
            removed += 1
    except (FileNotFoundError, NotADirectoryError):
        return removed
    except OSError as exc:
        log.warning("unfinished files not removed in=%s reason=%s", folder.name, exc.strerror)
    return removed


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[BufferedReader]:
    """Open a regular file; O_NONBLOCK, because opening a FIFO would wait for its writer."""
    try:
        with open(path, "rb", opener=lambda p, flags: os.open(p, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise BadRequest(f"{path.name}: not a regular file")
            yield file
    except FileNotFoundError as exc:
        raise NotFound(f"{path.name}: no such file") from exc
    except OSError as exc:
        raise BadRequest(f"{path.name}: cannot be read: {exc.strerror}") from exc


def read_bounded(path: Path, *, max_bytes: int) -> bytes:
    """Read a whole regular file of at most max_bytes (inclusive).

    Raises: NotFound, TooBig, or BadRequest for what is not a readable regular file.
    """
    with _reading(path) as file:
        # Not more at once than there is: a read takes the memory it might need first. One byte
        # more, twice: the size may change between a look at it and the read.
        there = min(os.fstat(file.fileno()).st_size, max_bytes)
        content = file.read(there + 1)
        if len(content) > there:
            content += file.read(max_bytes + 1 - len(content))
    if len(content) > max_bytes:
        raise TooBig(f"{path.name}: got over {max_bytes} bytes, wanted at most {max_bytes}")
    return content


def sha256_of_file(path: Path) -> str:
    """Hash a file without holding it in memory; lower-case hex.

    Raises: NotFound, or BadRequest for what is not a readable file.
    """
    with _reading(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
