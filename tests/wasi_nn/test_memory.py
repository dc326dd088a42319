"""Windows into a guest's memory: every claim is checked before it is believed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasi_nn.errors import InvalidArgument
from wasi_nn.memory import GuestMemory

SIZE = 256
U32 = 0xFFFFFFFF


def memory_of(content: bytearray) -> GuestMemory:
    """Make a memory that grows when its bytearray is replaced by a longer one."""
    return GuestMemory(lambda: len(content), lambda: memoryview(content))


@given(pointer=st.integers(0, U32), length=st.integers(0, U32))
def test_window_is_exact_or_refused(pointer: int, length: int) -> None:
    """A window has exactly the asked bytes, or there is none."""
    memory = memory_of(bytearray(SIZE))
    if pointer + length <= SIZE:
        assert length == len(memory.window(pointer, length, "it"))
    else:
        with pytest.raises(InvalidArgument, match="inside the guest's memory of 256 bytes"):
            memory.window(pointer, length, "it")


@given(pointer=st.integers(0, SIZE), length=st.integers(0, SIZE))
def test_window_is_where_it_was_asked(pointer: int, length: int) -> None:
    """What is written into a window is at the pointer and nowhere else."""
    content = bytearray(SIZE)
    pointer, end = min(pointer, length), max(pointer, length)
    memory_of(content).window(pointer, end - pointer, "it")[:] = b"\xff" * (end - pointer)

    assert bytes(pointer) + b"\xff" * (end - pointer) + bytes(SIZE - end) == content


@pytest.mark.parametrize("pointer", [0, 100, SIZE])
def test_window_of_nothing(pointer: int) -> None:
    """No bytes are inside anywhere up to the very end."""
    assert b"" == bytes(memory_of(bytearray(SIZE)).window(pointer, 0, "it"))


def test_refusal_names_the_argument() -> None:
    """The message tells which argument, what it claimed and what there is."""
    with pytest.raises(InvalidArgument, match=r"^output buffer: got bytes 250\.\.266, wanted"):
        memory_of(bytearray(SIZE)).window(250, 16, "output buffer")


def test_empty_memory() -> None:
    """A memory of no pages has only windows of nothing."""
    memory = memory_of(bytearray())

    assert b"" == bytes(memory.window(0, 0, "it"))
    with pytest.raises(InvalidArgument, match="memory of 0 bytes"):
        memory.window(0, 1, "it")


def test_growth_is_seen() -> None:
    """After a look at a memory that grew, and moved, windows are of the new one."""
    places = [bytearray(16), bytearray(32)]
    memory = GuestMemory(lambda: len(places[0]), lambda: memoryview(places[0]))
    memory.window(0, 16, "it")
    places.pop(0)
    memory.look()
    memory.write_u32(28, 7, "it")

    assert b"\x07\0\0\0" == places[0][28:]


def test_view_is_taken_once() -> None:
    """While the size is the same, the memory has not moved and is not asked for again."""
    views: list[int] = []
    content = bytearray(16)

    def view() -> memoryview:
        views.append(1)
        return memoryview(content)

    memory = GuestMemory(lambda: 16, view)
    for _ in range(5):
        memory.look()
        memory.window(0, 16, "it")

    assert [1] == views


@pytest.mark.parametrize("value", [0, 1, 0x12345678, U32])
def test_u32_is_little_endian(value: int) -> None:
    """A u32 is written and read little-endian, at any alignment."""
    content = bytearray(16)
    memory = memory_of(content)
    memory.write_u32(3, value, "it")

    assert value.to_bytes(4, "little") == content[3:7]
    assert (value,) == memory.read_u32s(3, 1, "it")


def test_u32s() -> None:
    """An array of u32 is read whole or not at all."""
    memory = memory_of(bytearray(range(16)))

    assert (0x03020100, 0x07060504) == memory.read_u32s(0, 2, "it")
    assert () == memory.read_u32s(16, 0, "it")
    with pytest.raises(InvalidArgument, match="it: got"):
        memory.read_u32s(4, 4, "it")


@pytest.mark.parametrize(
    ("raw", "text"),
    [(b"", ""), (b"name", "name"), (b"name\0", "name"), (b"\0", ""), ("é".encode(), "é")],
    ids=repr,
)
def test_text(raw: bytes, text: str) -> None:
    """UTF-8 is decoded; one NUL at the end is none of it."""
    assert text == memory_of(bytearray(raw)).read_text(0, len(raw), "it")


@pytest.mark.parametrize(
    "raw", [b"\xff", b"\xc0\xaf", b"a\0b", b"a\0\0", b"\xed\xa0\x80"], ids=repr
)
def test_no_text(raw: bytes) -> None:
    """Bytes that are not UTF-8, and NULs inside, are refused."""
    with pytest.raises(InvalidArgument, match="it: "):
        memory_of(bytearray(raw)).read_text(0, len(raw), "it")


def test_lists() -> None:
    """An array of lists gives a view of each."""
    content = bytearray(b"\x10\0\0\0\x02\0\0\0\x12\0\0\0\0\0\0\0ab")
    first, second = memory_of(content).read_lists(0, 2, "it")
    content[16:18] = b"xy"

    assert b"xy" == bytes(first)
    assert b"" == bytes(second)


def test_list_outside() -> None:
    """The list that lies outside is named by its number."""
    content = bytearray(b"\x10\0\0\0\x02\0\0\0\xff\xff\xff\xff\x02\0\0\0ab")
    with pytest.raises(InvalidArgument, match=r"builder\[1\]: got bytes 4294967295\.\."):
        memory_of(content).read_lists(0, 2, "builder")


def test_close() -> None:
    """After close there is nothing left to look at, and the memory can be freed."""
    content = bytearray(16)
    memory = memory_of(content)
    memory.window(0, 16, "it").release()
    memory.close()
    memory.look()
    content.extend(b"raises BufferError if anyone still holds a view")

    assert memory.size_bytes == 0
    with pytest.raises(InvalidArgument, match="memory of 0 bytes"):
        memory.window(0, 1, "it")
