"""Tensors: what a guest's type byte means, what fits an input, and exact sizes."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasi_nn.errors import InvalidArgument
from wasi_nn.tensor import (
    MAX_RANK,
    TYPE_NUMBERS,
    Claim,
    Numbering,
    Quantization,
    Tensor,
    TensorSpec,
    TensorType,
    check_inputs,
    fit,
    raw_bytes,
    raw_type,
    type_of,
    types_of,
)

U8, I8, I32, I64 = TensorType.U8, TensorType.I8, TensorType.I32, TensorType.I64
F16, F32, F64, BF16 = TensorType.F16, TensorType.F32, TensorType.F64, TensorType.BF16


@pytest.mark.parametrize("kind", TensorType, ids=lambda kind: kind.value)
def test_types_know_their_storage(kind: TensorType) -> None:
    """Every type has a little-endian storage of its item size."""
    assert kind.itemsize == kind.storage.itemsize
    assert kind.storage == kind.storage.newbyteorder("<")


@pytest.mark.parametrize(
    ("number", "itemsize", "meaning"),
    [(0, 2, F16), (1, 4, F32), (2, 8, F64), (2, 1, U8), (3, 1, U8), (3, 4, I32), (3, 2, BF16),
     (4, 4, I32), (4, 1, U8), (5, 8, I64), (5, 4, I32), (6, 8, I64)],
    ids=str,
)  # fmt: skip
def test_auto_numbering(number: int, itemsize: int, meaning: TensorType) -> None:
    """Every pair of type byte and element size has one meaning over all numberings."""
    assert meaning is type_of(number, elements=6, size_bytes=6 * itemsize, numbering=Numbering.AUTO)


@pytest.mark.parametrize("numbering", list(TYPE_NUMBERS), ids=lambda n: n.value)
def test_fixed_numbering(numbering: Numbering) -> None:
    """A numbering that the operator fixed means what its list says, whatever the size."""
    known = TYPE_NUMBERS[numbering]
    meant = [type_of(n, elements=1, size_bytes=0, numbering=numbering) for n in range(len(known))]

    assert list(known) == meant
    with pytest.raises(InvalidArgument, match=f"tensor type: got {len(known)}, wanted 0"):
        type_of(len(known), elements=1, size_bytes=0, numbering=numbering)


@pytest.mark.parametrize("number", [7, 255])
def test_unknown_number(number: int) -> None:
    """A byte beyond all lists means nothing."""
    with pytest.raises(InvalidArgument, match=f"got {number}, wanted 0..6"):
        type_of(number, elements=1, size_bytes=1, numbering=Numbering.AUTO)


def test_no_size_fits() -> None:
    """Where the size helps nothing the byte has its present meaning."""
    assert F64 is type_of(2, elements=1, size_bytes=5, numbering=Numbering.AUTO)


def test_all_meanings() -> None:
    """The meanings of a byte come likeliest first."""
    assert [U8, I32, BF16] == types_of(3, Numbering.AUTO)
    assert [I32] == types_of(3, Numbering.WITX_OLD)


@given(dims=st.lists(st.integers(0, 5), max_size=4), extra=st.integers(-1, 1))
def test_tensor_has_exactly_its_bytes(dims: list[int], extra: int) -> None:
    """A tensor that exists has the bytes that type and dimensions need."""
    size = max(0, math.prod(dims) * 4 + extra)
    data = memoryview(bytes(size))
    if size == math.prod(dims) * 4:
        assert tuple(dims) == Tensor(F32, tuple(dims), data).array().shape
    else:
        with pytest.raises(InvalidArgument, match=f"tensor size: got {size} bytes"):
            Tensor(F32, tuple(dims), data)


@pytest.mark.parametrize(
    "dims",
    [(0, 2**32 - 1, 2**32 - 1), (2**31, 0, 2), (2**32 - 1,) * 3 + (0,)],
    ids=str,
)
def test_tensor_of_no_bytes_has_possible_dims(dims: tuple[int, ...]) -> None:
    """Zeros among the dimensions do not excuse the others."""
    with pytest.raises(InvalidArgument, match="too large for any data"):
        Tensor(F32, dims, memoryview(b""))


@pytest.mark.parametrize("dims", [(65536, 65536), (2**32,), (2**62, 4)], ids=str)
def test_product_does_not_wrap(dims: tuple[int, ...]) -> None:
    """A product that is 0 modulo a power of two is not 0."""
    with pytest.raises(InvalidArgument, match="tensor size: got 0 bytes"):
        Tensor(F32, dims, memoryview(b""))


def test_rank_is_bounded() -> None:
    """More dimensions than the bound are refused, whatever the data."""
    assert (1,) * MAX_RANK == Tensor(U8, (1,) * MAX_RANK, memoryview(b"x")).array().shape
    with pytest.raises(InvalidArgument, match="tensor rank: got 17"):
        Tensor(U8, (1,) * (MAX_RANK + 1), memoryview(b"x"))


def test_repr_shows_no_payload() -> None:
    """What is logged of a tensor is its kind and size."""
    assert "<Tensor u8 (6,) 6 bytes>" == repr(Tensor(U8, (6,), memoryview(b"secret")))


@pytest.mark.parametrize(
    ("shape", "dims", "accepted"),
    [((1, 4), (1, 4), True), ((None, 4), (9, 4), True), ((None, 4), (0, 4), True),
     ((1, 4), (2, 4), False), ((1, 4), (4,), False), ((), (), True), ((None,), (), False)],
    ids=str,
)  # fmt: skip
def test_spec_accepts(shape: tuple[int | None, ...], dims: tuple[int, ...], accepted: bool) -> None:
    """Fixed dimensions have to be equal, free ones may be anything, the rank is the rank."""
    assert accepted == TensorSpec("x", F32, shape).accepts(dims)


@pytest.mark.parametrize(
    ("shape", "dims", "fitted"),
    [((1, 4), (1, 4), (1, 4)), ((1, 2, 2), (4,), (1, 2, 2)), ((None, 4), (4,), (1, 4)),
     ((), (1,), ()), ((None, 4), (3, 4), (3, 4)), ((None,), (5,), (5,))],
    ids=str,
)  # fmt: skip
def test_fit(shape: tuple[int | None, ...], dims: tuple[int, ...], fitted: tuple[int, ...]) -> None:
    """Dimensions that fit are kept; a flat tensor of the right size takes the input's own."""
    claim = Claim(F32, dims, 4 * math.prod(dims))

    assert fitted == fit(TensorSpec("x", F32, shape), claim, "it")


@pytest.mark.parametrize(
    ("wanted", "got", "dims"),
    [(F32, F32, (2, 2)), (F32, F32, (5,)), (F32, I32, (1, 4)), (U8, I8, (1, 4)), (I64, F64, (1, 4)),
     (F16, BF16, (1, 4))],
    ids=str,
)  # fmt: skip
def test_misfit(wanted: TensorType, got: TensorType, dims: tuple[int, ...]) -> None:
    """Other dimensions and other types are refused, of the same width too."""
    claim = Claim(got, dims, got.itemsize * math.prod(dims))
    with pytest.raises(InvalidArgument, match=rf"it: got {got.value} .*, wanted {wanted.value} "):
        fit(TensorSpec("x", wanted, (1, 4)), claim, "it")


@pytest.mark.parametrize("kind", [I8, TensorType.BOOL], ids=lambda kind: kind.value)
def test_u8_stands_for_types_without_number(kind: TensorType) -> None:
    """Integers and flags of one byte come as u8, since WASI-NN has no number for them."""
    assert U8 is raw_type(kind)
    assert (1, 4) == fit(TensorSpec("x", kind, (1, 4)), Claim(U8, (1, 4), 4), "it")


def test_raw_bytes_is_a_view() -> None:
    """The bytes of an array are the array's own."""
    array = np.zeros((2, 2), np.float32)
    raw_bytes(array)[3] = 0x40

    assert array[0, 0] == 2.0


@pytest.mark.parametrize("kind", TensorType, ids=lambda kind: kind.value)
@pytest.mark.parametrize("shape", [(2, 3), (), (0, 4)], ids=str)
def test_raw_bytes_of_every_type(kind: TensorType, shape: tuple[int, ...]) -> None:
    """Arrays of every type and shape, empty ones too, are bytes."""
    array = np.ones(shape, kind.storage)

    assert array.tobytes() == raw_bytes(array)


def test_check_inputs_takes_what_fits() -> None:
    """Arrays of the right number, type, shape and layout pass."""
    check_inputs([TensorSpec("x", F32, (None, 4))], [np.zeros((3, 4), np.float32)])


@pytest.mark.parametrize(
    ("arrays", "told"),
    [([], "inputs: got 0, wanted 1"),
     ([np.zeros((3, 4), np.float64)], r"input 0 \(x\): got float64 \(3, 4\), wanted f32 \(\?, 4\)"),
     ([np.zeros((4, 3), np.float32)], r"got float32 \(4, 3\)"),
     ([np.zeros((4, 4), np.float32).T[:, ::-1]], "wanted a C-contiguous one")],
    ids=["number", "type", "shape", "layout"],
)  # fmt: skip
def test_check_inputs_refuses(arrays: list[np.ndarray], told: str) -> None:
    """The first array that is wrong is named with what it is and what was wanted."""
    with pytest.raises(InvalidArgument, match=told):
        check_inputs([TensorSpec("x", F32, (None, 4))], arrays)


@pytest.mark.parametrize("kind", [U8, I8, TensorType.I16, I32], ids=lambda kind: kind.value)
@given(real=st.floats(-1e3, 1e3, width=32))
def test_quantise_is_nearest(kind: TensorType, real: float) -> None:
    """The integer is the nearest step, or the end of the type's range."""
    bounds = np.iinfo(kind.storage)
    array = Quantization(0.25, 3).quantise(np.array([real], np.float32), kind)

    assert kind.storage == array.dtype
    assert min(max(round(real / 0.25) + 3, bounds.min), bounds.max) == array[0]


def test_quantise_strange_numbers() -> None:
    """Infinities saturate, what is no number is the zero point; nothing is warned of."""
    reals = np.array([np.inf, -np.inf, np.nan, 3e38], np.float32)

    assert [255, 0, 7, 255] == Quantization(1e-300, 7).quantise(reals, U8).tolist()


@given(integer=st.integers(0, 255))
def test_quantisation_returns(integer: int) -> None:
    """An integer survives the way to its real and back."""
    scheme = Quantization(0.1, 128)
    reals = scheme.dequantise(np.array([integer], np.uint8))

    assert np.float32 == reals.dtype
    assert [integer] == scheme.quantise(reals, U8).tolist()


@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan])
def test_scale_is_a_size(scale: float) -> None:
    """A step of no size, or of none that is known, is refused."""
    with pytest.raises(InvalidArgument, match="quantization scale"):
        Quantization(scale, 0)
