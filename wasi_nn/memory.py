"""Bounds-checked windows into a guest's linear memory.

Every pointer and length that a guest hands over is a claim. This file is the only place that turns
a claim into a window, and it checks `0 <= pointer` and `pointer + length <= size` in plain
integers first: Python slices, and wasmtime-py's `Memory.read` with them, would silently truncate
or wrap instead.

Rules:
1. A window is valid until the guest runs again, no longer: the guest may grow or overwrite its
   memory. Copy what must outlive the host call. For the same reason the size is looked at anew,
   by `look`, whenever a host call comes to the memory (`serving.Guest.memory`).
2. Pointers are u32. Whoever decodes the call gives unsigned values; a pointer above 2 GiB is as
   good as any other.
3. Alignment is not required (WasmEdge and WAMR do not require it either).
"""

import struct
from collections.abc import Callable

from wasi_nn.errors import InvalidArgument, TooLarge

_U32 = struct.Struct("<I")
_PAIR = struct.Struct("<II")


class GuestMemory:
    """One guest's linear memory.

    size_of: the memory's present size in bytes; asked by `look`, for the guest may have grown it.
    view_of: a writable byte view of all of it; asked only after the size changed, since wasm
    memory can move only when it grows.
    """

    __slots__ = ("_size", "_size_of", "_view", "_view_of")

    def __init__(self, size_of: Callable[[], int], view_of: Callable[[], memoryview]) -> None:
        self._size_of = size_of
        self._view_of = view_of
        self._size = 0
        self._view = memoryview(b"")
        self.look()

    def look(self) -> None:
        """Find the memory as the guest left it; before any window of a host call."""
        size = self._size_of()
        if size != self._size:
            self._view = self._view_of()
            self._size = size

    @property
    def size_bytes(self) -> int:
        """The present size."""
        return self._size_of()

    def window(self, pointer: int, length: int, what: str) -> memoryview:
        """View `length` bytes at `pointer`, writable.

        what: the argument's name, for the message.
        Raises: InvalidArgument if any byte lies outside; a zero length at the very end is inside.
        """
        end = pointer + length
        if end > self._size:
            raise InvalidArgument(
                f"{what}: got bytes {pointer}..{end}, wanted them inside the guest's memory of "
                f"{self._size} bytes"
            )
        return self._view[pointer:end]

    def answer(
        self, content: bytes | memoryview, buffer: int, length: int, size_out: int, what: str
    ) -> None:
        """Copy bytes into the guest's buffer, then tell their number.

        what: the call that answers, for the message.
        Raises: TooLarge if they do not fit; then nothing but the size that would fit is written.
        """
        # `window` only where it refuses: guests ask for several answers about every frame.
        if size_out + 4 > self._size:
            self.window(size_out, 4, "size out-pointer")
        if buffer + length > self._size:
            self.window(buffer, length, "output buffer")
        size_bytes = len(content)
        if size_bytes <= length:
            self._view[buffer : buffer + size_bytes] = content
        _U32.pack_into(self._view, size_out, size_bytes)
        if size_bytes > length:
            raise TooLarge(
                f"{what}: got a buffer of {length} bytes, wanted {size_bytes}",
                required_bytes=size_bytes,
            )

    def write_u32(self, pointer: int, value: int, what: str) -> None:
        """Store a little-endian u32."""
        _U32.pack_into(self.window(pointer, 4, what), 0, value)

    def read_u32s(self, pointer: int, count: int, what: str) -> tuple[int, ...]:
        """Read an array of little-endian u32.

        count: checked by the caller against its own bound; the memory's size bounds it here.
        """
        window = self.window(pointer, 4 * count, what)
        return struct.unpack_from(f"<{count}I", window)

    def read_text(self, pointer: int, length: int, what: str) -> str:
        """Read UTF-8 text; a NUL at the end, which C guests count in, is dropped.

        Raises: InvalidArgument if it is not UTF-8 or has a NUL inside.
        """
        raw = bytes(self.window(pointer, length, what))
        try:
            text = raw.removesuffix(b"\0").decode()
        except UnicodeDecodeError as exc:
            raise InvalidArgument(f"{what}: wanted UTF-8, got bytes that are not") from exc
        if "\0" in text:
            raise InvalidArgument(f"{what}: got a NUL inside the text, wanted none")
        return text

    def read_lists(self, pointer: int, count: int, what: str) -> list[memoryview]:
        """Read an array of `{pointer u32, length u32}` and view each list of bytes.

        count: checked by the caller against its own bound.
        """
        table = self.window(pointer, 8 * count, what)
        return [
            self.window(start, length, f"{what}[{index}]")
            for index, (start, length) in enumerate(_PAIR.iter_unpack(table))
        ]

    def close(self) -> None:
        """Drop the view; the memory's owner is about to free it."""
        self._view = memoryview(b"")
        self._size = 0
        self._size_of = lambda: 0
        self._view_of = lambda: memoryview(b"")
