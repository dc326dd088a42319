"""The model repository as the protocol sees it: list, load, unload."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from appliance.api.body import TheBox
from appliance.api.oip.bodies import read_control
from appliance.errors import Unsupported
from appliance.oip.jsontext import bool_of, parameters_of
from appliance.oip.restdocuments import index_document

router = APIRouter(prefix="/v2/repository", tags=["inference"])


@router.post("/index")
async def index(request: Request, box: TheBox) -> list[dict[str, Any]]:
    """List every version of every model, and the apps; {"ready": true} only those that are."""
    said = await read_control(request, "repository index")
    only_ready = bool_of(said.get("ready", False), "ready")
    entries = await run_in_threadpool(box.inference.index, only_ready=only_ready)
    return index_document(entries)


@router.post("/models/{model}/load", response_class=Response)
async def load(model: str, request: Request, box: TheBox) -> Response:
    """Load the newest version of a model and keep it loaded."""
    said = await read_control(request, "load")
    if parameters_of(said, "load"):
        raise Unsupported(
            f"load {model}: a model is not configured or sent this way; put it into the box's "
            "model folder, or PUT /v1/models"
        )
    await run_in_threadpool(box.inference.load, model)
    return Response()


@router.post("/models/{model}/unload", response_class=Response)
async def unload(model: str, request: Request, box: TheBox) -> Response:
    """Let a model go and refuse it until it is loaded again; guests are unaffected."""
    await read_control(request, "unload")
    await run_in_threadpool(box.inference.unload, model)
    return Response()
