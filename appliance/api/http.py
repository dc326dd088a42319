"""The HTTP application: routes, and every failure in one JSON shape.

Rules:
1. A route decodes, calls a room, encodes. Nothing is decided here.
2. Whatever a client sends is answered with a 4xx; a 500 is our bug and is logged with its
   traceback, never sent.
"""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.routing import Match

from appliance.api import (
    apps,
    appstate,
    cameras,
    logs,
    metrics,
    models,
    predictions,
    pushing,
    samples,
    uploads,
    viewers,
)
from appliance.api.oip import routes as oip
from appliance.api.refusals import Refusal, retry_after
from appliance.api.resident import resident_bytes
from appliance.api.rooms import Rooms
from appliance.api.shapes import Error, Health
from appliance.api.shapes.health import Ready
from appliance.api.shell import Admission, Shell
from appliance.errors import ApplianceError, GuestFailed, Unavailable

TITLE = "Edge inference appliance"
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Error, "description": "refused; the sentence says why"},
    "5XX": {"model": Error, "description": "the guest failed, or the box cannot do it now"},
}


def create_api(box: Rooms, now: Callable[[], float], *, token: bytes | None = None) -> FastAPI:
    """Make the application that serves a box, from when it begins to start.

    now: Unix seconds.   token: what clients that come by TCP must show; None asks for none.
    """
    api = FastAPI(
        title=TITLE,
        version=version("edge-inference-appliance"),
        description="Drop a wasm image classifier, feed frames, query predictions.",
        responses=_ERRORS,
        # The pages load their scripts from the internet, which a box does not have.
        docs_url=None,
        redoc_url=None,
    )
    api.state.box = box
    # First, as it is asked for most.
    api.include_router(apps.hot)
    api.include_router(apps.router)
    api.include_router(appstate.router)
    api.include_router(models.router)
    api.include_router(samples.router)
    api.include_router(uploads.router)
    api.include_router(metrics.router)
    api.include_router(predictions.router)
    api.include_router(logs.router)
    api.include_router(cameras.router)
    api.include_router(pushing.router)
    api.include_router(viewers.router)
    api.include_router(oip.router)

    @api.get("/healthz", tags=["health"])
    async def health() -> Health:
        """Tell that the box answers."""
        return Health(
            version=api.version,
            uptime_s=round(now() - box.started_at, 3),
            apps=len(box.apps.names()),
            memory_bytes=resident_bytes(),
            problems=box.problems(),
        )

    @api.get("/readyz", tags=["health"])
    async def ready() -> Ready:
        """Tell that the box takes work: 503 while it starts or stops."""
        box.readiness.check()
        return Ready(ready=True)

    api.add_exception_handler(ApplianceError, _answer_appliance_error)
    api.add_exception_handler(RequestValidationError, _answer_bad_parameters)
    api.add_exception_handler(HTTPException, _answer_http_error)
    api.add_middleware(Shell, gate=box, admission=Admission(box.settings.http.max_requests, token))
    return api


async def _answer_appliance_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApplianceError), "registered for this class"
    return Refusal(
        error.status, error.code, str(error),
        reason=str(error.reason) if isinstance(error, GuestFailed) else None,
        headers=retry_after(error.retry_after_s) if isinstance(error, Unavailable) else (),
    ).response()  # fmt: skip


async def _answer_bad_parameters(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError), "registered for this class"
    found = error.errors()[0]
    where = ".".join(str(part) for part in found["loc"])
    return Refusal(400, "bad_request", f"{where}: {found['msg'].lower()}").response()


async def _answer_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for this class"
    if error.status_code == 404:
        return Refusal(404, "not_found", "no such path; /openapi.json lists all").response()
    if error.status_code == 405:
        return _answer_method(request)
    return Refusal(error.status_code, "bad_request", str(error.detail).lower()).response()


def _answer_method(request: Request) -> Response:
    """Say which methods a path has: to OPTIONS as an answer, to any other as a refusal."""
    allowed = [
        method for method in _METHODS
        if any(
            # HEAD is answered wherever GET is.
            route.matches({**request.scope, "method": "GET" if method == "HEAD" else method})[0]
            is Match.FULL
            for route in request.app.routes
        )
    ]  # fmt: skip
    allow = (("Allow", ", ".join([*allowed, "OPTIONS"])),)
    if request.method == "OPTIONS":
        return Response(status_code=204, headers=dict(allow))
    return Refusal(
        405, "bad_request",
        f"method not allowed: got {request.method}, wanted {', '.join(allowed)}", headers=allow,
    ).response()  # fmt: skip
