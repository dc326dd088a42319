"""Look through a TensorFlow Lite model before a runtime does, for what would crash it.

LiteRT verifies the flatbuffer's own offsets (8,000 damaged models: none got past it), but not what
the numbers in it mean: an operator with a missing input, a quantised tensor with scale 0 or a
subgraph that calls itself ends the process. Every rule here is for a crash that fuzzing showed or
for a file of the host that a model could name.

This look cannot be complete: kernels compare scales and shapes in their own ways, and abort. A
model from a stranger is to be loaded and run once in a throw-away process first.

Source: tensorflow/lite/schema/schema.fbs for all field numbers;
https://flatbuffers.dev/internals for the layout of tables and vectors.
"""

import math
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple, NoReturn

from wasi_nn.backend import Buffer
from wasi_nn.errors import InvalidEncoding, RuntimeFailure, UnsupportedOperation
from wasi_nn.formats import is_tflite

# 1 GiB of f32. Chosen, not measured: a damaged shape must not make the runtime fill the memory.
_MAX_TENSOR_ELEMENTS = 2**28
# Chosen, not measured: above any model we know of; bounds the time of this look.
_MAX_ENTRIES = 1_000_000

# tflite::TensorType values that hold quantised integers when they have a scale.
_UINT8, _INT16, _INT8 = 3, 7, 9
_ZERO_POINTS = {_UINT8: (0, 255), _INT8: (-128, 127), _INT16: (-32768, 32767)}

# tflite::BuiltinOperator -> first input that may be absent (-1). All others need every input.
_OPTIONAL_FROM = {
    3: 2, 4: 2, 9: 2, 67: 3, 132: 2, 141: 3,  # convolutions, fully connected: the bias
    16: 0, 24: 0, 27: 0, 35: 0, 44: 0, 46: 0, 52: 0,  # LSTM, RNN, SVDF: many gates
}  # fmt: skip
# Operators that compute with scales and abort, or divide by zero, where there are none.
_NEEDS_SCALE = frozenset((
    0, 3, 4, 6, 9, 11, 14, 18, 19, 20, 21, 25, 28, 41, 50, 54, 67, 76, 98, 99, 101, 111, 114, 117,
    150,
))  # fmt: skip
# ADD, MUL, SUB, DIV, MAXIMUM, MINIMUM: abort unless both inputs and the output have one type.
_ONE_TYPE = frozenset((0, 18, 41, 42, 55, 57))
# ADD and SUB abort unless 2 max(input scales) / (2**20 output scale) < 1.
# Source: tensorflow/lite/kernels/add.cc, left_shift; QuantizeMultiplierSmallerThanOneExp.
_SUMS = frozenset((0, 41))
_SUM_SHIFT = 2.0**19
# tflite::BuiltinOptions and BuiltinOptions2 -> the fields that name a subgraph.
_CALL_OPTIONS = {16: (0,), 92: (0, 1), 93: (0, 1), 103: (0,)}
_CALL_OPTIONS_2 = {6: (1,), 13: (5,), 14: (2,), 15: (0, 1), 21: (1,)}


class _Tensor(NamedTuple):
    """What the rules need of a tensor."""

    type: int
    scales: tuple[float, ...]


def check_tflite(model: Buffer) -> None:
    """Refuse a model that is damaged or that names files.

    Raises: InvalidEncoding if it is no TensorFlow Lite model, RuntimeFailure if it is damaged,
    UnsupportedOperation if it keeps data outside.
    """
    if not is_tflite(model):
        raise InvalidEncoding(
            f"tensorflowlite model: starts with {bytes(model[:8]).hex(' ') or 'nothing'}, wanted "
            "TFL3 at byte 4"
        )
    try:
        _check_model(_Table.root(memoryview(model).cast("B")))
    except (struct.error, IndexError, OverflowError) as exc:
        raise RuntimeFailure(
            "tensorflowlite model: cut off or damaged, an offset leads outside"
        ) from exc


def _damaged(what: str) -> NoReturn:
    raise RuntimeFailure(f"tensorflowlite model: damaged, {what}")


class _Table:
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
    def root(data: memoryview) -> "_Table":
        """Find the table that the bytes begin with."""
        return _Table(data, struct.unpack_from("<I", data, 0)[0])

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
        if count > _MAX_ENTRIES or start + 4 + count * item_bytes > len(self._data):
            raise IndexError(start)
        return start + 4, count

    def length(self, field: int) -> int:
        """Count a vector's entries, at least 4 bytes each."""
        return self._vector(field, 4)[1]

    def numbers(self, field: int, kind: str) -> tuple[int, ...]:
        """Read a vector of integers."""
        start, count = self._vector(field, struct.calcsize(kind))
        return struct.unpack_from(f"<{count}{kind}", self._data, start)

    def floats(self, field: int) -> tuple[float, ...]:
        """Read a vector of f32."""
        start, count = self._vector(field, 4)
        return struct.unpack_from(f"<{count}f", self._data, start)

    def tables(self, field: int) -> Iterator["_Table"]:
        """Walk a vector of tables."""
        start, count = self._vector(field, 4)
        for place in range(start, start + 4 * count, 4):
            yield _Table(self._data, place + struct.unpack_from("<I", self._data, place)[0])

    def table(self, field: int) -> "_Table | None":
        """Follow a field to another table."""
        place = self._place(field)
        if not place:
            return None
        return _Table(self._data, place + struct.unpack_from("<I", self._data, place)[0])


def _check_model(model: _Table) -> None:
    if model.length(8) or model.length(9):
        raise UnsupportedOperation(
            "tensorflowlite model: keeps weights in another file, and a model may open none here; "
            "convert it to one file"
        )
    codes = [max(code.number(0, "b"), code.number(3, "i")) for code in model.tables(1)]
    graphs = list(model.tables(2))
    if not graphs:
        _damaged("it has no graph")
    calls = [_check_graph(graph, codes, model.length(4)) for graph in graphs]
    _check_calls(calls)


def _check_graph(graph: _Table, codes: list[int], buffers: int) -> set[int]:
    """Check one subgraph; returns the subgraphs that it calls."""
    tensors = [_check_tensor(t, buffers) for t in graph.tables(0)]
    for field in (1, 2):
        _check_indices(graph.numbers(field, "i"), len(tensors), lambda _: False)
    calls: set[int] = set()
    for op in graph.tables(3):
        index = op.number(0, "I")
        if index >= len(codes):
            _damaged(f"operator code {index} of {len(codes)}")
        _check_operator(op, codes[index], tensors)
        calls |= _calls(op)
    return calls


def _check_tensor(tensor: _Table, buffers: int) -> _Tensor:
    if tensor.number(10, "I"):
        raise UnsupportedOperation("tensorflowlite model: a tensor is kept in another file")
    if tensor.number(2, "I") >= buffers:
        _damaged("a tensor has no buffer")
    shape = tensor.numbers(0, "i")
    if any(d < 0 for d in shape) or math.prod(shape) > _MAX_TENSOR_ELEMENTS:
        _damaged(f"a tensor has shape {shape}")
    kind = tensor.number(1, "b")
    quantization = tensor.table(4)
    scales = quantization.floats(2) if quantization else ()
    if quantization and kind in _ZERO_POINTS:
        low, high = _ZERO_POINTS[kind]
        if not all(low <= zero <= high for zero in quantization.numbers(3, "q")):
            _damaged("a zero point is outside its type")
    if scales and kind in _ZERO_POINTS:
        _check_scales(scales, shape, quantization.number(6, "i") if quantization else 0)
    return _Tensor(kind, scales)


def _check_scales(scales: tuple[float, ...], shape: tuple[int, ...], axis: int) -> None:
    """Refuse scales that kernels divide by, or take the logarithm of, without looking."""
    # 2**-126 is the smallest normal f32: below it, a reciprocal is infinite.
    if not all(2.0**-126 <= scale < math.inf for scale in scales):
        _damaged("a scale is not a positive number")
    if len(scales) > 1 and not (0 <= axis < len(shape) and shape[axis] == len(scales)):
        _damaged(f"{len(scales)} scales for axis {axis} of shape {shape}")


def _check_operator(op: _Table, code: int, tensors: list[_Tensor]) -> None:
    inputs, outputs = op.numbers(1, "i"), op.numbers(2, "i")
    optional_from = _OPTIONAL_FROM.get(code)
    _check_indices(
        inputs, len(tensors), lambda at: optional_from is not None and at >= optional_from
    )
    _check_indices(outputs, len(tensors), lambda _: False)
    ends = [tensors[index] for index in (*inputs, *outputs) if index >= 0]
    if code in _ONE_TYPE and len({end.type for end in ends}) > 1:
        _damaged(f"operator {code} mixes element types")
    quantised = [end for end in ends if end.type in (_UINT8, _INT8)]
    if code in _NEEDS_SCALE and not all(end.scales for end in quantised):
        _damaged(f"operator {code} computes with a quantised tensor that has no scale")
    if code in _SUMS and quantised:
        *sources, target = (end.scales[0] for end in quantised)
        if max(sources, default=0.0) >= target * _SUM_SHIFT:
            _damaged(f"operator {code} has scales too far apart")


def _check_indices(
    indices: tuple[int, ...], count: int, is_optional: Callable[[int], bool]
) -> None:
    for at, index in enumerate(indices):
        if index == -1 and is_optional(at):
            continue
        if not 0 <= index < count:
            _damaged(f"tensor {index} of {count}")


def _calls(op: _Table) -> set[int]:
    """List the subgraphs that a control flow operator runs."""
    called: set[int] = set()
    for kind_field, options_field, table in ((3, 4, _CALL_OPTIONS), (11, 12, _CALL_OPTIONS_2)):
        fields = table.get(op.number(kind_field, "B"), ())
        options = op.table(options_field) if fields else None
        called.update(options.number(f, "i") for f in fields if options)
    return called


def _check_calls(calls: list[set[int]]) -> None:
    """Refuse subgraphs that call themselves by any way round: the runtime recurses for ever."""
    left = {graph: set(called) for graph, called in enumerate(calls)}
    while left:
        leaves = {graph for graph, called in left.items() if not called & left.keys()}
        if not leaves:
            _damaged("a subgraph calls itself")
        for graph in leaves:
            del left[graph]
