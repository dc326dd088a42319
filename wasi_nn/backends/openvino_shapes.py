"""What an OpenVINO model takes and gives, and which input shapes fit together inside of it.

Does not compile or compute; that is `openvino.py`.
"""

from collections.abc import Sequence
from typing import Any

from wasi_nn.backends.vendor import reason
from wasi_nn.errors import InvalidArgument, UnsupportedOperation
from wasi_nn.tensor import Array, TensorSpec, TensorType

# Source: ov::element::Type names; what it has and WASI-NN lacks (u1, i4, string) is refused.
_TYPES = {
    "f16": TensorType.F16, "f32": TensorType.F32, "f64": TensorType.F64,
    "bf16": TensorType.BF16, "u8": TensorType.U8, "i8": TensorType.I8, "u16": TensorType.U16,
    "i16": TensorType.I16, "u32": TensorType.U32, "i32": TensorType.I32, "u64": TensorType.U64,
    "i64": TensorType.I64, "boolean": TensorType.BOOL,
}  # fmt: skip

# A batch that no real model fixes, so that finding it in an output shows where it came from.
_PROBE_ROWS = 3
# Combinations of input shapes remembered per graph; chosen, not measured.
_MAX_KNOWN_SHAPES = 64


class Shapes:
    """The inputs and outputs of a model, and a guard for its free dimensions.

    OpenVINO's CPU plugin does not ask: an input of 2 rows where a constant has 4 reads beyond its
    end and ends the process sooner or later (2026.4, found by fuzzing). Shape inference does ask,
    so every new combination goes through it once; a model without free dimensions went through
    it while loading.
    """

    def __init__(self, model: Any) -> None:
        self.inputs = _specs(model.inputs, "input")
        self.outputs = _specs(model.outputs, "output")
        self._model = model if any(None in spec.shape for spec in self.inputs) else None
        self._known: set[tuple[tuple[int, ...], ...]] = set()
        self.batch_axis = self._batch_axis()

    def _batch_axis(self) -> int | None:
        """Find out whether axis 0 is a batch: give the inputs one and look at the outputs."""
        specs = (*self.inputs, *self.outputs)
        if self._model is None or any(s.shape[:1] != (None,) for s in specs):
            return None
        shapes = [
            (_PROBE_ROWS, *(-1 if d is None else d for d in s.shape[1:])) for s in self.inputs
        ]
        try:
            outputs = _infer_shapes(self._model, shapes)
        except RuntimeError:  # a shape that cannot be: then rows are not free
            return None
        rows = [shape[0] for shape in outputs]
        return 0 if all(r.is_static and r.get_length() == _PROBE_ROWS for r in rows) else None

    def check(self, inputs: Sequence[Array]) -> None:
        """Refuse inputs whose shapes do not fit together."""
        if self._model is None:
            return
        shapes = tuple([array.shape for array in inputs])
        if shapes in self._known:
            return
        try:
            _infer_shapes(self._model, shapes)
        except RuntimeError as exc:
            raise InvalidArgument(
                f"inputs: the model cannot take shapes {shapes}: {reason(exc)}"
            ) from exc
        if len(self._known) >= _MAX_KNOWN_SHAPES:
            self._known.clear()
        self._known.add(shapes)


def _infer_shapes(model: Any, shapes: Sequence[Sequence[int]]) -> list[Any]:
    """Give a copy of the model these input shapes, -1 for free; returns the outputs' shapes."""
    import openvino as ov

    probe = model.clone()
    wanted = zip(probe.inputs, shapes, strict=True)
    probe.reshape({port: ov.PartialShape(list(shape)) for port, shape in wanted})
    return [output.partial_shape for output in probe.outputs]


def _specs(ports: Sequence[Any], role: str) -> tuple[TensorSpec, ...]:
    return tuple(_spec(port, f"{role} {index}") for index, port in enumerate(ports))


def _spec(port: Any, place: str) -> TensorSpec:
    # A port has several names, or none, in no order.
    name = min(port.names, default="") or port.node.friendly_name
    kind = _TYPES.get(port.element_type.get_type_name())
    shape = port.partial_shape
    if kind is None or shape.rank.is_dynamic:
        raise UnsupportedOperation(
            f"openvino: {place} ({name}) is {port.element_type.get_type_name()} {shape}, wanted "
            "a tensor of numbers of known rank"
        )
    dims = tuple(None if d.is_dynamic else d.get_length() for d in shape)
    return TensorSpec(name, kind, dims)
