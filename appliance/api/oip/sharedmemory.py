"""System shared memory over HTTP: register, unregister, status."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from appliance.api.body import TheBox
from appliance.api.oip.bodies import read_control
from appliance.oip.jsontext import integer_of, text_of
from appliance.sharedmemory import Region

router = APIRouter(prefix="/v2/systemsharedmemory", tags=["inference"])

_MOST = 2**63 - 1


@router.get("/status")
@router.get("/region/{region}/status")
def status(box: TheBox, region: str = "") -> list[dict[str, Any]]:
    """List the regions that are registered."""
    return [
        {"name": r.name, "key": r.key, "offset": r.offset, "byte_size": r.byte_size}
        for r in box.inference.regions.status(region)
    ]


@router.post("/region/{region}/register", response_class=Response)
async def register(region: str, request: Request, box: TheBox) -> Response:
    """Register a part of a POSIX shared memory object: {"key", "offset", "byte_size"}."""
    said = await read_control(request, "register")
    wanted = Region(
        name=region,
        key=text_of(said.get("key"), "key"),
        offset=integer_of(said.get("offset", 0), "offset", 0, _MOST),
        byte_size=integer_of(said.get("byte_size"), "byte_size", 1, _MOST),
    )
    await run_in_threadpool(box.inference.regions.register, wanted)
    return Response()


@router.post("/unregister", response_class=Response)
@router.post("/region/{region}/unregister", response_class=Response)
def unregister(box: TheBox, region: str = "") -> Response:
    """Forget a region, or all; what is not registered is no error."""
    box.inference.regions.unregister(region)
    return Response()
