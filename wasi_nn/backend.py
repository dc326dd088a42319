"""The seam to the inference runtimes: load a model, get a graph, run it.

One file per runtime lives in `wasi_nn.backends`; nothing above this seam names a vendor.

Rules for a backend:
1. Import the vendor inside the function that needs it: a box without it must still start, and
   one broken library must not take the others down.
2. Translate every vendor exception into `wasi_nn.errors`, `from exc`, in the backend's file.
3. `Graph.run` may be called from several threads at once.
4. A device that is not there is refused. Computing elsewhere is allowed only when the options
   say so, and then `Graph.device` tells where it really computes.
5. A model's bytes are borrowed: copy what must outlive `load`.
6. A model never reaches outside its own bytes: no file named inside it is ever opened.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from wasi_nn.tensor import Array, TensorSpec

Buffer = bytes | bytearray | memoryview


class Encoding(Enum):
    """A model format, by WASI-NN's name for it; `autodetect` looks at the bytes."""

    OPENVINO = "openvino"
    ONNX = "onnx"
    TENSORFLOW = "tensorflow"
    PYTORCH = "pytorch"
    TENSORFLOWLITE = "tensorflowlite"
    GGML = "ggml"
    AUTODETECT = "autodetect"


class Device(Enum):
    """Where a graph computes. WASI-NN's target `tpu` means the box's accelerator: `npu`."""

    CPU = "cpu"
    GPU = "gpu"
    NPU = "npu"

    # Members are single: Enum's own hash is a Python function, called for every look in a table.
    __hash__ = object.__hash__


class Objective(Enum):
    """What a graph is to be best at, where that is a choice."""

    LATENCY = "latency"
    THROUGHPUT = "throughput"


@dataclass(frozen=True, slots=True)
class GraphOptions:
    """How to load a graph.

    num_threads: threads one run may use, at least 1; None leaves it to the loader or the runtime.
    objective: for a loader that chooses threads by it; backends need not look at it.
    allow_fallback: compute on the CPU when the device is absent. The operator's to give, never a
    guest's.
    """

    device: Device = Device.CPU
    num_threads: int | None = None
    allow_fallback: bool = False
    objective: Objective = Objective.THROUGHPUT


class Graph(Protocol):
    """A model loaded for a device, ready to compute.

    inputs, outputs: in the model's own order.
    batch_axis: 0 if axis 0 of every input and output is a free batch, so that rows of several
    requests may be stacked; None if they may not.
    device: where it really computes.
    """

    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...
    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...
    @property
    def batch_axis(self) -> int | None: ...
    @property
    def device(self) -> Device: ...

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Compute all outputs.

        inputs: one C-contiguous array per input, of the spec's storage dtype and a shape that
        the spec accepts; read, never kept.
        Returns: one C-contiguous array per output, owned by the caller.
        Raises: InvalidArgument for shapes the model refuses, RuntimeFailure for the rest.
        """
        ...

    def close(self) -> None:
        """Give the memory back. No run may be under way; a second close does nothing."""
        ...


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """One device as a runtime reports it.

    detail: the vendor's name of it if present, else the reason why it is not.
    """

    device: Device
    present: bool
    detail: str


@dataclass(frozen=True, slots=True)
class BackendInfo:
    """What a backend offers here. A missing runtime has version None and the reason.

    encodings: formats it loads.   devices: all it could use, present or not.
    """

    name: str
    version: str | None
    encodings: tuple[Encoding, ...]
    devices: tuple[DeviceInfo, ...]
    reason: str = ""


class Backend(Protocol):
    """One inference runtime."""

    @property
    def name(self) -> str: ...
    @property
    def encodings(self) -> frozenset[Encoding]: ...

    def probe(self) -> BackendInfo:
        """Say what this runtime offers on this machine; never raises."""
        ...

    def load(self, builders: Sequence[Buffer], encoding: Encoding, options: GraphOptions) -> Graph:
        """Make a graph of a model.

        builders: the model's parts in WASI-NN's order: [xml, bin] for openvino, [model] else.
        Raises: InvalidArgument for a wrong number of parts, InvalidEncoding for bytes of another
        format, RuntimeFailure for a damaged model, UnsupportedOperation for an absent device.
        """
        ...
