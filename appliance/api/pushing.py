"""Frames that clients post to a push camera: one picture, or many in one request."""

from functools import partial

from fastapi import APIRouter, Request
from starlette.requests import ClientDisconnect

from appliance.api import shapes
from appliance.api.body import TheBox, body_of, on_thread
from appliance.api.cameras import Name
from appliance.cameras.states import Camera, Drop
from appliance.cameras.urls import Kind
from appliance.errors import ApplianceError, BadPicture, BadRequest, TooBig
from appliance.readiness import Phase
from appliance.splitting import Picture, splitter_for

router = APIRouter(prefix="/v1/cameras", tags=["cameras"])

_TOO_BIG = "too_big"


class _Intake:
    """Counts what becomes of an upload's pictures. max_bytes: of one."""

    def __init__(self, camera: Camera, max_bytes: int) -> None:
        self._camera = camera
        self._max_bytes = max_bytes
        self._taken = 0
        self._dropped: dict[str, int] = {}
        self._error: ApplianceError | None = None
        self._sequence: int | None = None

    def take(self, picture: Picture) -> None:
        """Give a picture to the camera. Raises: Conflict if it takes none any more."""
        if picture is None:
            self._drop(_TOO_BIG, TooBig(f"picture: got over {self._max_bytes} bytes, wanted less"))
            return
        try:
            sequence = self._camera.push(picture)
        except BadPicture as exc:
            self._drop(Drop.CORRUPT, exc)
            return
        if sequence < 0:
            self._drop(Drop.RATE, None)
            return
        self._taken += 1
        self._sequence = sequence

    def _drop(self, reason: str, error: ApplianceError | None) -> None:
        self._dropped[str(reason)] = self._dropped.get(str(reason), 0) + 1
        self._error = error or self._error

    def summary(self) -> shapes.Pushed:
        """Sum up. Raises: why, if pictures came and none was any good."""
        if not self._taken and self._error is not None:
            raise self._error
        if not self._taken and not self._dropped:
            raise BadRequest(
                "body: no picture in it, wanted one or more (with curl: --data-binary @FILE)"
            )
        return shapes.Pushed(
            taken=self._taken, dropped=self._dropped, last_sequence=self._sequence,
            last_error="" if self._error is None else str(self._error),
        )  # fmt: skip


@router.post(
    "/{name}/frames",
    openapi_extra=body_of(
        "image/jpeg", "image/png", "image/webp", "video/x-motion-jpeg",
        "multipart/x-mixed-replace", "multipart/form-data", "application/octet-stream",
    ),
)  # fmt: skip
async def push_frames(name: Name, request: Request, box: TheBox) -> shapes.Pushed:
    """Give frames to a push camera, as they come: JPEG, PNG or WebP, or JPEGs in a row."""
    camera = box.cameras.get(name)
    if camera.config.source.kind is not Kind.PUSH:
        raise BadRequest(
            f"camera {name}: takes its frames from {camera.config.shown_url}; wanted a camera "
            "whose url is push:"
        )
    max_bytes = box.settings.max_body_bytes
    splitter = splitter_for(request.headers.get("content-type", ""), max_bytes)
    intake = _Intake(camera, max_bytes)
    try:
        async for chunk in request.stream():
            for picture in splitter.feed(chunk):
                await on_thread(partial(intake.take, picture))
            # An upload may last for ever; the box may not.
            if box.readiness.phase is Phase.STOPPING:
                return intake.summary()
    except ClientDisconnect as exc:
        raise BadRequest("body: the client left before its end") from exc
    for picture in splitter.finish():
        await on_thread(partial(intake.take, picture))
    return intake.summary()
