"""Look through a TensorFlow Lite model before a runtime does, for what would crash it.

LiteRT 2.3 verifies the flatbuffer's own offsets, but not what the numbers in it mean: an operator
with a missing input, a quantised tensor without a scale, or a subgraph that calls itself ends the
process. Every rule here is for a crash that fuzzing showed, or for a file of the host that a model
could name: of 15,000 damaged models 40 crashed LiteRT, and of 21,000 none did behind this look.

This look cannot be complete: kernels compare scales and shapes in their own ways, and abort. A
model from a stranger is to be loaded and run once in a throw-away process first.

Source: tensorflow/lite/schema/schema.fbs for all field, operator and option numbers.
"""

import math
import struct
from collections.abc import Callable
from typing import NamedTuple, NoReturn

from wasi_nn.backend import Buffer
from wasi_nn.backends.flatbuffer import Table
from wasi_nn.errors import InvalidEncoding, RuntimeFailure, UnsupportedOperation
from wasi_nn.formats import is_tflite

# 1 GiB of f32. Chosen, not measured: a damaged shape must not make the runtime fill the memory.
_MAX_TENSOR_ELEMENTS = 2**28

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
# AVERAGE_POOL_2D, L2_POOL_2D, MAX_POOL_2D: a window of a negative height is read outside the input.
_POOLS = frozenset((1, 12, 17))
# ADD and SUB abort unless 2 max(input scales) / (2**20 output scale) < 1, and if it is all but 0.
# Source: tensorflow/lite/kernels/add.cc, left_shift; QuantizeMultiplierSmallerThanOneExp.
_SUMS = frozenset((0, 41))
_SUM_SHIFT = 2.0**19
_SUM_LEAST = 2.0**-64
# tflite::BuiltinOperator -> the tflite::BuiltinOptions that its kernel takes for granted.
_OPTIONS = {
    0: 11, 1: 5, 2: 10, 3: 1, 4: 2, 5: 94, 9: 8, 11: 12, 12: 5, 13: 13, 15: 4, 16: 14, 17: 5,
    18: 21, 22: 17, 23: 15, 24: 7, 25: 9, 26: 19, 27: 6, 29: 3, 30: 18, 33: 20, 35: 31, 36: 23,
    40: 27, 41: 28, 42: 29, 43: 30, 44: 71, 45: 32, 46: 70, 49: 35, 52: 69, 53: 37, 56: 40,
    67: 49, 68: 50, 74: 27, 77: 55, 79: 57, 80: 58, 81: 27, 82: 27, 83: 59, 85: 61, 88: 64,
    89: 27, 91: 27, 97: 74, 98: 75, 100: 77, 102: 79, 103: 80, 112: 87, 126: 101, 128: 102,
    132: 106, 136: 107, 140: 27, 141: 106, 142: 111, 147: 115, 150: 116,
}  # fmt: skip
# Of these, the operators that mean nothing without: strides, counts. The others have defaults.
_NEEDS_OPTIONS = frozenset((1, 3, 4, 9, 12, 17, 25, 49, 67, 83, 88, 102, 132, 141))
# SPLIT, PACK, UNPACK, SPLIT_V -> the operator's field (inputs 1, outputs 2) whose length their
# first option tells again; XNNPACK believes the option.
_COUNTED = {49: 2, 83: 1, 88: 2, 102: 2}
# tflite::BuiltinOperator that runs subgraphs -> the operator's field with its options (4 or 12,
# their type is the field before), the type that they must have, and the fields that name them.
_CALLS = {
    31: (4, 16, (0,)),  # CALL
    118: (4, 92, (0, 1)),  # IF
    119: (4, 93, (0, 1)),  # WHILE
    129: (4, 103, (0,)),  # CALL_ONCE
    174: (12, 6, (1,)),  # STABLEHLO_REDUCE
    190: (12, 7, (6,)),  # STABLEHLO_SCATTER
    198: (12, 13, (5,)),  # STABLEHLO_REDUCE_WINDOW
    199: (12, 14, (2,)),  # STABLEHLO_SORT
    200: (12, 15, (0, 1)),  # STABLEHLO_WHILE
    206: (12, 21, (1,)),  # STABLEHLO_COMPOSITE
}


class _Tensor(NamedTuple):
    """What the rules need of a tensor."""

    type: int
    scales: tuple[float, ...]
    has_value: bool


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
        _check_model(Table.root(memoryview(model).cast("B")))
    except (struct.error, IndexError, OverflowError) as exc:
        raise RuntimeFailure(
            "tensorflowlite model: cut off or damaged, an offset leads outside"
        ) from exc


def _damaged(what: str) -> NoReturn:
    raise RuntimeFailure(f"tensorflowlite model: damaged, {what}")


def _check_model(model: Table) -> None:
    if model.length(8, 4) or model.length(9, 4):
        raise UnsupportedOperation(
            "tensorflowlite model: keeps weights in another file, and a model may open none here; "
            "convert it to one file"
        )
    codes = [max(code.number(0, "b"), code.number(3, "i")) for code in model.tables(1)]
    graphs = list(model.tables(2))
    if not graphs:
        _damaged("it has no graph")
    # Which buffers have bytes: inside (a vector) or, in models over 2 GB, after the flatbuffer.
    buffers = [bool(b.length(0, 1) or b.number(2, "Q")) for b in model.tables(4)]
    calls = [_check_graph(graph, codes, buffers) for graph in graphs]
    _check_calls(calls)


def _check_graph(graph: Table, codes: list[int], buffers: list[bool]) -> set[int]:
    """Check one subgraph; returns the subgraphs that it calls."""
    tensors = [_check_tensor(t, buffers) for t in graph.tables(0)]
    for field in (1, 2):
        _check_indices(graph.numbers(field, "i"), len(tensors), lambda _: False)
    # Tensors with a value so far: operators run in the order in which they stand.
    made = {-1, *graph.numbers(1, "i"), *(i for i, t in enumerate(tensors) if t.has_value)}
    calls: set[int] = set()
    for op in graph.tables(3):
        index = op.number(0, "I")
        if index >= len(codes):
            _damaged(f"operator code {index} of {len(codes)}")
        _check_operator(op, codes[index], tensors)
        if not made.issuperset(op.numbers(1, "i")):
            _damaged(f"operator code {codes[index]} reads a tensor that nothing has written")
        outputs = op.numbers(2, "i")
        if not made.isdisjoint(outputs):
            _damaged(f"operator code {codes[index]} writes a tensor that has a value already")
        made.update(outputs)
        calls |= _calls(op, codes[index])
    if not made.issuperset(graph.numbers(2, "i")):
        _damaged("an output is a tensor that nothing has written")
    return calls


def _check_tensor(tensor: Table, buffers: list[bool]) -> _Tensor:
    if tensor.number(10, "I"):
        raise UnsupportedOperation("tensorflowlite model: a tensor is kept in another file")
    buffer = tensor.number(2, "I")
    if buffer >= len(buffers):
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
    # Variables begin as zeros; a constant of no elements has no bytes.
    has_value = buffers[buffer] or bool(tensor.number(5, "B")) or math.prod(shape) == 0
    return _Tensor(kind, scales, has_value)


def _check_scales(scales: tuple[float, ...], shape: tuple[int, ...], axis: int) -> None:
    """Refuse scales that kernels divide by, or take the logarithm of, without looking."""
    # 2**-126 is the smallest normal f32: below it, a reciprocal is infinite.
    if not all(2.0**-126 <= scale < math.inf for scale in scales):
        _damaged("a scale is not a positive number")
    if len(scales) > 1 and not (0 <= axis < len(shape) and shape[axis] == len(scales)):
        _damaged(f"{len(scales)} scales for axis {axis} of shape {shape}")


def _check_operator(op: Table, code: int, tensors: list[_Tensor]) -> None:
    inputs, outputs = op.numbers(1, "i"), op.numbers(2, "i")
    optional_from = _OPTIONAL_FROM.get(code)
    _check_indices(
        inputs, len(tensors), lambda at: optional_from is not None and at >= optional_from
    )
    _check_indices(outputs, len(tensors), lambda _: False)
    _check_options(op, code)
    _check_types(code, [tensors[index] for index in (*inputs, *outputs) if index >= 0])


def _check_options(op: Table, code: int) -> None:
    options = op.number(3, "B")
    if code in _OPTIONS and options != _OPTIONS[code] and (options or code in _NEEDS_OPTIONS):
        _damaged(f"operator {code} has the options of another")
    if code in _POOLS:
        window = op.table(4)
        if window is None or any(window.number(field, "i") < 1 for field in (1, 2, 3, 4)):
            _damaged(f"operator {code} has strides or a window that are not positive")
    if code in _COUNTED:
        table = op.table(4)
        if table is None or table.number(0, "i") != op.length(_COUNTED[code], 4):
            _damaged(f"operator {code} counts its tensors wrong")


def _check_types(code: int, ends: list[_Tensor]) -> None:
    """Refuse element types and scales that the kernel aborts on; `ends` has the output last."""
    if code in _ONE_TYPE and len({end.type for end in ends}) > 1:
        _damaged(f"operator {code} mixes element types")
    quantised = [end for end in ends if end.type in (_UINT8, _INT8)]
    if code in _NEEDS_SCALE and not all(end.scales for end in quantised):
        _damaged(f"operator {code} computes with a quantised tensor that has no scale")
    if code in _SUMS and quantised:
        *sources, target = (end.scales[0] for end in quantised)
        largest = max(sources, default=0.0)
        if not target * _SUM_LEAST < largest < target * _SUM_SHIFT:
            _damaged(f"operator {code} has scales too far apart")


def _check_indices(
    indices: tuple[int, ...], count: int, is_optional: Callable[[int], bool]
) -> None:
    for at, index in enumerate(indices):
        if index == -1 and is_optional(at):
            continue
        if not 0 <= index < count:
            _damaged(f"tensor {index} of {count}")


def _calls(op: Table, code: int) -> set[int]:
    """List the subgraphs that a control flow operator runs."""
    if code not in _CALLS:
        return set()
    options_field, kind, fields = _CALLS[code]
    options = op.table(options_field)
    if options is None or op.number(options_field - 1, "B") != kind:
        _damaged(f"operator {code} does not say which subgraph it runs")
    return {options.number(field, "i") for field in fields}


def _check_calls(calls: list[set[int]]) -> None:
    """Refuse subgraphs that call themselves by any way round: the runtime recurses for ever."""
    left = {graph: set(called) for graph, called in enumerate(calls)}
    while left:
        leaves = {graph for graph, called in left.items() if not called & left.keys()}
        if not leaves:
            _damaged("a subgraph calls itself")
        for graph in leaves:
            del left[graph]
