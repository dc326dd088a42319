"""Cases of the tensor record: types, dimensions, sizes and pointers a guest may get wrong."""

import struct

import numpy as np

from tests.wasi_nn.conformance.dialects import ALL, EPHEMERAL, ML
from tests.wasi_nn.conformance.nets import EVERY
from tests.wasi_nn.conformance.table import F32, Rig, case, cases_of

U32_MAX = 0xFFFFFFFF
FOUR_FLOATS = np.arange(4, dtype=np.float32).tobytes()


@case("5.4, 1.3", ALL, EVERY)
def tensor_padding_is_garbage(rig: Rig) -> None:
    """The three bytes behind the type are whatever the compiler left there."""
    context = rig.context()
    for padding in (b"\0\0\0", b"\x03\x10\0", b"\xff\xff\xff"):
        tensor = rig.tensor([1, 4], F32, FOUR_FLOATS)
        rig.write(tensor + (5 if rig.dialect is ML else 9), padding)
        rig.call("set_input", context, 0, tensor)
    rig.call("compute", context)
    rig.gives(context, 0, [[1, 3, 5, 7]])


def doubled(rig: Rig, model: str, number: int, dtype: str) -> None:
    """Ask a fake that doubles, in a type, under the number a guest gives it."""
    context = rig.context(model)
    values = np.array([[1, 2, 3, 4]], dtype)
    rig.call("set_input", context, 0, rig.tensor([1, 4], number, values.tobytes()))
    rig.call("compute", context)
    wanted = (2 * values).astype(dtype).tobytes()
    rig.equal(f"doubled {model}", wanted, rig.output(context, 0, len(wanted)))


@case("5.4, 1.4")
def tensor_u8_and_i32_as_the_dialect_numbers_them(rig: Rig) -> None:
    """Guests of before and after 2023-08 number u8 and i32 differently; both are understood."""
    doubled(rig, "u8", rig.dialect.u8, "u1")
    doubled(rig, "i32", rig.dialect.i32, "<i4")


@case("1.7", EPHEMERAL)
def tensor_numbers_of_all_dialects(rig: Rig) -> None:
    """The size of an element tells which numbering is meant: old, new or WIT."""
    for model, dtype, numbers in (
        ("f16", "<f2", (0,)), ("f32", "<f4", (1,)), ("f64", "<f8", (2,)), ("u8", "u1", (2, 3, 4)),
        ("i32", "<i4", (3, 4, 5)), ("i64", "<i8", (5, 6)), ("bf16", "<u2", (3,)),
    ):  # fmt: skip
        for number in numbers:
            doubled(rig, model, number, dtype)
        rig.driver.guest.session.close()


@case("1.4", EPHEMERAL)
def tensor_i8_as_u8(rig: Rig) -> None:
    """WASI-NN has no i8: the integers of a quantised model come as u8."""
    doubled(rig, "i8", rig.dialect.u8, "i1")


@case("5.2 (10)", EPHEMERAL, EVERY)
def tensor_wrong_type(rig: Rig) -> None:
    """Another type than the model's is refused, also of the right total size."""
    context = rig.context()
    for number, dtype in ((0, "<f2"), (2, "<f8"), (2, "u1"), (3, "u1"), (4, "<i4"), (5, "<i8")):
        data = np.ones((1, 4), dtype).tobytes()
        rig.call("set_input", context, 0, rig.tensor([1, 4], number, data), errno=1)


@case("1.5", EPHEMERAL)
def tensor_unknown_type(rig: Rig) -> None:
    """A type number beyond all lists is refused."""
    context = rig.context()
    for number in (7, 8, 100, 255):
        rig.call("set_input", context, 0, rig.tensor([1, 4], number, FOUR_FLOATS), errno=1)


@case("5.2 (10)", ALL, EVERY)
def tensor_wrong_dims(rig: Rig) -> None:
    """Dimensions that the model cannot take are refused when they are set."""
    context = rig.context()
    for dims in ([1, 5], [4, 1], [2, 2, 1], [1, 2, 2], [5], [], [0]):
        data = bytes(4 * int(np.prod(dims, dtype=int)))
        rig.call("set_input", context, 0, rig.tensor(dims, F32, data), errno=1)


@case("5.4", ALL, EVERY)
def tensor_flat(rig: Rig) -> None:
    """One dimension of the right size means just the bytes, for one row."""
    context = rig.context()
    rig.call("set_input", context, 0, rig.tensor([4], F32, FOUR_FLOATS))
    rig.call("compute", context)
    rig.gives(context, 0, [[1, 3, 5, 7]])


@case("5.4, 0.3", EPHEMERAL, EVERY)
def tensor_dims_one_with_more_bytes(rig: Rig) -> None:
    """Many guests send dims [1] with all the bytes: the bytes count."""
    context = rig.context()
    rig.call("set_input", context, 0, rig.tensor([1], F32, FOUR_FLOATS))
    rig.call("compute", context)
    rig.gives(context, 0, [[1, 3, 5, 7]])
    rig.call("set_input", context, 0, rig.tensor([1], F32, FOUR_FLOATS[:12]), errno=1)


@case("5.4, 0.3", EPHEMERAL)
def tensor_dims_one_with_text(rig: Rig) -> None:
    """The same with u8, as language-model guests send their prompt."""
    context = rig.context("u8")
    rig.call("set_input", context, 0, rig.tensor([1], rig.dialect.u8, b"text"))
    rig.call("compute", context)
    rig.equal("doubled", bytes(2 * b % 256 for b in b"text"), rig.output(context, 0, 4))


@case("5.4", EPHEMERAL, EVERY)
def tensor_size_is_not_dims(rig: Rig) -> None:
    """Data of more or fewer bytes than the dimensions need are refused."""
    context = rig.context()
    for size in (0, 4, 15, 17, 32):
        rig.call("set_input", context, 0, rig.tensor([1, 4], F32, bytes(size)), errno=1)


@case("5.4")
def tensor_rank_overflows(rig: Rig) -> None:
    """A number of dimensions that no memory can hold is refused before it is read."""
    context = rig.context()
    dims, data = rig.put(struct.pack("<2I", 1, 4)), rig.put(FOUR_FLOATS)
    for rank in (17, 0x40000000, 0x40000001, 0x80000000, U32_MAX):
        rig.call("set_input", context, 0, rig.record(dims, rank, F32, data, 16), errno=1)


@case("5.4")
def tensor_product_of_dims_overflows(rig: Rig) -> None:
    """Dimensions whose product is 0 or 16 modulo 2^32 or 2^64 are not of that size."""
    context = rig.context("free")
    for dims in (
        [0x10000, 0x10000, 1, 1], [0x40000000, 4, 1, 1], [0x40000001, 4, 1, 1],
        [0x10000, 0x10000, 0x10000, 0x10000], [U32_MAX] * 4, [0x80000000, 2, 0x80000000, 2],
    ):  # fmt: skip
        for data in (b"", FOUR_FLOATS):
            rig.call("set_input", context, 0, rig.tensor(dims, F32, data), errno=1)


@case("5.4")
def tensor_huge_dims_beside_zero(rig: Rig) -> None:
    """Dimensions that no array can have are refused also where one of them is 0."""
    context = rig.context("free")
    for dims in ([0, U32_MAX, U32_MAX, U32_MAX], [U32_MAX, U32_MAX, U32_MAX, 0]):
        rig.call("set_input", context, 0, rig.tensor(dims, F32, b""), errno=1)


@case("5.4", ALL)
def tensor_record_outside(rig: Rig) -> None:
    """A record that is not all in memory is refused."""
    context = rig.context()
    for pointer in rig.outside(12 if rig.dialect is ML else 20):
        rig.call("set_input", context, 0, pointer, errno=1)


@case("5.4")
def tensor_dims_outside(rig: Rig) -> None:
    """Dimensions that are not all in memory are refused."""
    context, data = rig.context(), rig.put(FOUR_FLOATS)
    for pointer in rig.outside(8):
        rig.call("set_input", context, 0, rig.record(pointer, 2, F32, data, 16), errno=1)


@case("5.4", (ML,))
def legacy_dims_record_outside(rig: Rig) -> None:
    """The legacy record of the dimensions has to be in memory, whole."""
    context, data = rig.context(), rig.put(FOUR_FLOATS)
    for pointer in rig.outside(8):
        tensor = rig.put(struct.pack("<III", pointer, F32, data))
        rig.call("set_input", context, 0, tensor, errno=1)


@case("5.4")
def tensor_data_outside(rig: Rig) -> None:
    """Data that are not all in memory are refused."""
    context, dims = rig.context(), rig.put(struct.pack("<2I", 1, 4))
    for pointer in rig.outside(16):
        rig.call("set_input", context, 0, rig.record(dims, 2, F32, pointer, 16), errno=1)


@case("5.4", EPHEMERAL)
def tensor_data_overflows(rig: Rig) -> None:
    """A pointer and a length whose sum passes 2^32 are refused, not wrapped."""
    context, dims = rig.context(), rig.put(struct.pack("<2I", 1, 4))
    for pointer, size in ((16, U32_MAX), (U32_MAX, 16), (0x80000000, 0x80000000)):
        rig.call("set_input", context, 0, rig.record(dims, 2, F32, pointer, size), errno=1)


@case("1.6", ALL, EVERY)
def tensor_unaligned(rig: Rig) -> None:
    """Record, dimensions and data may stand at odd addresses."""
    context = rig.context()
    rig.call("set_input", context, 0, rig.tensor([1, 4], F32, FOUR_FLOATS, odd=1))
    rig.call("compute", context)
    rig.gives(context, 0, [[1, 3, 5, 7]])


@case("5.4", ALL, EVERY)
def tensor_at_the_end_of_memory(rig: Rig) -> None:
    """The last byte of memory is as good as any."""
    context, dims = rig.context(), rig.put(struct.pack("<2I", 1, 4))
    data = rig.size - 16
    rig.write(data, FOUR_FLOATS)
    rig.call("set_input", context, 0, rig.record(dims, 2, F32, data, 16))
    rig.call("compute", context)
    rig.fetch(context, 0, rig.size - 16, 16, rig.room(4))
    rig.equal("output", [1, 3, 5, 7], np.frombuffer(rig.read(data, 16), np.float32).tolist())


CASES = cases_of(globals())
