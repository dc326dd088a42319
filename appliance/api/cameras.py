"""Cameras over the socket: list, add, change, remove, and one picture of what each sees."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from appliance.api import shapes
from appliance.api.body import TheBox, read_body
from appliance.api.rooms import Rooms
from appliance.api.shapes.shape import Shape
from appliance.cameras.config import CameraConfig
from appliance.cameras.discover import discover
from appliance.cameras.states import Camera, CameraStatus
from appliance.errors import BadRequest
from appliance.overlays import MAX_WIDTH, MIN_WIDTH
from appliance.routing.pairs import PairStatus
from appliance.tables import explain
from appliance.viewing import Look

router = APIRouter(prefix="/v1/cameras", tags=["cameras"])

# A path of its own below /v1/cameras, so no camera's name.
_RESERVED = "discover"
_MAX_BODY_BYTES = 64 * 1024
_SETTLE_S = 1.0

Name = Annotated[str, Path(description="lower-case letters, digits and dashes")]
Labels = Annotated[bool, Query(description="draw in what the apps said last")]
Width = Annotated[
    int | None, Query(ge=MIN_WIDTH, le=MAX_WIDTH, description="of the picture, pixels, at most")
]


def _json_of(shape: type[Shape]) -> dict[str, Any]:
    """Describe a JSON body for the OpenAPI page; it is read under a limit by ourselves."""
    schema = {"$ref": f"#/components/schemas/{shape.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def content_of(media_type: str) -> dict[int | str, dict[str, Any]]:
    """Describe an answer of bytes for the OpenAPI page."""
    return {200: {"content": {media_type: {"schema": {"type": "string", "format": "binary"}}}}}


@router.get("")
def list_cameras(box: TheBox) -> shapes.Cameras:
    """List the cameras and how each is."""
    return shapes.Cameras(
        cameras=tuple(_camera(box, box.cameras.get(name)) for name in box.cameras.names()),
        problems=box.cameras.problems(),
    )


@router.post("", status_code=201, openapi_extra=_json_of(shapes.NewCamera))
async def add_camera(request: Request, box: TheBox) -> shapes.CameraDetail:
    """Add a camera; it begins at once and after every start of the box."""
    config = _config(await _read_json(request))
    return await run_in_threadpool(lambda: _detail(box, box.cameras.add(config)))


@router.get("/discover")
def discover_cameras() -> shapes.Devices:
    """List the capture devices of this machine."""
    return shapes.Devices(
        devices=tuple(
            shapes.Device.model_validate(device, from_attributes=True) for device in discover()
        )
    )


@router.get("/{name}")
def show_camera(name: Name, box: TheBox) -> shapes.CameraDetail:
    """Say all about one camera: state, settings, and what became of its frames."""
    return _detail(box, box.cameras.get(name))


@router.put("/{name}", openapi_extra=_json_of(shapes.CameraSettings))
async def put_camera(name: Name, request: Request, box: TheBox) -> shapes.CameraDetail:
    """Make a camera what the body says: added if there is none of the name, else changed."""
    config = _config(await _read_json(request), name)
    return await run_in_threadpool(lambda: _detail(box, _put(box, config)))


@router.patch("/{name}", openapi_extra=_json_of(shapes.CameraSettings))
async def change_camera(name: Name, request: Request, box: TheBox) -> shapes.CameraDetail:
    """Change what the body names, and nothing else."""
    body = await _read_json(request)
    return await run_in_threadpool(lambda: _detail(box, _change(box, name, body)))


@router.post("/{name}/enable")
def enable_camera(name: Name, box: TheBox) -> shapes.CameraDetail:
    """Let a camera begin again."""
    return _detail(box, _change(box, name, {"is_enabled": True}))


@router.post("/{name}/disable")
def disable_camera(name: Name, box: TheBox) -> shapes.CameraDetail:
    """Stop a camera, restarts of the box included, until it is enabled."""
    return _detail(box, _change(box, name, {"is_enabled": False}))


@router.delete("/{name}", status_code=204)
def remove_camera(name: Name, box: TheBox) -> Response:
    """Forget a camera. Its predictions stay in the history."""
    box.cameras.remove(name)
    return Response(status_code=204)


@router.get("/{name}/snapshot.jpg", response_class=Response, responses=content_of("image/jpeg"))
def take_snapshot(
    name: Name, box: TheBox, labels: Labels = True, width: Width = None
) -> Response:  # fmt: skip
    """Show what a camera sees now, as JPEG."""
    view = box.viewing.snapshot(name, Look(width, labels))
    headers = {
        "Cache-Control": "no-store",
        "X-Frame-Sequence": str(view.sequence),
        "X-Frame-Captured-At": f"{view.captured_at:.3f}",
    }
    return Response(view.jpeg, media_type="image/jpeg", headers=headers)


async def _read_json(request: Request) -> dict[str, Any]:
    body = await read_body(request, _MAX_BODY_BYTES, "a JSON object")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise BadRequest('body: not JSON, wanted an object such as {"url": "test:"}') from exc
    if not isinstance(value, dict):
        raise BadRequest(f"body: got a JSON {type(value).__name__}, wanted an object")
    return value


def _config(body: dict[str, Any], name: str | None = None) -> CameraConfig:
    """Read a camera's settings. Raises: BadRequest naming the key, without secrets."""
    if name is not None and body.setdefault("name", name) != name:
        raise BadRequest("name: the body names another camera than the path; leave it out")
    try:
        config = CameraConfig.model_validate(body)
    except ValidationError as exc:
        raise BadRequest(f"camera: {explain(exc, CameraConfig)}") from exc
    if config.name == _RESERVED:
        raise BadRequest(f"name: {_RESERVED} is a path of its own; choose another")
    return config


def _put(box: Rooms, config: CameraConfig) -> Camera:
    if config.name in box.cameras.names():
        return box.cameras.change(config)
    return box.cameras.add(config)


def _change(box: Rooms, name: str, body: dict[str, Any]) -> Camera:
    old = box.cameras.get(name).config
    return box.cameras.change(_config({**old.model_dump(mode="json"), **body}, name))


def _camera(box: Rooms, camera: Camera) -> shapes.Camera:
    pairs = box.router.statuses(camera.config.name)
    return shapes.Camera(**_status(camera, camera.status(), pairs))


def _detail(box: Rooms, camera: Camera) -> shapes.CameraDetail:
    # Else the answer to a change would not know the apps that it feeds.
    box.router.settle(_SETTLE_S)
    pairs = box.router.statuses(camera.config.name)
    return shapes.CameraDetail(
        **_status(camera, camera.status(), pairs),
        settings=shapes.CameraSettings.model_validate(camera.config.shown()),
        routes=tuple(_route(pair) for pair in pairs),
        log=tuple(camera.log_lines()),
    )


def _status(camera: Camera, status: CameraStatus, pairs: tuple[PairStatus, ...]) -> dict[str, Any]:
    return {
        "name": status.name,
        "url": status.shown_url,
        "kind": status.kind,
        "state": status.state,
        "reason": status.reason,
        "since": status.since,
        "width": status.width,
        "height": status.height,
        "fps": round(status.fps, 2),
        "frames": status.frames,
        "dropped": {str(reason): count for reason, count in status.dropped.items()},
        "reconnects": status.reconnects,
        "restarts": status.restarts,
        "last_frame_at": status.last_frame_at,
        "age_s": status.last_frame_age_s,
        "decoder": status.decoder,
        "is_enabled": camera.config.is_enabled,
        "apps": tuple(pair.feed.app for pair in pairs),
    }


def _route(pair: PairStatus) -> shapes.Route:
    region = pair.feed.region_xywh
    return shapes.Route(
        app=pair.feed.app,
        fps=pair.feed.fps,
        region_xywh=None if region is None else shapes.Region(**region.model_dump()),
        inferred=pair.inferred,
        limited=pair.limited,
        skipped=pair.skipped,
        refused=pair.refused,
        failed=dict(pair.failed),
        last_error=pair.last_error,
        p50_ms=_ms(pair.latency.percentile_s(0.50)),
        p99_ms=_ms(pair.latency.percentile_s(0.99)),
    )


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1e3, 1)
