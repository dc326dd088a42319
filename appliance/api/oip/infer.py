"""Inference over HTTP.

This path is the box's busiest: nothing of it goes through pydantic, the body is received where it
is computed on, and decoding is done by the thread that computes.
"""

import time
from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from appliance.api.body import TheBox, body_of, cancelled_on_disconnect
from appliance.api.oip.bodies import TensorResponse, receive
from appliance.api.rooms import Rooms
from appliance.oip.inflate import inflated
from appliance.oip.messages import InferTiming
from appliance.oip.restrequest import HEADER, decode_request, json_length
from appliance.oip.restresponse import encode_answer
from wasi_nn.executor import Cancellation

router = APIRouter(prefix="/v2/models", tags=["inference"])


@dataclass(frozen=True, slots=True)
class _Received:
    """A request as it came. received_s: `time.perf_counter()` before its body was read."""

    model: str
    version: str
    body: memoryview
    encoding: str
    header_length: str | None
    received_s: float


@router.post(
    "/{model}/infer",
    response_class=Response,
    openapi_extra=body_of("application/json", "application/octet-stream", "image/jpeg"),
)
@router.post(
    "/{model}/versions/{version}/infer",
    response_class=Response,
    openapi_extra=body_of("application/json", "application/octet-stream", "image/jpeg"),
)
async def infer(model: str, request: Request, box: TheBox, version: str = "") -> Response:
    """Compute: JSON, JSON with binary tensors, or the bare bytes of the only input."""
    received_s = time.perf_counter()
    header_length = request.headers.get(HEADER)
    tensors_at = 0 if header_length is None else json_length(header_length)
    body = await receive(request, box.settings.max_body_bytes, tensors_at)
    encoding = request.headers.get("content-encoding", "")
    received = _Received(model, version, body, encoding, header_length, received_s)
    async with cancelled_on_disconnect(request) as cancellation:
        return await run_in_threadpool(_answer, box, received, cancellation)


def _answer(box: Rooms, received: _Received, cancellation: Cancellation) -> Response:
    body = inflated(received.body, received.encoding, box.settings.max_body_bytes)
    asked = decode_request(
        body, received.header_length, model=received.model, version=received.version
    )
    answer = box.inference.infer(asked.request, cancellation)
    encoded = encode_answer(answer, asked.form)
    total_s = time.perf_counter() - received.received_s
    return TensorResponse(encoded, {"Server-Timing": _server_timing(answer.timing, total_s)})


def _server_timing(timing: InferTiming, total_s: float) -> str:
    """Say where the time went, in milliseconds, as browsers show it."""
    spent = {
        "queue": timing.queue_s,
        "input": timing.input_s,
        "compute": timing.compute_s,
        "guest": timing.guest_s,
        "total": total_s,
    }
    return ", ".join(f"{name};dur={seconds * 1000:.3f}" for name, seconds in spent.items())
