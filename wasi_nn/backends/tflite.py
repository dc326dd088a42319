"""TensorFlow Lite models, computed by LiteRT (or its predecessor `tflite_runtime`).

An interpreter serves one run at a time, and re-plans its memory when the shape of an input
changes. So a graph is a model's bytes and idle interpreters by shape; a run takes one, or makes
one. Quantised models take and give their raw integers.
"""

import ctypes
from collections.abc import Mapping, Sequence
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
from wasi_nn.backends.pool import IdlePool
from wasi_nn.backends.tflite_check import check_tflite
from wasi_nn.backends.vendor import reason, trim_heap
from wasi_nn.devices import unavailable
from wasi_nn.errors import (
    InvalidArgument,
    InvalidEncoding,
    RuntimeFailure,
    UnsupportedOperation,
)
from wasi_nn.tensor import Array, Quantization, TensorSpec, TensorType, check_inputs

# Delegate libraries that a vendor's installer puts on the loader's path, best first. An operator
# with another one passes it to the constructor.
# Source: https://www.coral.ai/docs/edgetpu/tflite-python/ and TensorFlow's own build targets.
DELEGATES: Mapping[Device, tuple[str, ...]] = {
    Device.GPU: ("libtensorflowlite_gpu_delegate.so",),
    Device.NPU: ("libedgetpu.so.1", "libvx_delegate.so", "libethosu_delegate.so"),
}

# Interpreters kept idle, over all shapes of a graph. Each has its own copy of the packed weights,
# so this is memory; chosen for two batch sizes on four threads, not measured.
_MAX_IDLE = 8
# A batch that no real model fixes, so that finding it in an output shows where it came from.
_PROBE_ROWS = 3

_Shapes = tuple[tuple[int, ...], ...]


class TfliteBackend:
    """Load TensorFlow Lite models.

    delegates: libraries to try for each device that is not the CPU.
    """

    name = "tflite"
    encodings = frozenset({Encoding.TENSORFLOWLITE})

    def __init__(self, delegates: Mapping[Device, tuple[str, ...]] = DELEGATES) -> None:
        self._delegates = delegates

    def probe(self) -> BackendInfo:
        """Say which interpreter is installed and which delegates are; see `Backend.probe`."""
        encodings = tuple(self.encodings)
        try:
            _, version = _interpreter_module()
        except Exception as exc:  # a broken install fails in the loader's own ways
            why = f"ai_edge_litert: {reason(exc)}; pip install ai-edge-litert"
            return BackendInfo(self.name, None, encodings, (), why)
        devices = [DeviceInfo(Device.CPU, True, "XNNPACK")]
        devices += [self._device(device) for device in (Device.GPU, Device.NPU)]
        return BackendInfo(self.name, version, encodings, tuple(devices))

    def _device(self, device: Device) -> DeviceInfo:
        names = self._delegates.get(device, ())
        found = next((name for name in names if _is_delegate(name)), None)
        if found is None:
            return DeviceInfo(device, False, f"none of {', '.join(names) or 'no delegate'} found")
        return DeviceInfo(device, True, found)

    def load(self, builders: Sequence[Buffer], encoding: Encoding, options: GraphOptions) -> Graph:
        """Load one .tflite; see `Backend.load`."""
        if encoding not in self.encodings:
            raise InvalidEncoding(f"backend tflite: got {encoding.value}, wanted tensorflowlite")
        if len(builders) != 1:
            raise InvalidArgument(f"tensorflowlite model: got {len(builders)} parts, wanted 1")
        check_tflite(builders[0])
        info = self.probe()
        if info.version is None:
            raise unavailable(info, options.device)
        model = bytes(builders[0])
        if options.device is not Device.CPU:
            try:
                library = self._library(options.device, info)
                return TfliteGraph(_Source(model, library, options), options.device)
            except UnsupportedOperation:
                if not options.allow_fallback:
                    raise
        return TfliteGraph(_Source(model, None, options), Device.CPU)

    def _library(self, device: Device, info: BackendInfo) -> str:
        found = self._device(device)
        if not found.present:
            raise unavailable(info, device)
        return found.detail


def _interpreter_module() -> tuple[Any, str]:
    """Import the interpreter, LiteRT first: tflite_runtime stopped in 2023."""
    try:
        import ai_edge_litert
        from ai_edge_litert import interpreter

        return interpreter, getattr(ai_edge_litert, "__version__", "unknown")
    except ModuleNotFoundError:
        import tflite_runtime
        from tflite_runtime import interpreter

        return interpreter, getattr(tflite_runtime, "__version__", "unknown")


def _is_delegate(name: str) -> bool:
    try:
        return hasattr(ctypes.CDLL(name), "tflite_plugin_create_delegate")
    except OSError:
        return False


class _Source:
    """What every interpreter of a graph is made from.

    library: the delegate's file, or None for the CPU.
    """

    def __init__(self, model: bytes, library: str | None, options: GraphOptions) -> None:
        self._model = model
        self._library = library
        self._num_threads = options.num_threads

    def interpreter(self) -> Any:
        """Make an interpreter, its tensors not yet allocated."""
        module, _ = _interpreter_module()
        delegates = None
        if self._library is not None:
            try:
                delegates = [module.load_delegate(self._library)]
            except (ValueError, OSError) as exc:
                raise UnsupportedOperation(
                    f"tflite delegate {self._library}: {reason(exc)}; is the device plugged in?"
                ) from exc
        try:
            return module.Interpreter(
                model_content=self._model,
                num_threads=self._num_threads,
                experimental_delegates=delegates,
            )
        except (ValueError, RuntimeError, UnicodeDecodeError) as exc:
            raise RuntimeFailure(
                f"tensorflowlite model: the runtime refused it: {reason(exc)}"
            ) from exc


class TfliteGraph:
    """One model and its interpreters."""

    def __init__(self, source: _Source, device: Device) -> None:
        self._source: _Source | None = source
        self.device = device
        self._idle: IdlePool[_Shapes, Any] = IdlePool(_MAX_IDLE)
        interpreter = source.interpreter()
        try:
            inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
            self.batch_axis = _batch_axis(source, inputs, outputs)
            self.inputs = tuple(_spec(i, "input", self.batch_axis) for i in inputs)
            self.outputs = tuple(_spec(o, "output", self.batch_axis) for o in outputs)
            shapes = tuple(tuple(int(d) for d in i["shape"]) for i in inputs)
            self._input_indices = [int(i["index"]) for i in inputs]
            self._output_indices = [int(o["index"]) for o in outputs]
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError, UnicodeDecodeError) as exc:
            raise RuntimeFailure(
                f"tensorflowlite model: the runtime refused it: {reason(exc)}"
            ) from exc
        self._idle.give(shapes, interpreter)

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Compute; see `Graph.run`."""
        check_inputs(self.inputs, inputs)
        shapes = tuple([array.shape for array in inputs])
        interpreter = self._idle.take(shapes)
        try:
            if interpreter is None:
                interpreter = self._planned(shapes)
            for index, array in zip(self._input_indices, inputs, strict=True):
                interpreter.set_tensor(index, array)
            interpreter.invoke()
            # get_tensor copies.
            outputs = [interpreter.get_tensor(index) for index in self._output_indices]
        except (ValueError, RuntimeError) as exc:
            # The interpreter goes with the error: nobody knows what state it is in.
            raise RuntimeFailure(f"compute: the runtime failed: {reason(exc)}") from exc
        self._idle.give(shapes, interpreter)
        return outputs

    def _planned(self, shapes: _Shapes) -> Any:
        """Make an interpreter for these shapes."""
        if self._source is None:
            raise RuntimeFailure("graph: closed")
        interpreter = self._source.interpreter()
        try:
            for index, shape in zip(self._input_indices, shapes, strict=True):
                interpreter.resize_tensor_input(index, shape)
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as exc:
            raise InvalidArgument(
                f"inputs: the model cannot take shapes {shapes}: {reason(exc)}"
            ) from exc
        return interpreter

    def close(self) -> None:
        """Free all interpreters; see `Graph.close`."""
        if self._source is not None:
            self._source = None
            self._idle.close()
            trim_heap()


def _spec(detail: Mapping[str, Any], role: str, batch_axis: int | None) -> TensorSpec:
    name = str(detail["name"])
    try:
        kind = TensorType(_NAMES[np.dtype(detail["dtype"]).name])
    except (KeyError, TypeError) as exc:
        raise UnsupportedOperation(
            f"tensorflowlite model: {role} {name} is {detail['dtype']}, wanted a tensor of numbers"
        ) from exc
    shape = [int(d) for d in detail["shape"]]
    # The signature has -1 where a dimension is free, and is empty in old models.
    signature = [int(d) for d in detail.get("shape_signature", ())] or shape
    free = tuple(None if d < 0 else d for d in signature)
    if batch_axis == 0:
        free = (None, *free[1:])
    is_integer = kind.storage.kind in "iu"
    return TensorSpec(name, kind, free, _quantization(detail) if is_integer else None)


def _quantization(detail: Mapping[str, Any]) -> Quantization | None:
    """Read what the integers of a tensor stand for; None for plain ones and scales per channel."""
    parameters = detail.get("quantization_parameters", {})
    scales, zero_points = parameters.get("scales", ()), parameters.get("zero_points", ())
    if len(scales) != 1 or len(zero_points) != 1 or not 0 < scales[0] < np.inf:
        return None
    return Quantization(float(scales[0]), int(zero_points[0]))


# numpy's name of a dtype -> ours.
_NAMES = {t.storage.name: t.value for t in TensorType if t is not TensorType.BF16}


def _batch_axis(source: _Source, inputs: Sequence[Any], outputs: Sequence[Any]) -> int | None:
    """Find out whether axis 0 is a batch: give the inputs one and see if every output has it."""
    if not inputs or any(len(d["shape"]) == 0 or d["shape"][0] != 1 for d in (*inputs, *outputs)):
        return None
    probe = source.interpreter()
    try:
        for detail in inputs:
            shape = [_PROBE_ROWS, *(int(d) for d in detail["shape"][1:])]
            probe.resize_tensor_input(detail["index"], shape)
        probe.allocate_tensors()
        rows = [detail["shape"][0] for detail in probe.get_output_details()]
    except (ValueError, RuntimeError):  # a shape that cannot be: then rows are not free
        return None
    return 0 if all(r == _PROBE_ROWS for r in rows) else None
