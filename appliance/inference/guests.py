"""Apps as models of platform "wasm": a picture in, predictions out.

    input   image   BYTES [1]   an encoded picture
    output  label   BYTES [n]   the top label of each prediction, empty if the app named none
            score   FP32  [n]   its score, 0 if the app gave none (JSON has no NaN)
            json    BYTES [n]   the prediction as the app gave it, a JSON object

A frame that comes this way is like any other that a client sends: it is stored.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from appliance.apps import AppTable
from appliance.errors import BadRequest, NotFound
from appliance.inference.outputs import chosen
from appliance.inference.shared import delivered, fetched
from appliance.oip.datatypes import Datatype
from appliance.oip.elements import shown
from appliance.oip.messages import (
    InferAnswer,
    InferRequest,
    InferTiming,
    ModelConfig,
    ModelMetadata,
    Tensor,
    TensorMetadata,
)
from appliance.pipeline import CLIENTS, Pipeline
from appliance.records import Frame, Prediction
from appliance.sharedmemory import SharedRegions
from wasi_nn.executor import Cancellation

PLATFORM = "wasm"
IMAGE = TensorMetadata("image", Datatype.BYTES, (1,))
OUTPUTS = (
    TensorMetadata("label", Datatype.BYTES, (-1,)),
    TensorMetadata("score", Datatype.FP32, (-1,)),
    TensorMetadata("json", Datatype.BYTES, (-1,)),
)
_LARGEST = float(np.finfo(np.float32).max)
_NAMES = tuple(output.name for output in OUTPUTS)


@dataclass(frozen=True, slots=True)
class AppModels:
    """The live apps, as clients of the protocol see them.

    decode: gives the pixels of an encoded picture and its media type.   max_bytes: of a picture in
    shared memory.
    """

    apps: AppTable
    pipeline: Pipeline
    decode: Callable[[bytes], tuple[NDArray[np.uint8], str]]
    regions: SharedRegions
    max_bytes: int

    def find(self, name: str, version: str = "") -> str | None:
        """Find a live app's version; None if there is no such app.

        Raises: NotFound if another version is live.
        """
        try:
            with self.apps.using(name) as app:
                live = app.version
        except NotFound:
            return None
        if version not in ("", live):
            raise NotFound(
                f"Request for unknown model: '{name}' version {version[:80]} is not live; version "
                f"{live} is"
            )
        return live

    def metadata(self, name: str, version: str) -> ModelMetadata:
        """Describe an app's tensors."""
        return ModelMetadata(name, (version,), PLATFORM, (IMAGE,), OUTPUTS)

    def config(self, name: str) -> ModelConfig:
        """Describe how an app is run: frame by frame."""
        return ModelConfig(name, PLATFORM, PLATFORM, 0, (IMAGE,), OUTPUTS)

    def infer(self, request: InferRequest, cancellation: Cancellation | None) -> InferAnswer:
        """Show a picture to an app.

        Raises: BadRequest, BadPicture, and what `Pipeline.process` raises.
        """
        captured_at, captured_s = time.time(), time.monotonic()
        for output in request.outputs:
            if output.classification:
                raise BadRequest(f"output {output.name[:80]}: an app's output has no classes")
        with chosen(_NAMES, request, self.regions) as choices:
            encoded = self._picture(request)
            pixels, media_type = self.decode(encoded)
            frame = Frame(
                CLIENTS, self.pipeline.next_sequence(), captured_at, captured_s, pixels, encoded,
                media_type,
            )  # fmt: skip
            decoded_s = time.monotonic()
            done = self.pipeline.process(request.model, frame, cancellation)
            tensors = _tensors(done.predictions)
            outputs = tuple(delivered(tensors[c.index], c.held) for c in choices)
        timing = InferTiming(
            queue_s=done.spent.queue_s,
            input_s=decoded_s - captured_s,
            compute_s=done.spent.compute_s,
            guest_s=done.guest_s,
            total_s=time.monotonic() - captured_s,
        )
        return InferAnswer(request.model, done.version, outputs, request.id, timing)

    def _picture(self, request: InferRequest) -> bytes:
        if request.raw is not None:
            return bytes(request.raw)
        got = ", ".join(
            f"{t.name[:80]} {t.datatype.value} {shown(t.shape)}" for t in request.inputs[:4]
        )
        for tensor in request.inputs[:1]:
            is_picture = tensor.name == IMAGE.name and tensor.datatype is Datatype.BYTES
            if len(request.inputs) > 1 or not is_picture or tensor.shape not in ((1,), (1, 1)):
                break
            values = fetched(tensor, self.regions, self.max_bytes).values
            assert isinstance(values, tuple), "a tensor of BYTES has a tuple"
            return values[0]
        raise BadRequest(
            f"app {request.model}: got input {got or 'none'}, wanted image BYTES [1], one encoded "
            "picture"
        )


def _tensors(predictions: Sequence[Prediction]) -> tuple[Tensor, ...]:
    shape = (len(predictions),)
    labels = tuple((p.label or "").encode() for p in predictions)
    # A score that float32 cannot hold saturates; it is no probability anyway.
    scores = np.clip([p.score or 0.0 for p in predictions], -_LARGEST, _LARGEST)
    texts = tuple(json.dumps(p.data, separators=(",", ":")).encode() for p in predictions)
    return (
        Tensor("label", Datatype.BYTES, shape, labels),
        Tensor("score", Datatype.FP32, shape, scores.astype(np.float32)),
        Tensor("json", Datatype.BYTES, shape, texts),
    )
