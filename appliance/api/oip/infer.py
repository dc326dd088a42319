"""Inference over HTTP.

This path is the box's busiest: nothing of it goes through pydantic, the body is received where it
is computed on, and decoding is done by the thread that computes.
"""

from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import Response

from appliance.api.body import TheBox, body_of, cancelled_on_disconnect, on_thread
from appliance.api.exchange import timing_of
from appliance.api.oip.bodies import TensorResponse, receive
from appliance.api.rooms import Rooms
from appliance.oip.inflate import inflated
from appliance.oip.restrequest import HEADER, decode_request, json_length
from appliance.oip.restresponse import encode_answer
from wasi_nn.executor import Cancellation

router = APIRouter(prefix="/v2/models", tags=["inference"])


@dataclass(frozen=True, slots=True)
class _Received:
    """A request as it came."""

    model: str
    version: str
    body: memoryview
    encoding: str
    header_length: str | None


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
    header_length = request.headers.get(HEADER)
    tensors_at = 0 if header_length is None else json_length(header_length)
    body = await receive(request, box.settings.max_body_bytes, tensors_at)
    encoding = request.headers.get("content-encoding", "")
    received = _Received(model, version, body, encoding, header_length)
    spent = timing_of(request)
    async with cancelled_on_disconnect(request) as cancellation:
        return await on_thread(lambda: _answer(box, received, cancellation, spent))


def _answer(
    box: Rooms, received: _Received, cancellation: Cancellation, spent: dict[str, float]
) -> Response:
    """spent: gets where the time went, ms by name, for the Server-Timing header."""
    body = inflated(received.body, received.encoding, box.settings.max_body_bytes)
    asked = decode_request(
        body, received.header_length, model=received.model, version=received.version
    )
    answer = box.inference.infer(asked.request, cancellation)
    timing = answer.timing
    spent |= {
        "queue": timing.queue_s * 1000,
        "input": timing.input_s * 1000,
        "compute": timing.compute_s * 1000,
        "guest": timing.guest_s * 1000,
    }
    return TensorResponse(encode_answer(answer, asked.form))
