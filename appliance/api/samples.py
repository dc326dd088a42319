"""One picture through a model, without an app: does it load, is it right, how long does it take."""

import json
import time
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool

from appliance.api import shapes
from appliance.api.body import TheBox, body_of, cancelled_on_disconnect, read_optional_body
from appliance.api.rooms import Rooms
from appliance.errors import BadModel, BadRequest
from appliance.files import read_bounded
from appliance.manifests import ModelPackage, ModelSample
from appliance.pictures import decode
from appliance.sampling import Subject, look, refused
from wasi_nn.errors import NNError
from wasi_nn.executor import Cancellation, Ticket
from wasi_nn.registry import GraphInfo, GraphReference

router = APIRouter(prefix="/v1/models", tags=["models"])

OWNER = "api"
# Of a model that takes longer nobody wants to see a sample.
_DEADLINE_S = 60.0
_PICTURES = body_of("image/jpeg", "image/png", "image/webp", "application/octet-stream")
_PICTURES["requestBody"]["required"] = False


@router.post("/{name}/sample", openapi_extra=_PICTURES)
async def show_sample(
    name: str, request: Request, box: TheBox,
    version: Annotated[str | None, Query(description="the default version else")] = None,
    encoding: Annotated[str | None, Query(description="such as onnx; the preferred else")] = None,
) -> shapes.Sample:  # fmt: skip
    """Show a picture to a model: the body (JPEG, PNG or WebP), or the model's own sample."""
    body = await read_optional_body(request, box.settings.max_body_bytes)
    async with cancelled_on_disconnect(request) as cancellation:
        return await run_in_threadpool(_show, box, name, version, encoding, body, cancellation)


def _show(
    box: Rooms, name: str, version: str | None, encoding: str | None, body: bytes,
    cancellation: Cancellation,
) -> shapes.Sample:  # fmt: skip
    entry = box.models.pick(name, version)
    if entry.package is None:
        raise BadModel(f"model {name}:{entry.version}: {entry.reason}")
    started_s = time.perf_counter()
    own, encoded = None, body
    if not body:
        own, encoded = _own_sample(entry.package, name, box.settings.max_body_bytes)
    pixels, _ = decode(encoded, max_pixels=box.settings.max_pixels)
    decoded_s = time.perf_counter()
    reference = _load(box, f"{name}:{entry.version}", encoding)
    loaded_s = time.perf_counter()
    try:
        subject = Subject(entry.package, reference.encoding, reference.graph)
        ticket = Ticket(OWNER, time.monotonic() + _DEADLINE_S, cancellation=cancellation)
        sight = look(pixels, subject, box.scheduler, ticket)
        info = _info_of(box, reference)
    finally:
        reference.release()
    expected = None if own is None else own.label
    said = sight.top[0].label if sight.top else None
    return shapes.Sample(
        name=name,
        version=entry.version,
        encoding=reference.encoding.value,
        backend=info.backend,
        device=info.device.value,
        kind=None if sight.kind is None else sight.kind.value,
        top=[shapes.Score(index=s.index, label=s.label, score=s.score) for s in sight.top],
        expected=expected,
        is_as_expected=None if expected is None else said == expected,
        timing_ms=shapes.SampleTiming(
            load=_ms(loaded_s - decoded_s),
            decode=_ms(decoded_s - started_s),
            preprocess=_ms(sight.preprocess_s),
            queue=_ms(sight.queue_s),
            compute=_ms(sight.compute_s),
            total=_ms(time.perf_counter() - started_s),
        ),
    )


def _own_sample(package: ModelPackage, name: str, max_bytes: int) -> tuple[ModelSample, bytes]:
    sample = package.manifest.sample
    if sample is None:
        raise BadRequest(
            f"model {name}: has no sample of its own; send a picture (with curl: --data-binary "
            "@FILE), or name one in [sample] of its model.toml"
        )
    return sample, read_bounded(package.folder / sample.picture, max_bytes=max_bytes)


def _load(box: Rooms, name: str, encoding: str | None) -> GraphReference:
    config = b"" if encoding is None else json.dumps({"encoding": encoding}).encode()
    try:
        return box.registry.load_named(name, config)
    except NNError as exc:
        raise refused(exc) from exc


def _info_of(box: Rooms, reference: GraphReference) -> GraphInfo:
    return next(g for g in box.registry.statistics().graphs if g.graph is reference.graph)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
