"""Tensors: element types, the numberings that guests use for them, and what a graph expects.

Inside this package a tensor that is ready to compute is a C-contiguous `numpy.ndarray` whose
dtype is its type's `storage`. `Tensor` is what a guest claims before anyone has looked: a type,
dimensions and bytes, valid by construction; `Claim` is the same without the bytes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wasi_nn.errors import InvalidArgument

Array = NDArray[Any]

# Chosen, not measured: no model we know of has more than 8; numpy refuses more than 64.
MAX_RANK = 16
# The size of the largest wasm memory. numpy counts empty dimensions as 1 when it checks sizes, so
# dims such as (0, 2^32 - 1, 2^32 - 1) fail in it, late and unexpectedly.
_MAX_BYTES_WITHOUT_ZEROS = 1 << 32


class TensorType(Enum):
    """An element type, by the name that manifests and messages use."""

    F16 = "f16"
    F32 = "f32"
    F64 = "f64"
    BF16 = "bf16"
    U8 = "u8"
    I8 = "i8"
    U16 = "u16"
    I16 = "i16"
    U32 = "u32"
    I32 = "i32"
    U64 = "u64"
    I64 = "i64"
    BOOL = "bool"

    storage: np.dtype[Any]
    itemsize: int

    # Members are single: Enum's own hash is a Python function, called for every look in a table.
    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"TensorType.{self.name}"


# numpy has no bfloat16: its two bytes travel as u16 and are never computed with on our side.
_STORAGE = {
    "f16": "<f2", "f32": "<f4", "f64": "<f8", "bf16": "<u2", "u8": "u1", "i8": "i1",
    "u16": "<u2", "i16": "<i2", "u32": "<u4", "i32": "<i4", "u64": "<u8", "i64": "<i8",
    "bool": "?",
}  # fmt: skip
for _type in TensorType:
    # Plain attributes, not properties: the compute path reads them for every tensor.
    _type.storage = np.dtype(_STORAGE[_type.value])
    _type.itemsize = _type.storage.itemsize


class Numbering(Enum):
    """Which meaning a guest gives to the type byte of a tensor record.

    The list of WASI-NN changed in 2023 without any visible change of the ABI, so the byte alone
    does not tell; `auto` decides by the number of bytes an element has (see `type_of`).
    """

    AUTO = "auto"
    WITX_OLD = "witx-old"
    WITX = "witx"
    WIT = "wit"

    __hash__ = object.__hash__


TYPE_NUMBERS: dict[Numbering, tuple[TensorType, ...]] = {
    Numbering.WITX_OLD: (TensorType.F16, TensorType.F32, TensorType.U8, TensorType.I32),
    Numbering.WITX: (
        TensorType.F16, TensorType.F32, TensorType.F64, TensorType.U8, TensorType.I32,
        TensorType.I64,
    ),
    Numbering.WIT: (
        TensorType.F16, TensorType.F32, TensorType.F64, TensorType.BF16, TensorType.U8,
        TensorType.I32, TensorType.I64,
    ),
}  # fmt: skip

# In the order of how many guests send them; the first whose element size fits is meant.
_AUTO_ORDER = (Numbering.WITX, Numbering.WITX_OLD, Numbering.WIT)


def raw_bytes(array: Array) -> memoryview:
    """View a C-contiguous array as its bytes; nothing is copied."""
    if not array.size:  # which memoryview.cast refuses
        return memoryview(bytearray())
    return array.data.cast("B")


def type_of(number: int, *, elements: int, size_bytes: int, numbering: Numbering) -> TensorType:
    """Tell what a tensor record's type byte means.

    number: the byte.   elements: product of the dimensions.   size_bytes: length of the data.
    Returns: the type. With `Numbering.AUTO` the one whose element size matches the data; where
    none does (real guests send dims [1] with N bytes of text) the current witx meaning, so that
    the caller's size check names the mismatch.
    Raises: InvalidArgument if the number means nothing.
    Source: the disambiguation rule is ours, checked on 35 published guests: every pair of byte
    and element size has one meaning.
    """
    candidates = types_of(number, numbering)
    for candidate in candidates:
        if elements * candidate.itemsize == size_bytes:
            return candidate
    return candidates[0]


def types_of(number: int, numbering: Numbering) -> list[TensorType]:
    """List what a tensor record's type byte can mean, the likeliest first; see `type_of`."""
    if numbering is not Numbering.AUTO:
        known = TYPE_NUMBERS[numbering]
        if number < len(known):
            return [known[number]]
        raise InvalidArgument(
            f"tensor type: got {number}, wanted 0..{len(known) - 1} "
            f"({', '.join(t.value for t in known)}) in the {numbering.value} numbering"
        )
    candidates = [TYPE_NUMBERS[n][number] for n in _AUTO_ORDER if number < len(TYPE_NUMBERS[n])]
    if not candidates:
        raise InvalidArgument(f"tensor type: got {number}, wanted 0..6")
    return candidates


@dataclass(frozen=True, slots=True)
class Quantization:
    """How the integers of a whole tensor stand for reals: real = (integer - zero_point) * scale."""

    scale: float
    zero_point: int

    def __post_init__(self) -> None:
        if not 0 < self.scale < math.inf:
            raise InvalidArgument(f"quantization scale: got {self.scale}, wanted it above 0")

    def quantise(self, reals: Array, type: TensorType) -> Array:
        """Round reals to the nearest integers of a type; those out of its range saturate.

        reals: floats of any shape; NaN becomes the zero point.   Returns: of the type's storage.
        """
        bounds = np.iinfo(type.storage)
        # Infinities come from guests, and from a scale that is nearly nothing.
        with np.errstate(over="ignore"):
            steps = np.rint(reals.astype(np.float64) / self.scale) + self.zero_point
        steps[np.isnan(steps)] = self.zero_point
        integers: Array = np.clip(steps, bounds.min, bounds.max).astype(type.storage)
        return integers

    def dequantise(self, integers: Array) -> NDArray[np.float32]:
        """Give the reals, float32, that integers of any shape stand for."""
        with np.errstate(over="ignore"):
            reals = (integers.astype(np.float64) - self.zero_point) * self.scale
            return reals.astype(np.float32)


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """What a graph expects or gives at one place; a None in the shape is a free dimension.

    quantization: what the integers stand for, where the model says so for the whole tensor.
    """

    name: str
    type: TensorType
    shape: tuple[int | None, ...]
    quantization: Quantization | None = None

    def __str__(self) -> str:
        dims = ", ".join("?" if d is None else str(d) for d in self.shape)
        return f"{self.type.value} ({dims})"

    def accepts(self, dims: tuple[int, ...]) -> bool:
        """Tell whether a tensor of these dimensions fits."""
        # The first test saves most callers the loop, a plain one: this is asked in every compute.
        if dims == self.shape:
            return True
        if len(dims) != len(self.shape):
            return False
        for wanted, got in zip(self.shape, dims, strict=True):
            if wanted is not None and wanted != got:
                return False
        return True


def check_inputs(specs: Sequence[TensorSpec], inputs: Sequence[Array]) -> None:
    """Refuse arrays that a graph cannot take.

    Raises: InvalidArgument naming the first that is wrong, what it is and what was wanted.
    """
    if len(inputs) != len(specs):
        raise InvalidArgument(f"inputs: got {len(inputs)}, wanted {len(specs)}")
    for index, (spec, array) in enumerate(zip(specs, inputs, strict=True)):
        if array.dtype != spec.type.storage or not spec.accepts(array.shape):
            raise InvalidArgument(
                f"input {index} ({spec.name}): got {array.dtype} {array.shape}, wanted {spec}"
            )
        if not array.flags.c_contiguous:
            raise InvalidArgument(
                f"input {index} ({spec.name}): got an array with strides {array.strides}, wanted "
                "a C-contiguous one; see numpy.ascontiguousarray"
            )


@dataclass(frozen=True, slots=True)
class Claim:
    """What a guest says of a tensor's bytes: type, dimensions, and as many bytes as they need.

    Raises: InvalidArgument if the sizes disagree.
    """

    type: TensorType
    dims: tuple[int, ...]
    size_bytes: int

    def __post_init__(self) -> None:
        if len(self.dims) > MAX_RANK:
            raise InvalidArgument(
                f"tensor rank: got {len(self.dims)} dimensions, wanted at most {MAX_RANK}"
            )
        if 0 in self.dims:
            largest = math.prod(dim or 1 for dim in self.dims) * self.type.itemsize
            if largest > _MAX_BYTES_WITHOUT_ZEROS:
                raise InvalidArgument(f"tensor dimensions: got {self.dims}, too large for any data")
        wanted = math.prod(self.dims) * self.type.itemsize
        if wanted != self.size_bytes:
            raise InvalidArgument(
                f"tensor size: got {self.size_bytes} bytes, wanted {wanted} for "
                f"{self.type.value} {self.dims}"
            )


@dataclass(frozen=True, slots=True)
class Tensor:
    """A guest's tensor: type, dimensions, and exactly the bytes they need.

    data: a view of bytes, row-major, little-endian; borrowed. Whoever keeps the tensor beyond the
    guest's call must copy (`array` does not).
    Raises: InvalidArgument if the sizes disagree.
    """

    type: TensorType
    dims: tuple[int, ...]
    data: memoryview

    def __post_init__(self) -> None:
        self.claim()

    def claim(self) -> Claim:
        """Tell what it says of its bytes."""
        return Claim(self.type, self.dims, self.data.nbytes)

    def __repr__(self) -> str:
        return f"<Tensor {self.type.value} {self.dims} {self.data.nbytes} bytes>"

    def array(self) -> Array:
        """View the bytes as an array of the tensor's dimensions; nothing is copied."""
        return np.frombuffer(self.data, self.type.storage).reshape(self.dims)


def raw_type(wanted: TensorType) -> TensorType:
    """Tell under which type guests send the elements of an input.

    WASI-NN has no i8 and no bool: guests send the integers of a quantised model as u8.
    """
    return TensorType.U8 if wanted in (TensorType.I8, TensorType.BOOL) else wanted


def fit(spec: TensorSpec, claim: Claim, what: str) -> tuple[int, ...]:
    """Decide the dimensions under which a guest's tensor goes into an input.

    Some types are taken as raw bytes, see `raw_type`. One-dimensional tensors of the right size
    mean "just the bytes" (many guests send dims [1]): they take the input's own shape, free
    dimensions as 1.
    Raises: InvalidArgument naming got and wanted.
    """
    if claim.type in (spec.type, raw_type(spec.type)):
        if spec.accepts(claim.dims):
            return claim.dims
        fixed = tuple(1 if dim is None else dim for dim in spec.shape)
        if len(claim.dims) == 1 and math.prod(fixed) * spec.type.itemsize == claim.size_bytes:
            return fixed
    raise InvalidArgument(
        f"{what}: got {claim.type.value} {claim.dims}, wanted {spec} for {spec.name}"
    )
