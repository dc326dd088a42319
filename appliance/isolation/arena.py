"""Memory that two processes see: the tensors of one run at a time.

A memfd: it has no name, so nothing remains of it when both processes are gone, however they end.
It is sealed against shrinking, or the other side could pull the memory from under a reader
(SIGBUS). Growing is the owner's and the other's right; whoever reads looks at the size anew.
"""

import contextlib
import fcntl
import math
import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wasi_nn.errors import RuntimeFailure
from wasi_nn.tensor import MAX_RANK, Array, TensorType

# Vector instructions like their data on such boundaries.
_ALIGNMENT = 64
# Of one run's tensors, both ways; what a guest may hold is far below.
MAX_ARENA_BYTES = 4 * 1024**3
_TYPES = {tensor_type.storage.str: tensor_type.storage for tensor_type in TensorType}


@dataclass(frozen=True, slots=True)
class Place:
    """Where an array lies. dtype: of numpy, by its string."""

    dtype: str
    shape: tuple[int, ...]
    offset: int

    @property
    def size_bytes(self) -> int:
        return math.prod(self.shape) * _TYPES[self.dtype].itemsize

    def to_json(self) -> list[Any]:
        return [self.dtype, list(self.shape), self.offset]

    @classmethod
    def from_json(cls, value: Any) -> "Place":
        """Read what `to_json` gave. Raises: ValueError for anything else."""
        match value:
            case [str() as dtype, list() as shape, int() as offset] if dtype in _TYPES:
                dims = tuple(shape)
                is_whole = all(type(dim) is int and 0 <= dim <= MAX_ARENA_BYTES for dim in dims)
                if is_whole and len(dims) <= MAX_RANK and offset >= 0:
                    place = cls(dtype, dims, offset)
                    if offset + place.size_bytes <= MAX_ARENA_BYTES:
                        return place
        raise ValueError("not a place of an array")


class Arena:
    """One memfd and its mapping. Not thread-safe: one run at a time.

    fd: owned; `Arena.create()` makes a new one.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._map: mmap.mmap | None = None

    @classmethod
    def create(cls) -> "Arena":
        fd = os.memfd_create("appliance-arena", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        return cls(fd)

    def put(self, arrays: Sequence[Array], start: int = 0) -> list[Place]:
        """Copy arrays in, from an offset on. Raises: RuntimeFailure if they are too large."""
        places, end = [], start
        for array in arrays:
            offset = -(-end // _ALIGNMENT) * _ALIGNMENT
            places.append(Place(array.dtype.str, array.shape, offset))
            end = offset + array.nbytes
        self._reserve(end)
        for array, place in zip(arrays, places, strict=True):
            np.copyto(self._view(place), array)
        return places

    def views(self, places: Sequence[Place]) -> list[Array]:
        """View arrays that lie here; valid until the next `put`, by whichever side.

        Raises: RuntimeFailure if they reach beyond the end.
        """
        self._reserve(max((p.offset + p.size_bytes for p in places), default=0), may_grow=False)
        return [self._view(place) for place in places]

    def close(self) -> None:
        """Give it back; views that are still held keep their memory."""
        self._unmap()
        os.close(self.fd)

    def _view(self, place: Place) -> Array:
        dtype = _TYPES[place.dtype]
        if not place.size_bytes:
            return np.empty(place.shape, dtype)
        assert self._map is not None, "reserved before"
        count = math.prod(place.shape)
        return np.frombuffer(self._map, dtype, count, place.offset).reshape(place.shape)

    def _reserve(self, size_bytes: int, *, may_grow: bool = True) -> None:
        if self._map is not None and len(self._map) >= size_bytes:
            return
        if size_bytes > MAX_ARENA_BYTES:
            raise RuntimeFailure(
                f"tensors of one run: got {size_bytes} bytes, wanted at most {MAX_ARENA_BYTES}"
            )
        there = os.fstat(self.fd).st_size
        if there < size_bytes:
            if not may_grow:
                raise RuntimeFailure("the model's process gave tensors that are not there")
            # Doubled, so that growing batches do not map anew each time.
            there = min(max(size_bytes, 2 * there, mmap.PAGESIZE), MAX_ARENA_BYTES)
            try:
                os.ftruncate(self.fd, there)
            except OSError as exc:
                raise RuntimeFailure(f"no memory for the tensors of a run: {exc}") from exc
        self._unmap()
        self._map = mmap.mmap(self.fd, there) if there else None

    def _unmap(self) -> None:
        mapping, self._map = self._map, None
        if mapping is not None:
            # BufferError: somebody holds a view; the last one closes it.
            with contextlib.suppress(BufferError):
                mapping.close()
