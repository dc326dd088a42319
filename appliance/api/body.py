"""What routes need of a request: the box, the body under a limit, and news of its end."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypeVar, cast

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect

from appliance.api.rooms import Rooms
from appliance.errors import BadRequest, TooBig
from appliance.nesting import check_nesting
from wasi_nn.executor import Cancellation

# Of what is said in JSON: names and numbers, no pictures.
MAX_JSON_BYTES = 64 * 1024
Shape = TypeVar("Shape", bound=BaseModel)
Done = TypeVar("Done")


async def box_of(request: Request) -> Rooms:
    """Find the box that this application serves."""
    # Not a plain function: the framework would call it in a thread, at 0.1 ms a request.
    # create_api puts it there; the framework keeps it as Any.
    return cast(Rooms, request.app.state.box)


TheBox = Annotated[Rooms, Depends(box_of)]


class DirectRoute(APIRoute):
    """A hot route: its function gets path parameters, `request` and `box`, and nothing is solved.

    On the page it is like any other. The framework's way to the function costs 0.1 ms, and twice
    that where a model has just used the processor's caches. The function checks its parameters
    itself and returns a `Response`.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        endpoint = self.endpoint

        async def handle(request: Request) -> Response:
            answer = await endpoint(
                request=request, box=await box_of(request), **request.path_params
            )
            return cast(Response, answer)

        return handle


def rendered(shape: BaseModel) -> Response:
    """Make the answer of a hot route, in the thread that has what it says.

    Left to the framework, the same is checked a second time and encoded on the event loop, which
    every other request waits for. The route names its shape by `response_model`.
    """
    return Response(shape.model_dump_json(), media_type="application/json")


def body_of(*media_types: str) -> dict[str, Any]:
    """Describe a body of bytes for the OpenAPI page, which cannot see what `read_body` reads."""
    content = {name: {"schema": {"type": "string", "format": "binary"}} for name in media_types}
    return {"requestBody": {"required": True, "content": content}}


async def read_body(request: Request, max_bytes: int, wanted: str) -> bytes:
    """Read a body of at most max_bytes, refusing as soon as it is over.

    wanted: what the body should be, for the message.
    Raises: TooBig; BadRequest if it is empty, or the client left before its end.
    """
    body = await read_optional_body(request, max_bytes)
    if not body:
        raise BadRequest(f"body: empty, wanted {wanted} (with curl: --data-binary @FILE)")
    return body


async def read_optional_body(request: Request, max_bytes: int) -> bytes:
    """Read a body that may be empty; else as `read_body`."""
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > max_bytes:
        raise TooBig(f"body: got {announced} bytes, wanted at most {max_bytes}")
    collected = bytearray()
    try:
        async for chunk in request.stream():
            collected += chunk
            if len(collected) > max_bytes:
                raise TooBig(f"body: got over {max_bytes} bytes, wanted at most {max_bytes}")
    except ClientDisconnect as exc:
        raise BadRequest(f"body: the client left after {len(collected)} bytes") from exc
    return bytes(collected)


async def read_json(request: Request, shape: type[Shape], max_bytes: int = MAX_JSON_BYTES) -> Shape:
    """Read a body of JSON, refusing one that is too long or nests too deep before it is parsed.

    Raises: BadRequest, TooBig.
    """
    body = await read_body(request, max_bytes, "a JSON object")
    check_nesting(body)
    try:
        return shape.model_validate_json(body)
    except ValidationError as exc:
        found = exc.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(["body", *map(str, found["loc"])])
        raise BadRequest(f"{where}: {found['msg'].lower()}") from exc


async def on_thread(work: Callable[[], Done]) -> Done:
    """Do what computes on a thread of the server's own.

    The framework's way to a thread costs 0.05 ms more a request, which hot routes save.
    """
    return await asyncio.get_running_loop().run_in_executor(None, work)


@asynccontextmanager
async def cancelled_on_disconnect(request: Request) -> AsyncIterator[Cancellation]:
    """Tell whoever works inside the block that the client has gone; the body is read before."""
    cancellation = Cancellation()

    async def watch() -> None:
        # After the body the only message left is the client's leaving.
        while (await request.receive())["type"] != "http.disconnect":
            pass
        cancellation.cancel()

    watcher = asyncio.create_task(watch(), name="disconnect-watch")
    try:
        yield cancellation
    finally:
        watcher.cancel()
