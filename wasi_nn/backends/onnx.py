"""ONNX Runtime: `.onnx` models on the CPU and on whatever providers the installed build has.

Session.run is thread-safe, so a graph is one session. No custom operator library is ever
registered, and a model that names files is refused before the runtime sees it.
"""

import ctypes
import math
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
from wasi_nn.backends.vendor import reason, trim_heap
from wasi_nn.devices import unavailable
from wasi_nn.errors import (
    InvalidArgument,
    InvalidEncoding,
    NNError,
    RuntimeFailure,
    UnsupportedOperation,
)
from wasi_nn.formats import check_onnx
from wasi_nn.tensor import Array, TensorSpec, TensorType, check_inputs

# Provider -> what it computes on, best first, and the options that make it do so.
# Source: https://onnxruntime.ai/docs/execution-providers/
_PROVIDERS: tuple[tuple[Device, str, dict[str, str]], ...] = (
    (Device.GPU, "TensorrtExecutionProvider", {}),
    (Device.GPU, "NvTensorRTRTXExecutionProvider", {}),
    (Device.GPU, "CUDAExecutionProvider", {}),
    (Device.GPU, "MIGraphXExecutionProvider", {}),
    (Device.GPU, "ROCMExecutionProvider", {}),
    (Device.GPU, "DmlExecutionProvider", {}),
    (Device.GPU, "CoreMLExecutionProvider", {}),
    (Device.GPU, "WebGpuExecutionProvider", {}),
    (Device.GPU, "OpenVINOExecutionProvider", {"device_type": "GPU"}),
    (Device.NPU, "QNNExecutionProvider", {}),
    (Device.NPU, "VitisAIExecutionProvider", {}),
    (Device.NPU, "RknpuExecutionProvider", {}),
    (Device.NPU, "CANNExecutionProvider", {}),
    (Device.NPU, "NnapiExecutionProvider", {}),
    (Device.NPU, "OpenVINOExecutionProvider", {"device_type": "NPU"}),
)
_CPU_PROVIDER = "CPUExecutionProvider"

# Source: onnxruntime's names of element types, DataTypeImpl::ToString.
_TYPES = {
    "tensor(float16)": TensorType.F16, "tensor(float)": TensorType.F32,
    "tensor(double)": TensorType.F64, "tensor(bfloat16)": TensorType.BF16,
    "tensor(uint8)": TensorType.U8, "tensor(int8)": TensorType.I8,
    "tensor(uint16)": TensorType.U16, "tensor(int16)": TensorType.I16,
    "tensor(uint32)": TensorType.U32, "tensor(int32)": TensorType.I32,
    "tensor(uint64)": TensorType.U64, "tensor(int64)": TensorType.I64,
    "tensor(bool)": TensorType.BOOL,
}  # fmt: skip
# Source: onnx.proto3, TensorProto.DataType.BFLOAT16.
_ONNX_BFLOAT16 = 16
# Source: OrtLoggingLevel; 3 is error. Warnings speak of optimizations, once a model and thread.
_LOG_ERRORS = 3


class OnnxBackend:
    """Load ONNX models with ONNX Runtime."""

    name = "onnx"
    encodings = frozenset({Encoding.ONNX})

    def probe(self) -> BackendInfo:
        """Say what the installed ONNX Runtime offers; see `Backend.probe`."""
        encodings = tuple(self.encodings)
        try:
            import onnxruntime as ort

            names = ort.get_available_providers()
        except Exception as exc:  # a broken install fails in the loader's own ways
            why = f"onnxruntime: {reason(exc)}; pip install onnxruntime"
            return BackendInfo(self.name, None, encodings, (), why)
        devices = [DeviceInfo(Device.CPU, True, _CPU_PROVIDER)]
        for device in (Device.GPU, Device.NPU):
            found = [name for d, name, _ in _PROVIDERS if d is device and name in names]
            detail = ", ".join(found) or f"this onnxruntime has no {device.value} provider"
            devices.append(DeviceInfo(device, bool(found), detail))
        return BackendInfo(self.name, ort.__version__, encodings, tuple(devices))

    def load(self, builders: Sequence[Buffer], encoding: Encoding, options: GraphOptions) -> Graph:
        """Load one .onnx; see `Backend.load`."""
        if encoding not in self.encodings:
            raise InvalidEncoding(f"backend onnx: got {encoding.value}, wanted onnx")
        if len(builders) != 1:
            raise InvalidArgument(f"onnx model: got {len(builders)} parts, wanted 1")
        check_onnx(builders[0])
        info = self.probe()
        if info.version is None:
            raise unavailable(info, options.device)
        model = bytes(builders[0])
        if options.device is not Device.CPU:
            try:
                return _load_on(options.device, model, options, info)
            except UnsupportedOperation:
                if not options.allow_fallback:
                    raise
        session = _session(model, options, _CPU_PROVIDER, {})
        return OnnxGraph(session, Device.CPU)


def _load_on(device: Device, model: bytes, options: GraphOptions, info: BackendInfo) -> Graph:
    """Load with the first provider of that device that really takes the model."""
    import onnxruntime as ort

    names = ort.get_available_providers()
    refusals = []
    for kind, name, provider_options in _PROVIDERS:
        if kind is not device or name not in names:
            continue
        try:
            session = _session(model, options, name, provider_options)
        except RuntimeFailure as exc:
            refusals.append(f"{name}: {exc}")
            continue
        # ONNX Runtime computes on the CPU, with a warning on stderr, when the driver is missing.
        if name in session.get_providers():
            return OnnxGraph(session, device)
        refusals.append(f"{name}: not taken, its driver or device is missing")
    if not refusals:
        raise unavailable(info, device)
    raise UnsupportedOperation(
        f"device {device.value}: onnxruntime could not use it: {'; '.join(refusals)}; load for "
        "cpu, or have the operator allow the fallback"
    )


def _session(
    model: bytes, options: GraphOptions, provider: str, provider_options: dict[str, str]
) -> Any:
    import onnxruntime as ort

    settings = ort.SessionOptions()
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    settings.inter_op_num_threads = 1
    settings.log_severity_level = _LOG_ERRORS
    # Or bytes that look like ONNX to us could be read as ONNX Runtime's own format.
    settings.add_session_config_entry("session.load_model_format", "ONNX")
    # x86 without VNNI multiplies u8 by s8 with saturation, and quantised models answer wrong.
    settings.add_session_config_entry("session.x64quantprecision", "1")
    if options.num_threads is not None:
        settings.intra_op_num_threads = options.num_threads
    try:
        # No fallback: it would print to standard output, and try a damaged model a second time.
        return ort.InferenceSession(
            model, settings, providers=[provider], provider_options=[provider_options],
            enable_fallback=0,
        )  # fmt: skip
    except UnicodeDecodeError as exc:  # pybind trips over a damaged name in the vendor's message
        raise RuntimeFailure("onnx model: onnxruntime refused it; a name is no UTF-8") from exc
    except Exception as exc:  # pybind makes its own classes, and plain RuntimeError
        raise RuntimeFailure(f"onnx model: onnxruntime refused it: {reason(exc)}") from exc


class OnnxGraph:
    """One ONNX Runtime session."""

    def __init__(self, session: Any, device: Device) -> None:
        try:
            inputs, outputs = session.get_inputs(), session.get_outputs()
            self.inputs = tuple(_spec(i, "input") for i in inputs)
            self.outputs = tuple(_spec(o, "output") for o in outputs)
        except UnicodeDecodeError as exc:
            raise RuntimeFailure("onnx model: a name is no UTF-8") from exc
        self.batch_axis = _batch_axis([*inputs, *outputs])
        self.device = device
        self._session = session
        self._input_names = [spec.name for spec in self.inputs]
        self._output_names = [spec.name for spec in self.outputs]
        self._has_bf16 = any(s.type is TensorType.BF16 for s in (*self.inputs, *self.outputs))

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Compute; see `Graph.run`."""
        check_inputs(self.inputs, inputs)
        if self._session is None:
            raise RuntimeFailure("graph: closed")
        try:
            if self._has_bf16:
                return self._run_values(inputs)
            # IOBinding measured slower here for a tiny model: 5.1 us against 3.8.
            feeds = dict(zip(self._input_names, inputs, strict=True))
            outputs = self._session.run(self._output_names, feeds)
        except NNError:
            raise
        except Exception as exc:
            raise _run_failure(exc) from exc
        # They wrap the runtime's memory, and would keep its arena alive after close.
        return [np.array(output, order="C") for output in outputs]

    def _run_values(self, inputs: Sequence[Array]) -> list[Array]:
        """Compute through OrtValue, which alone knows bfloat16; costs some 30 us more."""
        import onnxruntime as ort

        feeds = {}
        for spec, array in zip(self.inputs, inputs, strict=True):
            if spec.type is TensorType.BF16:
                value = ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array, _ONNX_BFLOAT16)
            else:
                value = ort.OrtValue.ortvalue_from_numpy(array)
            feeds[spec.name] = value
        values = self._session.run_with_ort_values(self._output_names, feeds)
        return [_array(v, s) for v, s in zip(values, self.outputs, strict=True)]

    def close(self) -> None:
        """Free the session; see `Graph.close`."""
        if self._session is not None:
            self._session = None
            trim_heap()


def _array(value: Any, spec: TensorSpec) -> Array:
    if spec.type is not TensorType.BF16:
        return np.array(value.numpy(), order="C")
    # OrtValue.numpy refuses bfloat16, so its bytes are read where they are, on the CPU.
    shape = tuple(value.shape())
    content = ctypes.string_at(value.data_ptr(), math.prod(shape) * spec.type.itemsize)
    return np.frombuffer(content, spec.type.storage).reshape(shape).copy()


def _run_failure(exc: Exception) -> NNError:
    # The class is made inside the vendor's extension module; its name is the documented code.
    if type(exc).__name__ == "InvalidArgument":
        return InvalidArgument(f"inputs: onnxruntime refused them: {reason(exc)}")
    return RuntimeFailure(f"compute: onnxruntime failed: {reason(exc)}")


def _spec(node: Any, role: str) -> TensorSpec:
    kind = _TYPES.get(node.type)
    if kind is None:
        raise UnsupportedOperation(
            f"onnx model: {role} {node.name} is {node.type}, wanted a tensor of numbers"
        )
    shape = tuple(d if isinstance(d, int) else None for d in node.shape)
    return TensorSpec(node.name, kind, shape)


def _batch_axis(nodes: Sequence[Any]) -> int | None:
    """Find a free axis 0 with one name in all inputs and outputs.

    Free dimensions without a name, or with several, may be free for other reasons: the number
    of boxes found, for one.
    """
    firsts = {node.shape[0] if node.shape else None for node in nodes}
    return 0 if len(firsts) == 1 and isinstance(firsts.pop(), str) else None
