"""OpenVINO: IR (`.xml` and `.bin`), ONNX and TensorFlow Lite models on CPU, GPU and NPU.

One `ov.Core` per process: a second one loads every plugin again. A graph is one compiled model
and a pool of infer requests, made on demand: a request serves one run at a time.
"""

import functools
import os
import tempfile
from collections.abc import Sequence
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
from wasi_nn.backends.openvino_shapes import Shapes
from wasi_nn.backends.tflite_check import check_tflite
from wasi_nn.backends.vendor import reason, trim_heap
from wasi_nn.devices import present, unavailable
from wasi_nn.errors import (
    InvalidArgument,
    InvalidEncoding,
    RuntimeFailure,
)
from wasi_nn.formats import check_onnx, check_openvino_xml
from wasi_nn.tensor import Array, TensorSpec, TensorType, check_inputs

# OpenVINO's word for a device begins with ours: GPU, GPU.0, GPU.1, NPU.
_DEVICE_NAMES = {Device.CPU: "CPU", Device.GPU: "GPU", Device.NPU: "NPU"}


class OpenvinoBackend:
    """Load models with OpenVINO."""

    name = "openvino"
    encodings = frozenset({Encoding.OPENVINO, Encoding.ONNX, Encoding.TENSORFLOWLITE})

    def probe(self) -> BackendInfo:
        """Say which devices the installed OpenVINO finds; see `Backend.probe`."""
        encodings = (Encoding.OPENVINO, Encoding.ONNX, Encoding.TENSORFLOWLITE)
        try:
            names = _core().available_devices
            devices = tuple(_device(device, names) for device in Device)
            version = _vendor().__version__.partition("-")[0]
        except Exception as exc:  # a broken install fails in the loader's own ways
            why = f"openvino: {reason(exc)}; pip install openvino"
            return BackendInfo(self.name, None, encodings, (), why)
        return BackendInfo(self.name, version, encodings, devices)

    def load(self, builders: Sequence[Buffer], encoding: Encoding, options: GraphOptions) -> Graph:
        """Load [xml, bin], or one .onnx or .tflite; see `Backend.load`."""
        _check(builders, encoding)
        info = self.probe()
        device = options.device
        if device not in present(info):
            if info.version is None or not options.allow_fallback:
                raise unavailable(info, device)
            device = Device.CPU
        try:
            model = _read(builders, encoding)
            shapes = Shapes(model)
            compiled = _core().compile_model(
                model, _DEVICE_NAMES[device], _properties(device, options)
            )
        except UnicodeDecodeError as exc:  # pybind trips over a damaged name
            raise RuntimeFailure(f"{encoding.value} model: a name is no UTF-8") from exc
        except RuntimeError as exc:  # the only class its binding raises
            raise RuntimeFailure(
                f"{encoding.value} model: openvino refused it: {reason(exc)}"
            ) from exc
        return OpenvinoGraph(compiled, shapes, device)


def _vendor() -> Any:
    import openvino

    return openvino


@functools.cache
def _core() -> Any:
    return _vendor().Core()


def _device(device: Device, names: Sequence[str]) -> DeviceInfo:
    wanted = _DEVICE_NAMES[device]
    for name in names:
        if name.partition(".")[0] == wanted:
            return DeviceInfo(device, True, str(_core().get_property(name, "FULL_DEVICE_NAME")))
    detail = f"openvino finds no {wanted}, only {', '.join(names)}; is its driver installed?"
    return DeviceInfo(device, False, detail)


def _properties(device: Device, options: GraphOptions) -> dict[str, Any]:
    properties: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    if device is not Device.CPU:
        return properties
    # Or a CPU with bf16 units answers otherwise than the same model on another runtime.
    properties["INFERENCE_PRECISION_HINT"] = "f32"
    streams = 1
    if options.num_threads is not None:
        # A stream runs one request at a time: with a single one, two callers of EfficientNet-Lite0
        # got 200 rows/s instead of 356. So as many streams as runs of that width fit the cores.
        streams = max(1, len(os.sched_getaffinity(0)) // options.num_threads)
        properties["INFERENCE_NUM_THREADS"] = streams * options.num_threads
    properties["NUM_STREAMS"] = streams
    return properties


def _check(builders: Sequence[Buffer], encoding: Encoding) -> None:
    """Refuse what is no model of that encoding, or one that reaches outside its bytes."""
    if encoding not in OpenvinoBackend.encodings:
        raise InvalidEncoding(
            f"backend openvino: got {encoding.value}, wanted openvino, onnx or tensorflowlite"
        )
    wanted = 2 if encoding is Encoding.OPENVINO else 1
    if len(builders) != wanted:
        parts = "2, the .xml and the .bin" if wanted == 2 else "1"
        raise InvalidArgument(f"{encoding.value} model: got {len(builders)} parts, wanted {parts}")
    if encoding is Encoding.OPENVINO:
        check_openvino_xml(builders[0])
    elif encoding is Encoding.ONNX:
        check_onnx(builders[0])
    else:
        check_tflite(builders[0])


def _read(builders: Sequence[Buffer], encoding: Encoding) -> Any:
    if encoding is Encoding.TENSORFLOWLITE:
        return _read_file(builders[0], ".tflite")
    # Always bytes: a str would be taken as a path.
    model = bytes(builders[0])
    if encoding is Encoding.ONNX:
        return _core().read_model(model)
    # The constants keep the tensor's memory, so it is a copy (the default): builders are borrowed.
    # A tensor cannot be empty.
    weights = np.frombuffer(builders[1] or b"\0", np.uint8)
    return _core().read_model(model, _vendor().Tensor(weights))


def _read_file(model: Buffer, suffix: str) -> Any:
    """Read a model by way of a file of our own, gone before this returns.

    OpenVINO's TensorFlow Lite reader takes a path only ("Unable to read the model" for bytes). It
    maps the file, and a mapping outlives the name.
    """
    handle, path = tempfile.mkstemp(suffix)  # mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(model)
        return _core().read_model(path)
    finally:
        os.unlink(path)


class OpenvinoGraph:
    """One compiled model and its infer requests."""

    def __init__(self, compiled: Any, shapes: Shapes, device: Device) -> None:
        self.inputs = shapes.inputs
        self.outputs = shapes.outputs
        self.batch_axis = shapes.batch_axis
        self.device = device
        self._shapes: Shapes | None = shapes
        self._ov = _vendor()
        self._compiled = compiled
        # list.append and list.pop are atomic, so the pool needs no lock.
        self._idle: list[tuple[Any, list[Any]]] = []
        self._has_bf16 = [s.type is TensorType.BF16 for s in self.inputs]

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Compute; see `Graph.run`."""
        check_inputs(self.inputs, inputs)
        if self._compiled is None or self._shapes is None:
            raise RuntimeFailure("graph: closed")
        self._shapes.check(inputs)
        try:
            request, own = self._idle.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
            own = [request.get_input_tensor(index) for index in range(len(inputs))]
        try:
            for index, array in enumerate(inputs):
                request.set_input_tensor(index, self._tensor(index, array))
            # Without it the binding copies every output into a dict, which we do not read.
            request.infer(share_outputs=True)
            # An idle request must not hold on to the caller's memory.
            for index, tensor in enumerate(own):
                request.set_input_tensor(index, tensor)
            outputs = [
                _array(request.get_output_tensor(index), spec)
                for index, spec in enumerate(self.outputs)
            ]
        except RuntimeError as exc:
            # The request goes with the error: nobody knows what state it is in.
            raise RuntimeFailure(f"compute: openvino failed: {reason(exc)}") from exc
        self._idle.append((request, own))
        return outputs

    def _tensor(self, index: int, array: Array) -> Any:
        ov = self._ov
        # A tensor can share only memory that it may write, though it never writes an input.
        if not array.flags.behaved:
            array = array.copy()
        if self._has_bf16[index]:
            return ov.Tensor(array, list(array.shape), ov.Type.bf16)
        return ov.Tensor(array, shared_memory=True)

    def close(self) -> None:
        """Free the compiled model; see `Graph.close`."""
        if self._compiled is not None:
            self._idle.clear()
            self._compiled = self._shapes = None
            trim_heap()


def _array(tensor: Any, spec: TensorSpec) -> Array:
    # tensor.data is a view into the request, which computes again.
    data = np.array(tensor.data, order="C")
    return data if data.dtype == spec.type.storage else data.view(spec.type.storage)
