"""The HTTP application: routes, and every failure in one JSON shape.

Rules:
1. A route decodes, calls a room, encodes. Nothing is decided here.
2. Whatever a client sends is answered with a 4xx; a 500 is our bug and is logged with its
   traceback, never sent.
"""

import logging
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from appliance.api import apps, appstate, metrics, models, predictions, samples, uploads
from appliance.api.rooms import Rooms
from appliance.api.shapes import Error, Health
from appliance.errors import ApplianceError, GuestFailed, Unavailable

log = logging.getLogger(__name__)

TITLE = "Edge inference appliance"
_ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": Error, "description": "refused; the sentence says why"},
    "5XX": {"model": Error, "description": "the guest failed, or the box cannot do it now"},
}


def create_api(box: Rooms, now: Callable[[], float]) -> FastAPI:
    """Make the application that serves a started box.

    now: Unix seconds.
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
    api.include_router(apps.router)
    api.include_router(appstate.router)
    api.include_router(models.router)
    api.include_router(samples.router)
    api.include_router(uploads.router)
    api.include_router(metrics.router)
    api.include_router(predictions.router)

    @api.get("/healthz", tags=["health"])
    def health() -> Health:
        """Tell that the box answers."""
        return Health(
            version=api.version,
            uptime_s=round(now() - box.started_at, 3),
            apps=len(box.apps.names()),
        )

    api.add_exception_handler(ApplianceError, _answer_appliance_error)
    api.add_exception_handler(RequestValidationError, _answer_bad_parameters)
    api.add_exception_handler(HTTPException, _answer_http_error)
    api.middleware("http")(_answer_bugs)
    return api


async def _answer_bugs(
    request: Request, call_next: Callable[[Request], Awaitable[Response]]
) -> Response:
    try:
        return await call_next(request)
    except Exception:
        log.exception("request failed path=%s", request.url.path)
        return _error(500, "the box failed on this request; its log has the reason", "internal")


async def _answer_appliance_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApplianceError), "registered for this class"
    response = _error(
        error.status, str(error), error.code,
        reason=str(error.reason) if isinstance(error, GuestFailed) else None,
    )  # fmt: skip
    if isinstance(error, Unavailable):
        response.headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    return response


async def _answer_bad_parameters(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError), "registered for this class"
    found = error.errors()[0]
    where = ".".join(str(part) for part in found["loc"])
    return _error(400, f"{where}: {found['msg'].lower()}", "bad_request")


async def _answer_http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for this class"
    if error.status_code == 404:
        return _error(404, "no such path; /openapi.json lists all", "not_found")
    return _error(error.status_code, str(error.detail).lower(), "bad_request")


def _error(status: int, sentence: str, code: str, reason: str | None = None) -> Response:
    body = Error(error=sentence, code=code, reason=reason)
    return JSONResponse(body.model_dump(exclude_none=True), status)
