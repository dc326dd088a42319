"""A camera whose frames clients post: the same interface, in this process, latest wins."""

import threading
import time

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from appliance.cameras.config import CameraConfig
from appliance.cameras.newest import Lease, Newest
from appliance.cameras.pace import Gate, Meter
from appliance.cameras.states import CameraState, CameraStatus, Drop
from appliance.errors import BadPicture, Conflict
from appliance.pictures import decode
from appliance.records import Frame


class PushCamera:
    """A camera without a worker: `push` decodes on the caller's thread.

    max_pixels: largest picture taken, width * height.   first_sequence: of its first frame.
    """

    def __init__(self, config: CameraConfig, *, max_pixels: int, first_sequence: int = 0) -> None:
        self.config = config
        self._max_pixels = max_pixels
        self._newest = Newest()
        self._lock = threading.Lock()
        self._gate = Gate(config.fps)
        self._meter = Meter()
        self._sequence = first_sequence
        self._frames = 0
        self._corrupt = 0
        self._rate = 0
        self._size_wh = (0, 0)
        self._last: tuple[float, float] | None = None
        self._started: tuple[float, float] | None = None

    @property
    def next_sequence(self) -> int:
        """The number that its next frame will have."""
        return self._sequence

    def start(self) -> None:
        if self.config.is_enabled and self._started is None:
            self._started = (time.time(), time.monotonic())

    def stop(self) -> None:
        self._started = None
        self._newest.clear()

    def push(self, picture: bytes | NDArray[np.uint8]) -> int:
        """Take a frame; see `states.Camera`."""
        at, now = time.time(), time.monotonic()
        name = self.config.name
        if self._started is None:
            raise Conflict(f"camera {name}: disabled, takes no frames; enable it first")
        with self._lock:
            self._frames += 1
            if not self._gate.passes(now):
                self._rate += 1
                return -1
        try:
            pixels, encoded, media_type = self._pixels(picture)
        except BadPicture:
            with self._lock:
                self._corrupt += 1
            raise
        # Numbered and published under one lock, or two clients would publish in the wrong order.
        with self._lock:
            sequence, self._sequence = self._sequence, self._sequence + 1
            frame = Frame(name, sequence, at, now, pixels, encoded, media_type)
            self._meter.count(now)
            self._last = (at, now)
            self._size_wh = (frame.width, frame.height)
            self._newest.publish(frame, _nothing)
        return sequence

    def wait_newer(self, sequence: int, timeout_s: float) -> Lease | None:
        return self._newest.wait_newer(sequence, timeout_s)

    def log_lines(self) -> list[str]:
        return []

    def status(self) -> CameraStatus:
        with self._lock:
            now = time.monotonic()
            state, reason, since = self._state(now)
            return CameraStatus(
                name=self.config.name,
                shown_url=self.config.shown_url,
                kind=self.config.source.kind,
                state=state,
                reason=reason,
                since=since,
                width=self._size_wh[0],
                height=self._size_wh[1],
                fps=self._meter.fps(now),
                frames=self._frames,
                dropped={
                    Drop.OLDEST: self._newest.unread, Drop.RATE: self._rate,
                    Drop.CORRUPT: self._corrupt,
                },
                reconnects=0,
                restarts=0,
                last_frame_at=self._last[0] if self._last else None,
                last_frame_age_s=now - self._last[1] if self._last else None,
                decoder=None,
            )  # fmt: skip

    def _state(self, now: float) -> tuple[CameraState, str, float]:
        if self._started is None:
            return CameraState.DISABLED, "", self._last[0] if self._last else time.time()
        if self._last is None:
            return CameraState.CONNECTING, "no client has posted a frame yet", self._started[0]
        if now - self._last[1] > self.config.stall_s:
            reason = f"no client posted a frame for {self.config.stall_s:g} s"
            return CameraState.STALLED, reason, self._last[0] + self.config.stall_s
        return CameraState.LIVE, "", self._started[0]

    def _pixels(
        self, picture: bytes | NDArray[np.uint8]
    ) -> tuple[NDArray[np.uint8], bytes | None, str | None]:
        if isinstance(picture, bytes):
            pixels, media_type = decode(picture, max_pixels=self._max_pixels)
            encoded: bytes | None = picture
        else:
            _check(picture, self._max_pixels)
            pixels, encoded, media_type = picture, None, ""
        limit = self.config.size_wh
        if limit is None or (pixels.shape[1] <= limit[0] and pixels.shape[0] <= limit[1]):
            return pixels, encoded, media_type or None
        image = Image.fromarray(pixels)
        image.thumbnail((limit[0], limit[1]), Image.Resampling.BILINEAR)
        # The picture as it came is no longer the one shown.
        return np.asarray(image), None, None


def _check(pixels: NDArray[np.uint8], max_pixels: int) -> None:
    shape = pixels.shape
    if pixels.dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or 0 in shape:
        raise BadPicture(f"frame: got {pixels.dtype} {shape}, wanted uint8 (height, width, 3)")
    if shape[0] * shape[1] > max_pixels:
        raise BadPicture(
            f"frame: got {shape[1]}x{shape[0]}, wanted at most {max_pixels} pixels; send it smaller"
        )


def _nothing() -> None:
    """Memory of this process goes with its last reference."""
