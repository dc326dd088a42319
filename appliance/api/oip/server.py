"""The server as the protocol sees it: health, metadata, and what is not offered."""

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from appliance.api.body import TheBox
from appliance.errors import Unavailable, Unsupported
from appliance.oip.restdocuments import server_document

router = APIRouter(prefix="/v2", tags=["inference"])


@router.get("")
def metadata(box: TheBox) -> dict[str, Any]:
    """Say what answers, and which extensions of the protocol it has."""
    return server_document(box.inference.server_metadata())


@router.get("/health/live")
def live() -> dict[str, bool]:
    """Tell that the box answers."""
    return {"live": True}


@router.get("/health/ready")
def ready(box: TheBox) -> dict[str, bool]:
    """Tell that the box takes requests; 503 if it does not."""
    box.readiness.check()
    if not box.inference.is_ready():
        raise Unavailable("Server exiting")
    return {"ready": True}


@router.api_route("/trace/setting", methods=["GET", "POST"], include_in_schema=False)
@router.api_route("/models/{_}/trace/setting", methods=["GET", "POST"], include_in_schema=False)
def trace() -> JSONResponse:
    """Refuse Triton's tracing."""
    raise Unsupported("trace: not offered by this box; responses carry Server-Timing")


@router.api_route("/logging", methods=["GET", "POST"], include_in_schema=False)
def logging() -> JSONResponse:
    """Refuse Triton's log settings."""
    raise Unsupported("logging: not offered by this box; the log level is the operator's")


@router.api_route("/cudasharedmemory/{_:path}", methods=["GET", "POST"], include_in_schema=False)
def cuda() -> JSONResponse:
    """Refuse shared memory of a GPU."""
    raise Unsupported("cuda shared memory: not offered by this box")
