"""Bodies of the protocol: tensors received where they can be computed on, and sent unjoined."""

from typing import Any

import numpy as np
from fastapi import Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from appliance.api.body import read_body
from appliance.errors import BadRequest, TooBig
from appliance.oip.jsontext import parse_object
from appliance.oip.restrequest import HEADER
from appliance.oip.restresponse import RestResponse

# What vector instructions like best; runtimes' own buffers are aligned so.
_ALIGNMENT = 64
# Of bodies that are a few words of JSON.
_MAX_CONTROL_BYTES = 64 * 1024
# Below it joining costs less than a second message down to the socket.
_JOINED_BYTES = 64 * 1024


async def receive(request: Request, max_bytes: int, tensors_at: int) -> memoryview:
    """Receive a body into one buffer, its first tensor aligned; read-only.

    tensors_at: where in the body the tensors begin.
    Raises: TooBig; BadRequest if it is empty or the client left before its end.
    """
    announced = request.headers.get("content-length", "")
    if not announced.isdecimal() or not 0 < int(announced) <= max_bytes:
        # Chunks of unknown number, or a refusal.
        return memoryview(await read_body(request, max_bytes, "an inference request"))
    size = int(announced)
    buffer = np.empty(size + _ALIGNMENT, np.uint8)
    start = -(buffer.ctypes.data + tensors_at) % _ALIGNMENT
    view = memoryview(buffer.data)[start : start + size]
    at = 0
    try:
        async for chunk in request.stream():
            if at + len(chunk) > size:
                raise TooBig(f"body: got over the {size} bytes that Content-Length says")
            view[at : at + len(chunk)] = chunk
            at += len(chunk)
    except ClientDisconnect as exc:
        raise BadRequest(f"body: the client left after {at} bytes") from exc
    if at < size:
        raise BadRequest(f"body: got {at} bytes, Content-Length says {size}")
    return view.toreadonly()


async def read_control(request: Request, what: str) -> dict[str, Any]:
    """Read a small JSON object; an empty body is an empty object. Raises: BadRequest, TooBig."""
    if request.headers.get("content-length", "0") == "0" and (
        "transfer-encoding" not in request.headers
    ):
        return {}
    return parse_object(await read_body(request, _MAX_CONTROL_BYTES, "a JSON object"), what)


class TensorResponse(Response):
    """Sends the parts of an answer one after the other, as they are."""

    def __init__(self, encoded: RestResponse) -> None:
        # Not Starlette's own constructor: it wants the body in one piece.
        self.status_code = 200
        self.background = None
        self.body = b""
        self._parts = encoded.parts
        if encoded.size_bytes <= _JOINED_BYTES:
            self._parts = (b"".join(encoded.parts),)
        media_type = "application/json"
        said: dict[str, str] = {}
        if encoded.json_length is not None:
            media_type = "application/octet-stream"
            said[HEADER] = str(encoded.json_length)
        said |= {"content-length": str(encoded.size_bytes), "content-type": media_type}
        self.raw_headers = [(k.lower().encode(), v.encode("latin-1")) for k, v in said.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; see ASGI."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        last = len(self._parts) - 1
        for index, part in enumerate(self._parts):
            await send({"type": "http.response.body", "body": part, "more_body": index < last})
