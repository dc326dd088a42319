"""A camera to look at: MJPEG, which every browser shows in an <img>.

Rules:
1. Viewers are bounded, and so is the rate of each; nobody's slowness makes another's picture late:
   who is slow gets the newest frame when it comes back.
2. Viewers of one rate look at the same moments, so that one picture does for all.
3. A camera that is silent is shown as it is: its last frame, with its state in it.
"""

import asyncio
import math
import time
from functools import partial
from typing import Annotated

import anyio
import anyio.to_thread
from fastapi import APIRouter, Query
from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from appliance.api.body import TheBox
from appliance.api.cameras import Labels, Name, Width, content_of
from appliance.api.rooms import Rooms
from appliance.cameras.states import Camera
from appliance.errors import ApplianceError
from appliance.readiness import Phase
from appliance.viewing import Look, View

router = APIRouter(prefix="/v1/cameras", tags=["cameras"])

MAX_FPS = 15.0
_BOUNDARY = b"frame"
# Between two looks at whether the camera is still there and the box goes on.
_LOOK_S = 0.5
# A silent camera's last frame is shown again so often.
_AGAIN_S = 2.0
# For a viewer who does not read, when the box stops.
_LEAVE_S = 1.0


@router.get(
    "/{name}/stream.mjpg", response_class=Response,
    responses=content_of("multipart/x-mixed-replace"),
)  # fmt: skip
async def watch_camera(
    name: Name, box: TheBox, labels: Labels = True, width: Width = None,
    fps: Annotated[float, Query(gt=0, le=MAX_FPS, description="pictures a second at most")] = 10.0,
) -> Response:  # fmt: skip
    """Show what a camera sees, picture after picture, until the viewer leaves."""
    return MjpegStream(box, box.cameras.get(name), Look(width, labels), fps)


class MjpegStream(Response):
    """Pictures of one camera for one viewer."""

    media_type = "multipart/x-mixed-replace; boundary=frame"

    def __init__(self, box: Rooms, camera: Camera, look: Look, fps: float) -> None:
        super().__init__(headers={"Cache-Control": "no-store"})
        del self.headers["content-length"]
        self._box = box
        self._camera = camera
        self._look = look
        self._period_s = 1.0 / fps
        self._has_left = False
        # A thread of its own to wait in: the others are for requests.
        self._thread = anyio.CapacityLimiter(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._box.viewing.seats.one():
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async with anyio.create_task_group() as group:
                group.start_soon(self._until_gone, receive, group.cancel_scope)
                group.start_soon(self._until_stopped, group.cancel_scope)
                await self._show(send)
                group.cancel_scope.cancel()
            # To who does not read it would wait for room, to who has gone it must not be said.
            if not self._has_left:
                await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _until_gone(self, receive: Receive, scope: anyio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._has_left = True
        scope.cancel()

    async def _until_stopped(self, scope: anyio.CancelScope) -> None:
        """Cut off who does not read; the others have been told by then."""
        loop, stopping = asyncio.get_running_loop(), asyncio.Event()
        forget = self._box.readiness.on_stopping(lambda: _tell(loop, stopping))
        try:
            await stopping.wait()
            await anyio.sleep(_LEAVE_S)
            self._has_left = True
            scope.cancel()
        finally:
            forget()

    async def _show(self, send: Send) -> None:
        sequence, shown_s = -1, time.monotonic()
        await self._send(send, b"--" + _BOUNDARY + b"\r\n")
        while not self._is_over():
            view = await self._newer(sequence)
            if view is None and time.monotonic() - shown_s > _AGAIN_S:
                # -1: whatever there is, with the state as it is by now.
                view = await self._newer(-1) if self._look.has_labels else None
            if view is None:
                continue
            await self._send(send, part_of(view))
            sequence, shown_s = view.sequence, time.monotonic()
            await anyio.sleep(self._until_next(shown_s))

    async def _newer(self, sequence: int) -> View | None:
        wait = partial(self._box.viewing.newer, self._camera, self._look, sequence, _LOOK_S)
        return await anyio.to_thread.run_sync(wait, abandon_on_cancel=True, limiter=self._thread)

    def _is_over(self) -> bool:
        """Tell whether the box or the camera goes; a changed camera is looked at on."""
        if self._box.readiness.phase is Phase.STOPPING:
            return True
        try:
            self._camera = self._box.cameras.get(self._camera.config.name)
        except ApplianceError:
            return True
        return False

    def _until_next(self, now: float) -> float:
        """Wait for the next moment at which all viewers of this rate look."""
        return (math.floor(now / self._period_s) + 1) * self._period_s - now

    async def _send(self, send: Send, body: bytes) -> None:
        # Returns when the viewer has room for it; frames go by meanwhile.
        await send({"type": "http.response.body", "body": body, "more_body": True})


def _tell(loop: asyncio.AbstractEventLoop, stopping: asyncio.Event) -> None:
    loop.call_soon_threadsafe(stopping.set)


def part_of(view: View) -> bytes:
    """Wrap a picture; the boundary after it at once, or browsers would show it one late."""
    head = (
        f"Content-Type: image/jpeg\r\nContent-Length: {len(view.jpeg)}\r\n"
        f"X-Frame-Sequence: {view.sequence}\r\n"
        f"X-Frame-Captured-At: {view.captured_at:.3f}\r\n\r\n"
    )
    return head.encode() + view.jpeg + b"\r\n--" + _BOUNDARY + b"\r\n"
