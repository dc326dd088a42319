"""Who is in native code right now, in a memory file that outlives the process.

The kernel keeps a mapped file's pages when its process dies, so a mark costs two writes to memory
and no system call. After a power cut nothing is promised, and nothing is asked.

    0    magic, 16 bytes
    16   SLOTS slots of SLOT_BYTES: kind (0 is a free slot), began (f64, monotonic seconds),
         name, NUL, version, NUL
"""

import logging
import mmap
import os
import struct
import time
from collections import deque
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

log = logging.getLogger(__name__)

SLOTS = 256
SLOT_BYTES = 256
_MAGIC = b"appliance marks1"
_BYTES = len(_MAGIC) + SLOTS * SLOT_BYTES
_BEGAN = struct.Struct("<d")
_TEXT_AT = 1 + _BEGAN.size
_MAX_TEXT_BYTES = SLOT_BYTES - _TEXT_AT


class Doing(IntEnum):
    """What is under way. APP: a guest runs or waits for a graph, or its version is brought up."""

    RUN = 1
    LOAD = 2
    APP = 3


@dataclass(frozen=True, slots=True)
class Mark:
    """One thing that was under way.

    name: of an app, or a model as name:version.   version: an app's, or a model's digest.
    began_s: monotonic seconds.
    """

    doing: Doing
    name: str
    version: str
    began_s: float = 0.0


def text_of(name: str, version: str) -> bytes:
    """Write what stands in a slot; too long names are cut."""
    parts = (part.encode("utf-8", "replace").replace(b"\0", b"?") for part in (name, version))
    text, end = parts
    return text[: _MAX_TEXT_BYTES - 2 - len(end[:80])] + b"\0" + end[:80] + b"\0"


class Marks:
    """The marks of this process. Thread-safe: a slot has one user. Without a file it does nothing.

    clock: monotonic seconds.
    """

    def __init__(self) -> None:
        self._memory: mmap.mmap | None = None
        self._free: deque[int] = deque()

    def open(self, path: Path) -> tuple[Mark, ...]:
        """Begin anew. Returns: what was under way when the process before us ended.

        A disk that refuses costs the marks, no more.
        """
        try:
            left = _read(path)
            # Written anew: a process that dies slowly may still have the old one mapped.
            path.unlink(missing_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                # Now, and not as SIGBUS at the first mark.
                os.posix_fallocate(descriptor, 0, _BYTES)
                self._memory = mmap.mmap(descriptor, _BYTES)
            finally:
                os.close(descriptor)
        except OSError as exc:
            log.warning("no marks of what is in flight reason=%s", exc.strerror)
            return ()
        self._memory[: len(_MAGIC)] = _MAGIC
        self._free.extend(range(len(_MAGIC), _BYTES, SLOT_BYTES))
        return left

    def begin(self, doing: Doing, text: bytes) -> int:
        """Mark what begins. Returns: its slot for `end`, 0 if there was none free."""
        memory = self._memory
        try:
            slot = self._free.pop()
        except IndexError:
            return 0
        assert memory is not None, "there are slots in memory only"
        _BEGAN.pack_into(memory, slot + 1, time.monotonic())
        memory[slot + _TEXT_AT : slot + _TEXT_AT + len(text)] = text
        # Last: a slot counts when it is whole.
        memory[slot] = doing
        return slot

    def end(self, slot: int) -> None:
        """Mark its end."""
        if slot:
            assert self._memory is not None, "it was begun there"
            self._memory[slot] = 0
            self._free.append(slot)

    def under_way(self) -> tuple[Mark, ...]:
        """List what is under way now."""
        return () if self._memory is None else _marks_in(self._memory[:])

    def close(self) -> None:
        """Leave no mark."""
        self._free.clear()
        memory, self._memory = self._memory, None
        if memory is not None:
            memory[len(_MAGIC) :] = bytes(_BYTES - len(_MAGIC))


def _read(path: Path) -> tuple[Mark, ...]:
    try:
        with path.open("rb") as file:
            content = file.read(_BYTES)
    except FileNotFoundError:
        return ()
    return _marks_in(content) if content.startswith(_MAGIC) else ()


def _marks_in(content: bytes) -> tuple[Mark, ...]:
    """Read the slots; one that makes no sense is skipped."""
    found = []
    for at in range(len(_MAGIC), len(content) - SLOT_BYTES + 1, SLOT_BYTES):
        if content[at] not in set(Doing):
            continue
        (began_s,) = _BEGAN.unpack_from(content, at + 1)
        text = content[at + _TEXT_AT : at + SLOT_BYTES]
        parts = [part.decode("utf-8", "replace") for part in text.split(b"\0")]
        if len(parts) > 2:
            found.append(Mark(Doing(content[at]), parts[0], parts[1], began_s))
    return tuple(found)
