"""OpenVINO: IR (`.xml` and `.bin`), ONNX and TensorFlow Lite models on CPU, GPU and NPU.

One `ov.Core` per process: a second one loads every plugin again. A graph is one compiled model
and a pool of infer requests: a request serves one run at a time.
"""

import functools
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
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
            compile_model = functools.partial(
                _core().compile_model, model, _DEVICE_NAMES[device], _properties(device, options)
            )
            graph = OpenvinoGraph(compile_model, _lanes(device, options), shapes, device)
        except UnicodeDecodeError as exc:  # pybind trips over a damaged name
            raise RuntimeFailure(f"{encoding.value} model: a name is no UTF-8") from exc
        except RuntimeError as exc:  # the only class its binding raises
            raise RuntimeFailure(
                f"{encoding.value} model: openvino refused it: {reason(exc)}"
            ) from exc
        return graph


def _vendor() -> Any:
    # Importing openvino tells its makers by network that it was imported, and leaves an id in the
    # user's home. A box calls nobody: openvino does without the module that does it.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
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
    # One stream computes on the caller's own thread: 13 us for a tiny model, 30-110 with two.
    properties: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
    if device is not Device.CPU:
        return properties
    # Pinned, the threads of every compiled model sit on the same first cores: two models side by
    # side got 196 rows/s instead of 400.
    properties["ENABLE_CPU_PINNING"] = False
    # Or a CPU with bf16 units answers otherwise than the same model on another runtime.
    properties["INFERENCE_PRECISION_HINT"] = "f32"
    if options.num_threads is not None:
        properties["INFERENCE_NUM_THREADS"] = options.num_threads
    return properties


def _lanes(device: Device, options: GraphOptions) -> int:
    """How many runs of that width fit the cores side by side."""
    if device is not Device.CPU or options.num_threads is None:
        return 1
    return max(1, (os.cpu_count() or 1) // options.num_threads)


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
    """A model compiled once per lane, and its infer requests.

    A compiled model of one stream computes one request at a time: two callers of
    EfficientNet-Lite0 got 200 rows/s where other runtimes gave 356. So the first time that runs
    overlap the model is compiled again (80 ms for that one), up to the number of lanes.
    """

    def __init__(
        self, compile_model: Callable[[], Any], max_lanes: int, shapes: Shapes, device: Device
    ) -> None:
        self.inputs = shapes.inputs
        self.outputs = shapes.outputs
        self.batch_axis = shapes.batch_axis
        self.device = device
        self._ov = _vendor()
        self._shapes: Shapes | None = shapes
        self._compile: Callable[[], Any] | None = compile_model if max_lanes > 1 else None
        self._spare_lanes = max_lanes - 1
        self._turn = 0
        self._lanes = [compile_model()]
        # list.append and list.pop are atomic, so these need no lock.
        self._idle = [self._request(0)]
        self._lock = threading.Lock()
        self._has_bf16 = [s.type is TensorType.BF16 for s in self.inputs]

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Compute; see `Graph.run`."""
        check_inputs(self.inputs, inputs)
        if self._shapes is None:
            raise RuntimeFailure("graph: closed")
        self._shapes.check(inputs)
        try:
            request, own = self._idle.pop()
        except IndexError:
            request, own = self._new_request()
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

    def _request(self, lane: int) -> tuple[Any, list[Any]]:
        """Make a request; returns it and the input tensors that it has of its own."""
        request = self._lanes[lane].create_infer_request()
        return request, [request.get_input_tensor(index) for index in range(len(self.inputs))]

    def _new_request(self) -> tuple[Any, list[Any]]:
        """Make a request on a new lane while there may be one, else on one of those in turn."""
        with self._lock:
            is_new = self._spare_lanes > 0
            self._spare_lanes -= is_new
            self._turn += 1
        try:
            if not is_new or self._compile is None:
                return self._request(self._turn % len(self._lanes))
            lane = self._compile()
            with self._lock:
                self._lanes.append(lane)
                return self._request(len(self._lanes) - 1)
        except RuntimeError as exc:
            raise RuntimeFailure(f"compute: openvino failed: {reason(exc)}") from exc

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
        if self._shapes is not None:
            self._idle.clear()
            self._lanes.clear()
            self._shapes = self._compile = None
            trim_heap()


def _array(tensor: Any, spec: TensorSpec) -> Array:
    # tensor.data is a view into the request, which computes again.
    data = np.array(tensor.data, order="C")
    return data if data.dtype == spec.type.storage else data.view(spec.type.storage)
