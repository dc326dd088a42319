"""What people see of a camera: its newest frame with the labels that apps last gave it.

A picture is made once for all who look at the same frame in the same way.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from appliance.cameras.states import Camera, CameraState, CameraStatus
from appliance.errors import Unavailable
from appliance.overlays import Marked, Overlay, jpeg_of
from appliance.records import Frame, Prediction
from appliance.routing.pairs import Seen
from appliance.routing.router import Cameras, Router
from appliance.seats import Seats

log = logging.getLogger(__name__)

# Labels older than this, against the frame that is shown, are not about it any more.
STALE_S = 10.0
# A picture younger than this is not made anew for labels that came meanwhile.
_REUSE_S = 0.5
# A frame older than this is not passed off as what the camera sees now.
_OLD_S = 3.0
_KEPT_LOOKS = 32
# Each costs up to a picture's encoding, 5 to 10 ms at 1280x720, for each frame it sees.
MAX_VIEWERS = 16


@dataclass(frozen=True, slots=True)
class Look:
    """How a camera is looked at. width: pixels, None as the frame has them."""

    width: int | None = None
    has_labels: bool = True


@dataclass(frozen=True, slots=True)
class View:
    """A picture of a frame.   captured_s: monotonic."""

    jpeg: bytes
    sequence: int
    captured_at: float
    captured_s: float


@dataclass(slots=True)
class _Slot:
    """The last picture of a camera for one look; made_s: monotonic."""

    lock: threading.Lock
    camera: Camera
    overlay: Overlay | None = None
    view: View | None = None
    made_s: float = 0.0


class Viewing:
    """Makes pictures for all viewers; thread-safe. seats: those who look without end."""

    def __init__(
        self, cameras: Cameras, router: Router, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._cameras = cameras
        self._router = router
        self._clock = clock
        self.seats = Seats(MAX_VIEWERS, "viewers")
        self._lock = threading.Lock()
        self._slots: OrderedDict[tuple[str, Look], _Slot] = OrderedDict()

    def snapshot(self, name: str, look: Look) -> View:
        """Show the newest frame there is.

        Raises: NotFound for an unknown camera; Unavailable if it has given no frame.
        """
        camera = self._cameras.get(name)
        view = self.newer(camera, look, -1, 0.0)
        if view is None:
            status = camera.status()
            reason = f": {status.reason}" if status.reason else ""
            raise Unavailable(f"camera {name}: no frame yet, it is {status.state}{reason}")
        return view

    def newer(self, camera: Camera, look: Look, sequence: int, timeout_s: float) -> View | None:
        """Wait for a frame with a greater number and show it; None if none came in time."""
        lease = camera.wait_newer(sequence, timeout_s)
        if lease is None:
            return None
        with lease:
            slot = self._slot(camera, look)
            # Who comes second waits for the first one's picture.
            with slot.lock:
                return self._view(slot, look, lease.frame)

    def _slot(self, camera: Camera, look: Look) -> _Slot:
        key = (camera.config.name, look)
        with self._lock:
            slot = self._slots.pop(key, None)
            if slot is None or slot.camera is not camera:
                slot = _Slot(threading.Lock(), camera)
            self._slots[key] = slot
            if len(self._slots) > _KEPT_LOOKS:
                self._slots.popitem(last=False)
        return slot

    def _view(self, slot: _Slot, look: Look, frame: Frame) -> View:
        now = self._clock()
        overlay = self._overlay(slot.camera, frame, now) if look.has_labels else None
        old = slot.view
        if old is not None and old.sequence >= frame.sequence:
            is_young = now - slot.made_s < _REUSE_S
            if is_young or slot.overlay == overlay or old.sequence > frame.sequence:
                return old
        slot.view = View(
            jpeg_of(frame.pixels, overlay, width=look.width), frame.sequence, frame.captured_at,
            frame.captured_monotonic_s,
        )  # fmt: skip
        slot.overlay, slot.made_s = overlay, now
        return slot.view

    def _overlay(self, camera: Camera, frame: Frame, now: float) -> Overlay:
        name = camera.config.name
        said = [
            seen for seen in self._router.seen(name)
            if frame.captured_monotonic_s - seen.captured_s < STALE_S
        ]  # fmt: skip
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(frame.captured_at))
        return Overlay(
            title=f"{name}  {when}",
            lines=tuple(line_of(seen) for seen in said),
            marked=tuple(
                Marked(seen.app, seen.region.xyxy) for seen in said if seen.region is not None
            ),
            warning=_warning(camera.status(), now - frame.captured_monotonic_s),
        )


def line_of(seen: Seen) -> str:
    """Say in a line what an app saw."""
    labels = ", ".join(_words(prediction) for prediction in seen.predictions)
    return f"{seen.app}: {labels or 'nothing'}"


def _words(prediction: Prediction) -> str:
    if prediction.label is None:
        return str(prediction.data.get("text", "-"))[:80]
    if prediction.score is None:
        return prediction.label
    return f"{prediction.label} {prediction.score:.2f}"


def _warning(status: CameraStatus, age_s: float) -> str:
    if status.state is CameraState.LIVE and age_s < _OLD_S:
        return ""
    if status.state is CameraState.LIVE:
        return f"{age_s:.0f} s ago"
    return f"{status.state}, {age_s:.0f} s ago"
