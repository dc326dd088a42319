"""What a request asks and an answer says, whichever transport carried it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from appliance.oip.datatypes import Datatype
from wasi_nn.tensor import Array

Parameter = bool | int | float | str
Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class SharedSlice:
    """A place in a region of shared memory that the client registered.

    offset: within the region, bytes.   byte_size: of an input, how much it takes; of an output,
    how much there is room for, and in an answer how much was written.
    """

    region: str
    offset: int
    byte_size: int


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A named tensor with its elements.

    values: for BYTES a flat tuple, row-major; else a C-contiguous array of this shape and of the
    datatype's storage, which may be a read-only view of what the client sent, at any alignment.
    Or where in shared memory they stand.
    """

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    values: Array | tuple[bytes, ...] | SharedSlice

    def __post_init__(self) -> None:
        if isinstance(self.values, SharedSlice):
            return
        if isinstance(self.values, tuple):
            is_whole = self.datatype is Datatype.BYTES and len(self.values) == math.prod(self.shape)
        else:
            is_whole = (
                self.datatype is not Datatype.BYTES
                and self.values.shape == self.shape
                and self.values.dtype == self.datatype.tensor_type.storage
                and self.values.flags.c_contiguous
            )
        if not is_whole:
            raise ValueError(f"tensor {self.name}: values are not {self.datatype} {self.shape}")


@dataclass(frozen=True, slots=True)
class WantedOutput:
    """An output that is asked for by name.

    classification: answer with this many best classes, as BYTES "value:index:label"; 0 asks for
    the tensor.   shared: where in shared memory to write it, instead of into the answer.
    """

    name: str
    classification: int = 0
    shared: SharedSlice | None = None


@dataclass(frozen=True, slots=True, eq=False)
class InferRequest:
    """One inference.

    model: of a model or an app.   version: "" for the newest.   outputs: () for all.
    priority: 1 is the highest, 0 the default.   timeout_us: in the queue, 0 for none; it can
    only shorten.   parameters: what else was sent; echoed by nobody.
    raw: the bytes of the only input of the model, instead of inputs (REST's raw binary request):
    an encoded picture, or the elements of a batch of one.
    """

    model: str
    inputs: tuple[Tensor, ...]
    version: str = ""
    id: str = ""
    outputs: tuple[WantedOutput, ...] = ()
    priority: int = 0
    timeout_us: int = 0
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    raw: Buffer | None = None


@dataclass(frozen=True, slots=True)
class InferTiming:
    """Where the time of one inference went, in seconds.

    queue_s: waiting for the lane.   input_s: decoding and preprocessing.   compute_s: of the
    graph.   guest_s: of an app's guest, computes included.   total_s: from receipt to answer.
    """

    queue_s: float = 0.0
    input_s: float = 0.0
    compute_s: float = 0.0
    guest_s: float = 0.0
    total_s: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class InferAnswer:
    """What an inference gave. version: the one that answered."""

    model: str
    version: str
    outputs: tuple[Tensor, ...]
    id: str = ""
    timing: InferTiming = InferTiming()
    parameters: Mapping[str, Parameter] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TensorMetadata:
    """shape: -1 stands for any length, the batch dimension among them."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """platform: such as onnx_onnxv1, openvino, tensorflow_lite, or wasm for an app.

    properties: how a picture becomes an input, and what an output means, in words; OIP's own
    metadata has them, Triton's clients ignore them.
    """

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]
    properties: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """What Triton's ModelConfig says and this box can mean.

    inputs, outputs: shapes without the batch dimension if max_batch_size > 0.
    labels: output name -> its label file's name.   image_layout: of the inputs that are pictures,
    by name: NCHW or NHWC.   default_timeout_us: in the queue, 0 for none; timeout_action, REJECT or
    DELAY, is what happens then.   properties: as of the metadata (Triton's ModelConfig.parameters).
    """

    name: str
    platform: str
    backend: str
    max_batch_size: int
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]
    labels: Mapping[str, str] = field(default_factory=dict)
    preferred_batch_size: tuple[int, ...] = ()
    max_queue_delay_us: int = 0
    priority_levels: int = 0
    default_priority_level: int = 0
    max_queue_size: int = 0
    default_timeout_us: int = 0
    timeout_action: str = "REJECT"
    image_layout: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Duration:
    """How often, and nanoseconds in all."""

    count: int = 0
    ns: int = 0


@dataclass(frozen=True, slots=True)
class ModelStatistics:
    """A model since the box started.

    last_inference_ms: Unix time in milliseconds, 0 if never.   inference_count: rows.
    execution_count: runs.   batches: rows of a run -> how often, and compute time.
    """

    name: str
    version: str
    last_inference_ms: int
    inference_count: int
    execution_count: int
    success: Duration
    fail: Duration
    queue: Duration
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration
    batches: Mapping[int, Duration] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One version in the repository.

    state: READY, UNAVAILABLE or LOADING.   reason: why it is not ready, "" if it is.
    """

    name: str
    version: str
    state: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ServerMetadata:
    """extensions: those that are implemented, by Triton's names."""

    name: str
    version: str
    extensions: tuple[str, ...]
