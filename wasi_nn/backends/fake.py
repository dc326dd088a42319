"""A backend without a runtime: deterministic, and on request slow, failing or lying.

For tests and demonstrations of everything above the seam. A fake model is the line `FAKE` and a
JSON object:

    FAKE
    {"inputs":  [{"name": "x", "type": "f32", "shape": [null, 4]}],
     "outputs": [{"name": "y", "type": "f32", "shape": [null, 4]}],
     "op": "scale", "factor": 2.0, "offset": 1.0}

op           what output i is; a list has one for each output
  identity   input i
  scale      input i times `factor` plus `offset`
  sum        the sum of all inputs
  difference input 0 minus all others
  rows       each row's sum in every element of the output's row: shows where a row went in a batch
and, all optional:
  batch      true if axis 0 is a free batch (default: whether every shape starts with null)
  delay_s    seconds that a run takes, given to `sleep`
  delay_per_row_s  the same for each row
  delay_on_value   only a run with this value in an input takes them
  fail_on_run      number of the run that fails, the first is 1
  fail_on_value    a run with this value in an input fails
  abort_on_value   a run with this value in an input ends the process, as a native runtime may
  lie        "shape" or "type": what the outputs are wrong in

`model` writes such bytes.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wasi_nn.backend import (
    BackendInfo,
    Buffer,
    Device,
    DeviceInfo,
    Encoding,
    Graph,
    GraphOptions,
)
from wasi_nn.devices import unavailable
from wasi_nn.errors import InvalidArgument, InvalidEncoding, RuntimeFailure
from wasi_nn.tensor import Array, TensorSpec, TensorType, check_inputs

_MAGIC = b"FAKE\n"


def model(
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    op: str | Sequence[str],
    **rest: Any,
) -> bytes:
    """Write a fake model; `rest` is any of the optional entries above."""
    sides = {
        side: [{"name": s.name, "type": s.type.value, "shape": s.shape} for s in specs]
        for side, specs in (("inputs", inputs), ("outputs", outputs))
    }
    return _MAGIC + json.dumps({**sides, "op": op, **rest}).encode()


class FakeBackend:
    """Load fake models.

    encodings: those it claims; all by default.   devices: those it pretends to have.
    sleep: what a slow model's delay is given to.
    loads: how many graphs it has made.   open_graphs: how many of them are not closed.
    """

    def __init__(
        self,
        encodings: Iterable[Encoding] = tuple(Encoding),
        devices: Iterable[Device] = (Device.CPU,),
        *,
        name: str = "fake",
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = name
        self.encodings = frozenset(encodings) - {Encoding.AUTODETECT}
        self.loads = 0
        self.open_graphs = 0
        self._devices = frozenset(devices)
        self._sleep = sleep
        self._lock = threading.Lock()

    def probe(self) -> BackendInfo:
        """Say what it pretends to offer; see `Backend.probe`."""
        devices = tuple(
            DeviceInfo(d, d in self._devices, "pretended" if d in self._devices else "left out")
            for d in Device
        )
        encodings = tuple(e for e in Encoding if e in self.encodings)
        return BackendInfo(self.name, "1", encodings, devices)

    def load(self, builders: Sequence[Buffer], encoding: Encoding, options: GraphOptions) -> Graph:
        """Load a fake model; for openvino it is part 0 and part 1 is ignored."""
        if encoding not in self.encodings:
            raise InvalidEncoding(f"backend {self.name}: {encoding.value} is not among its own")
        wanted = 2 if encoding is Encoding.OPENVINO else 1
        if len(builders) != wanted:
            raise InvalidArgument(
                f"{encoding.value} model: got {len(builders)} parts, wanted {wanted}"
            )
        script = _parse(bytes(builders[0]))
        device = options.device
        if device not in self._devices:
            if not options.allow_fallback:
                raise unavailable(self.probe(), device)
            device = Device.CPU
        self._count(1)
        return FakeGraph(script, device, self._sleep, lambda: self._count(-1))

    def _count(self, change: int) -> None:
        with self._lock:
            self.open_graphs += change
            self.loads += max(change, 0)


@dataclass(frozen=True, slots=True)
class _Script:
    """A fake model as read; the fields are the module's docstring."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    op: str | Sequence[str]
    factor: float = 1.0
    offset: float = 0.0
    batch: bool | None = None
    delay_s: float = 0.0
    delay_per_row_s: float = 0.0
    delay_on_value: float | None = None
    fail_on_run: int = 0
    fail_on_value: float | None = None
    abort_on_value: float | None = None
    lie: str = ""

    def __post_init__(self) -> None:
        if not self.inputs or len(self.ops) != len(self.outputs):
            raise ValueError(f"{len(self.ops)} op for {len(self.outputs)} outputs")
        for index, op in enumerate(self.ops):
            if op not in _OPS:
                raise ValueError(f"op {op} is none of {', '.join(_OPS)}")
            if op in _PAIRED and index >= len(self.inputs):
                raise ValueError(f"op {op} has no input {index}")
        if self.lie not in ("", "shape", "type"):
            raise ValueError(f"lie {self.lie} is neither shape nor type")

    @property
    def ops(self) -> Sequence[str]:
        """One operation for each output."""
        return [self.op] * len(self.outputs) if isinstance(self.op, str) else self.op


def _parse(content: bytes) -> _Script:
    if not content.startswith(_MAGIC):
        raise InvalidEncoding(
            f"fake model: starts with {content[:8].hex(' ') or 'nothing'}, wanted the line FAKE"
        )
    try:
        entries = json.loads(content[len(_MAGIC) :])
        inputs, outputs = _specs(entries.pop("inputs")), _specs(entries.pop("outputs"))
        return _Script(inputs, outputs, **entries)
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise RuntimeFailure(f"fake model: damaged: {exc}") from exc


def _specs(entries: Sequence[dict[str, Any]]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(e["name"], TensorType(e["type"]), tuple(e["shape"])) for e in entries)


class FakeGraph:
    """A fake model, ready to compute."""

    def __init__(
        self,
        script: _Script,
        device: Device,
        sleep: Callable[[float], None],
        on_close: Callable[[], None],
    ) -> None:
        self.inputs = script.inputs
        self.outputs = script.outputs
        self.device = device
        ends = (*script.inputs, *script.outputs)
        is_free = all(spec.shape[:1] == (None,) for spec in ends)
        self.batch_axis = 0 if (is_free if script.batch is None else script.batch) else None
        self._script = script
        self._sleep = sleep
        self._on_close = on_close
        self._is_closed = False
        self._runs = 0
        self._lock = threading.Lock()

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Compute; see `Graph.run`."""
        check_inputs(self.inputs, inputs)
        if self._is_closed:
            raise RuntimeFailure("graph: closed")
        script = self._script
        with self._lock:
            self._runs += 1
            run = self._runs
        rows = inputs[0].shape[0] if inputs and inputs[0].ndim else 1
        delay_s = script.delay_s + rows * script.delay_per_row_s
        if delay_s > 0 and (script.delay_on_value is None or _has(script.delay_on_value, inputs)):
            self._sleep(delay_s)
        if run == script.fail_on_run:
            raise RuntimeFailure(f"compute: the fake fails on run {run}, as told")
        if _has(script.abort_on_value, inputs):
            os.abort()
        if _has(script.fail_on_value, inputs):
            raise RuntimeFailure(f"compute: the fake fails on {script.fail_on_value}, as told")
        # The overflow of a small integer type is the model's business.
        with np.errstate(all="ignore"):
            outputs = [_OPS[op](script, inputs, at) for at, op in enumerate(script.ops)]
        return [_told(array, script.lie) for array in outputs]

    def close(self) -> None:
        """Count the graph as closed; see `Graph.close`."""
        if not self._is_closed:
            self._is_closed = True
            self._on_close()


def _has(value: float | None, inputs: Sequence[Array]) -> bool:
    """Tell whether a value is in an input; None is in none."""
    return value is not None and any(value in array for array in inputs)


def _told(array: Array, lie: str) -> Array:
    """Make the output that the caller gets: a new array, true unless told to lie."""
    if lie == "shape":
        array = array[np.newaxis]
    if lie == "type":
        array = array.view(np.uint8)
    return np.array(array, order="C")


def _identity(script: _Script, inputs: Sequence[Array], index: int) -> Array:
    return inputs[index].astype(script.outputs[index].type.storage)


def _scale(script: _Script, inputs: Sequence[Array], index: int) -> Array:
    return (inputs[index] * script.factor + script.offset).astype(
        script.outputs[index].type.storage
    )


def _sum(script: _Script, inputs: Sequence[Array], index: int) -> Array:
    total: Array = np.sum(np.stack(inputs), axis=0)
    return total.astype(script.outputs[index].type.storage)


def _difference(script: _Script, inputs: Sequence[Array], index: int) -> Array:
    total: Array = inputs[0] - np.sum(np.stack(inputs[1:]), axis=0)
    return total.astype(script.outputs[index].type.storage)


def _rows(script: _Script, inputs: Sequence[Array], index: int) -> Array:
    spec = script.outputs[index]
    rows = inputs[0].shape[0]
    sums = sum(array.reshape(rows, -1).sum(axis=1) for array in inputs)
    shape = (rows, *(1 if d is None else d for d in spec.shape[1:]))
    column = np.reshape(sums, (rows, *([1] * (len(shape) - 1))))
    return np.broadcast_to(column, shape).astype(spec.type.storage)


# Operations whose output i is made of input i.
_PAIRED = ("identity", "scale")
_OPS: dict[str, Callable[[_Script, Sequence[Array], int], Array]] = {
    "identity": _identity,
    "scale": _scale,
    "sum": _sum,
    "difference": _difference,
    "rows": _rows,
}
