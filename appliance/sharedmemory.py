"""Tensors in shared memory of the client's: regions it registers by name, and slices of them.

A region is a part of a POSIX shared memory object (`shm_open`), which on Linux is a file in
/dev/shm. It is read and written through its descriptor and never mapped: an object that its owner
shrinks gives a short read, which is refused, where a mapping would end the process (SIGBUS).

Off by default: whoever may use the socket could name any object that the box's user may open, and
read it through a model.

Guarantees:
1. A slice that is held stays what it is until it is closed, whatever is unregistered meanwhile.
2. An object is never removed and never grown; it is its owner's.
"""

import os
import re
import stat
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from appliance.errors import BadRequest, Conflict, NotFound, Unsupported
from appliance.oip.messages import Buffer, SharedSlice

SHM_FOLDER = Path("/dev/shm")
# perf_analyzer makes one for each tensor and concurrent request; chosen, not measured.
MAX_REGIONS = 256
_MAX_NAME_LENGTH = 255
# NAME_MAX of Linux, and what shm_open takes: one leading slash and no other.
_KEY = re.compile(r"/?([^/\0]{1,255})")


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a shared memory object, under a name.

    key: the object's name, as given to shm_open.   offset, byte_size: of the part, in bytes.
    """

    name: str
    key: str
    offset: int
    byte_size: int


class _Opened:
    """An open region and how many hold it; guarded by the table's lock."""

    __slots__ = ("fd", "holders", "region")

    def __init__(self, region: Region, fd: int) -> None:
        self.region = region
        self.fd = fd
        self.holders = 1


class HeldSlice:
    """A slice of a region that stays there until `close`."""

    def __init__(self, table: "SharedRegions", opened: _Opened, slice: SharedSlice) -> None:
        self._table = table
        self._opened = opened
        self._offset = opened.region.offset + slice.offset
        self._room = slice.byte_size
        self.slice = slice

    def read(self) -> NDArray[np.uint8]:
        """Copy the bytes out. Raises: BadRequest if the object has shrunk since."""
        buffer = np.empty(self._room, np.uint8)
        view = memoryview(buffer.data)
        done = 0
        while done < self._room:
            got = os.preadv(self._opened.fd, [view[done:]], self._offset + done)
            if not got:
                raise self._shrunk()
            done += got
        return buffer

    def write(self, content: Buffer) -> SharedSlice:
        """Put bytes at the slice's beginning. Returns: where they are.

        Raises: BadRequest if they do not fit, or the object has shrunk since.
        """
        if len(content) > self._room:
            raise BadRequest(
                f"shared memory {self.slice.region}: the output has {len(content)} bytes, there "
                f"is room for {self._room}; make the slice larger"
            )
        # A write would grow the object again, and its owner did not want that.
        if os.fstat(self._opened.fd).st_size < self._offset + len(content):
            raise self._shrunk()
        view = memoryview(content)
        done = 0
        while done < len(view):
            try:
                done += os.pwrite(self._opened.fd, view[done:], self._offset + done)
            except OSError as exc:  # no memory left behind it
                raise BadRequest(
                    f"shared memory {self.slice.region}: not written: {exc.strerror}"
                ) from exc
        return SharedSlice(self.slice.region, self.slice.offset, len(content))

    def close(self) -> None:
        """Let go of it; a second close does nothing."""
        opened, self._opened = self._opened, _GONE
        if opened is not _GONE:
            self._table._let_go(opened)

    def _shrunk(self) -> BadRequest:
        return BadRequest(
            f"shared memory {self.slice.region}: the object has become smaller than what was "
            "registered; register it again"
        )


_GONE = _Opened(Region("", "", 0, 0), -1)


class SharedRegions:
    """Name -> region. Thread-safe.

    is_enabled: the operator's setting.   folder: where the system keeps shared memory objects.
    """

    def __init__(self, *, is_enabled: bool, folder: Path = SHM_FOLDER) -> None:
        self.is_enabled = is_enabled
        self._folder = folder
        self._lock = threading.Lock()
        self._regions: dict[str, _Opened] = {}

    def register(self, region: Region) -> None:
        """Open a shared memory object and keep a part of it under a name.

        Raises: Unsupported if it is switched off; Conflict if the name is taken; NotFound if there
        is no such object; BadRequest for a name, key or bounds that are wrong.
        """
        self._check_enabled()
        if not region.name or len(region.name) > _MAX_NAME_LENGTH:
            raise BadRequest(f"shared memory: wanted a name of 1..{_MAX_NAME_LENGTH} characters")
        fd = self._open(region)
        with self._lock:
            reason = "" if region.name not in self._regions else "is registered already"
            if len(self._regions) >= MAX_REGIONS:
                reason = f"is one too many, {MAX_REGIONS} are registered"
            if not reason:
                self._regions[region.name] = _Opened(region, fd)
        if reason:
            os.close(fd)
            raise Conflict(f"shared memory {region.name}: {reason}; unregister first")

    def unregister(self, name: str = "") -> None:
        """Forget a region, or all; what is held is closed when it is let go.

        One that is not registered is no error, and nothing is while it is switched off: clients
        begin with it (perf_analyzer does).
        """
        with self._lock:
            names = [name] if name else list(self._regions)
            dropped = [self._regions.pop(n) for n in names if n in self._regions]
        for opened in dropped:
            self._let_go(opened)

    def status(self, name: str = "") -> tuple[Region, ...]:
        """List one region or all. Raises: NotFound if that one is not registered."""
        with self._lock:
            regions = tuple(o.region for o in self._regions.values())
        if not name:
            return regions
        found = tuple(region for region in regions if region.name == name)
        if not found:
            raise NotFound(f"shared memory {name[:80]}: no such region; register it first")
        return found

    def hold(self, slice: SharedSlice) -> HeldSlice:
        """Take a slice of a region, to be closed by the caller.

        Raises: Unsupported if it is switched off; NotFound; BadRequest if it leaves the region.
        """
        self._check_enabled()
        with self._lock:
            opened = self._regions.get(slice.region)
            if opened is not None:
                opened.holders += 1
        if opened is None:
            raise NotFound(f"shared memory {slice.region[:80]}: no such region; register it first")
        size = opened.region.byte_size
        if slice.offset < 0 or slice.byte_size < 0 or slice.offset + slice.byte_size > size:
            self._let_go(opened)
            raise BadRequest(
                f"shared memory {slice.region}: got offset {slice.offset} and byte_size "
                f"{slice.byte_size}, the region has {size} bytes"
            )
        return HeldSlice(self, opened, slice)

    def close(self) -> None:
        """Forget all regions."""
        self.unregister()

    def _check_enabled(self) -> None:
        if not self.is_enabled:
            raise Unsupported(
                "shared memory: switched off on this box; its operator can set shared_memory = "
                "true, or send the tensors in the request"
            )

    def _open(self, region: Region) -> int:
        key = _KEY.fullmatch(region.key)
        if key is None or key[1] in {".", ".."}:
            raise BadRequest(
                f"shared memory {region.name}: got key {region.key[:80]!r}, wanted a name as "
                "shm_open takes it, such as /input0"
            )
        try:
            fd = os.open(
                self._folder / key[1], os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            )
        except (OSError, ValueError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else "no such name"
            raise NotFound(
                f"shared memory {region.name}: {region.key[:80]!r} cannot be opened: {reason}"
            ) from exc
        status = os.fstat(fd)
        end = region.offset + region.byte_size
        if not stat.S_ISREG(status.st_mode):
            reason = "is no shared memory"
        elif region.offset < 0 or region.byte_size <= 0 or end > status.st_size:
            reason = (
                f"has {status.st_size} bytes, got offset {region.offset} and byte_size "
                f"{region.byte_size}"
            )
        else:
            return fd
        os.close(fd)
        raise BadRequest(f"shared memory {region.name}: {region.key[:80]!r} {reason}")

    def _let_go(self, opened: _Opened) -> None:
        with self._lock:
            opened.holders -= 1
            is_last = not opened.holders
        if is_last:
            os.close(opened.fd)
