"""Frames between two processes: slots of shared memory, and tokens that say whose a slot is.

The worker writes, the box reads. A slot is a memfd: memory with no name, which is gone with the
last process that holds it, however that ended. A slot's token is a record of 64 bytes. It is, at
each moment, in exactly one of four places:

    worker's hand --(write)--> ready pipe --(read)--> box's hand --(write)--> free pipe --+
         ^  ^                      |                                                      |
         |  `-------(read)---------'  the worker takes back the oldest one nobody read    |
         `-------------------------------------(read)-------------------------------------'

Rule: a slot's memory is touched only by who has its token in hand.

Proof that a torn frame is never seen and a slot on loan never overwritten: the kernel moves a
record of up to PIPE_BUF bytes whole and under the pipe's lock (pipe(7)), so when both processes
read the ready pipe, each record goes to one of them. Hence one hand at a time; and the lock orders
memory, so what was written before the token was passed on is seen by who gets it, on every
processor. No lease byte could give that from Python, which has no memory fences.

Latest wins and the worker never waits: it takes a free slot, else the oldest unread one (OLDEST).
If there is neither, all slots are on loan and the new frame is dropped (BUSY). The pipes hold at
most as many records as there are slots, so no write blocks.

A slot grows with the picture (its owner for the moment enlarges the memfd) and never shrinks: it is
sealed against that, because reading beyond the end of shrunken memory kills the reader (SIGBUS).
The box maps slots read-only and believes no token: what does not fit the slot is a broken promise.
"""

import fcntl
import mmap
import os
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SLOTS = 4
# slot, sequence, captured wall ns, captured monotonic ns, width, height, digest; padded.
_TOKEN = struct.Struct("<QQqqIIQ16x")
_MAX_SIDE = 1 << 16


class RingBroken(Exception):
    """The other side sent what cannot be; the message says what."""


@dataclass(frozen=True, slots=True)
class Token:
    """A slot and what is in it.

    sequence: of the frame.   wall_ns, monotonic_ns: its capture.   width, height: pixels of uint8
    RGB, rows without padding.   digest: equal for equal bytes, see `digest_of`.
    """

    slot: int
    sequence: int = 0
    wall_ns: int = 0
    monotonic_ns: int = 0
    width: int = 0
    height: int = 0
    digest: int = 0

    @property
    def size_bytes(self) -> int:
        return self.width * self.height * 3

    def pack(self) -> bytes:
        return _TOKEN.pack(
            self.slot, self.sequence, self.wall_ns, self.monotonic_ns, self.width, self.height,
            self.digest,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class WriterEnds:
    """The file descriptors that a worker is given."""

    slots: tuple[int, ...]
    ready_write: int
    ready_read: int
    free_read: int

    def all(self) -> tuple[int, ...]:
        return (*self.slots, self.ready_write, self.ready_read, self.free_read)


def _read_tokens(fd: int, count: int) -> list[Token]:
    """Take up to so many tokens from a pipe that never blocks. Raises: RingBroken."""
    try:
        content = os.read(fd, count * _TOKEN.size)
    except BlockingIOError:
        return []
    if len(content) % _TOKEN.size:
        raise RingBroken(f"ring: got {len(content)} bytes, wanted records of {_TOKEN.size}")
    return [Token(*fields) for fields in _TOKEN.iter_unpack(content)]


class RingReader:
    """The box's side: makes the ring, reads frames, gives slots back.

    first_sequence: frames count from here.   Not thread-safe but for `give_back` and `close`.
    """

    def __init__(self, *, slots: int = SLOTS, first_sequence: int = 0) -> None:
        self._slots = tuple(
            os.memfd_create("camera-slot", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            for _ in range(slots)
        )
        for slot in self._slots:
            # F_SEAL_SEAL too: nobody adds a seal against growing or writing.
            fcntl.fcntl(slot, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
        self._maps: list[mmap.mmap | None] = [None] * slots
        self.ready_read, self._ready_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._free_read, self._free_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._in_hand: set[int] = set()
        self._last_sequence = first_sequence - 1
        # A number of a closed descriptor may be somebody else's a moment later.
        self._closing = threading.Lock()
        self._is_open = True
        for slot in range(slots):
            os.write(self._free_write, Token(slot).pack())

    @property
    def writer_ends(self) -> WriterEnds:
        return WriterEnds(self._slots, self._ready_write, self.ready_read, self._free_read)

    def read(self) -> list[Token]:
        """Take all frames that are ready, oldest first; their slots are ours until given back.

        Raises: RingBroken if the worker claims what cannot be.
        """
        tokens = _read_tokens(self.ready_read, len(self._slots))
        for token in tokens:
            self._check(token)
            self._in_hand.add(token.slot)
            self._last_sequence = token.sequence
        return tokens

    def _check(self, token: Token) -> None:
        if token.slot >= len(self._slots) or token.slot in self._in_hand:
            raise RingBroken(f"ring: got slot {token.slot}, which is not the worker's to give")
        if not 0 < token.width < _MAX_SIDE or not 0 < token.height < _MAX_SIDE:
            raise RingBroken(f"ring: got a frame of {token.width}x{token.height}")
        if token.size_bytes > os.fstat(self._slots[token.slot]).st_size:
            raise RingBroken(f"ring: got a frame of {token.size_bytes} bytes in a smaller slot")
        if not self._last_sequence < token.sequence < 1 << 63:
            raise RingBroken(f"ring: got frame {token.sequence} after {self._last_sequence}")

    def pixels(self, token: Token) -> NDArray[np.uint8]:
        """View the frame of a token in hand: uint8 (H, W, 3), read-only, nothing copied."""
        mapped = self._maps[token.slot]
        if mapped is None or len(mapped) < token.size_bytes:
            # The old mapping lives on as long as somebody still has a view of it.
            size = os.fstat(self._slots[token.slot]).st_size
            mapped = mmap.mmap(self._slots[token.slot], size, mmap.MAP_SHARED, mmap.PROT_READ)
            self._maps[token.slot] = mapped
        flat = np.frombuffer(mapped, np.uint8, token.size_bytes)
        return flat.reshape(token.height, token.width, 3)

    def give_back(self, token: Token) -> None:
        """Let the worker have the slot again; after `close` it is simply gone."""
        with self._closing:
            if self._is_open:
                # Before the write: the slot may come back at once.
                self._in_hand.discard(token.slot)
                os.write(self._free_write, token.pack())

    def close(self) -> None:
        """Close all; views that are still held stay readable: a mapping outlives its file."""
        with self._closing:
            if not self._is_open:
                return
            self._is_open = False
            for fd in (*self.writer_ends.all(), self._free_write):
                os.close(fd)
        self._maps.clear()


class RingWriter:
    """The worker's side."""

    def __init__(self, ends: WriterEnds) -> None:
        self._ends = ends
        self._maps: list[mmap.mmap | None] = [None] * len(ends.slots)
        self._slot: int | None = None
        # How many unread frames were overwritten.
        self.overwritten = 0

    def slot(self, width: int, height: int) -> NDArray[np.uint8] | None:
        """Get memory for the next frame, uint8 (height, width, 3); None if all is on loan.

        The same slot is given again until `publish`.
        """
        if self._slot is None:
            self._slot = self._take()
        if self._slot is None:
            return None
        size = width * height * 3
        mapped = self._maps[self._slot]
        if mapped is None or len(mapped) < size:
            mapped = self._grow(self._slot, size)
        return np.frombuffer(mapped, np.uint8, size).reshape(height, width, 3)

    def publish(self, token: Callable[[int], Token]) -> None:
        """Pass the slot on. token: makes the record for a slot's number."""
        assert self._slot is not None, "publish follows slot"
        slot, self._slot = self._slot, None
        os.write(self._ends.ready_write, token(slot).pack())

    def _take(self) -> int | None:
        free = _read_tokens(self._ends.free_read, 1)
        if free:
            return free[0].slot
        unread = _read_tokens(self._ends.ready_read, 1)
        self.overwritten += len(unread)
        return unread[0].slot if unread else None

    def _grow(self, slot: int, size: int) -> mmap.mmap:
        fd = self._ends.slots[slot]
        if os.fstat(fd).st_size < size:
            os.ftruncate(fd, size)
        mapped = mmap.mmap(fd, os.fstat(fd).st_size, mmap.MAP_SHARED)
        self._maps[slot] = mapped
        return mapped
