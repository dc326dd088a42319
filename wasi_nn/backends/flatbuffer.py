"""Read flatbuffers that may be damaged: every offset is checked, nothing is trusted.

Guarantee: whatever the bytes, a method returns, or raises IndexError, OverflowError or
struct.error; it reads nothing outside of them.
Source: https://flatbuffers.dev/internals for the layout of tables and vectors.
"""

import struct
from collections.abc import Iterator

# Chosen, not measured: above any model we know of; bounds the time that a vector of more than
# bytes can take (those are counted, never walked).
_MAX_ENTRIES = 1_000_000


class Table:
    """A flatbuffer table at a place in the bytes; struct refuses what is outside of them."""

    def __init__(self, data: memoryview, at: int) -> None:
        if not 0 <= at <= len(data) - 4:
            raise IndexError(at)
        self._data, self._at = data, at
        self._fields = at - struct.unpack_from("<i", data, at)[0]
        if not 0 <= self._fields <= len(data) - 4:
            raise IndexError(self._fields)
        self._size = struct.unpack_from("<H", data, self._fields)[0]

    @staticmethod
    def root(data: memoryview) -> "Table":
        """Find the table that the bytes begin with."""
        return Table(data, struct.unpack_from("<I", data, 0)[0])

    def _place(self, field: int) -> int:
        entry = 4 + 2 * field
        if entry + 2 > self._size:
            return 0
        offset = int(struct.unpack_from("<H", self._data, self._fields + entry)[0])
        return self._at + offset if offset else 0

    def number(self, field: int, kind: str) -> int:
        """Read a scalar; absent means 0 in all fields that we read."""
        place = self._place(field)
        return int(struct.unpack_from(f"<{kind}", self._data, place)[0]) if place else 0

    def _vector(self, field: int, item_bytes: int) -> tuple[int, int]:
        place = self._place(field)
        if not place:
            return 0, 0
        start = place + int(struct.unpack_from("<I", self._data, place)[0])
        count = int(struct.unpack_from("<I", self._data, start)[0])
        if start + 4 + count * item_bytes > len(self._data):
            raise IndexError(start)
        if count > _MAX_ENTRIES and item_bytes > 1:
            raise OverflowError(count)
        return start + 4, count

    def length(self, field: int, item_bytes: int) -> int:
        """Count a vector's entries."""
        return self._vector(field, item_bytes)[1]

    def numbers(self, field: int, kind: str) -> tuple[int, ...]:
        """Read a vector of integers."""
        start, count = self._vector(field, struct.calcsize(kind))
        return struct.unpack_from(f"<{count}{kind}", self._data, start)

    def floats(self, field: int) -> tuple[float, ...]:
        """Read a vector of f32."""
        start, count = self._vector(field, 4)
        return struct.unpack_from(f"<{count}f", self._data, start)

    def tables(self, field: int) -> Iterator["Table"]:
        """Walk a vector of tables."""
        start, count = self._vector(field, 4)
        for place in range(start, start + 4 * count, 4):
            yield Table(self._data, place + struct.unpack_from("<I", self._data, place)[0])

    def table(self, field: int) -> "Table | None":
        """Follow a field to another table."""
        place = self._place(field)
        if not place:
            return None
        return Table(self._data, place + struct.unpack_from("<I", self._data, place)[0])
