"""What a camera is to the rest of the box: its states, what it counts, and what can be asked of it.

connecting -> live -> stalled | frozen | failed -> live ...     tried again for ever
                   `-> ended                                    a file, played once
disabled                                                        by the operator, or not started
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from appliance.cameras.config import CameraConfig
from appliance.cameras.newest import Lease
from appliance.cameras.urls import Kind


class CameraState(StrEnum):
    """CONNECTING: no frame yet. LIVE: frames come. STALLED: connected, none came for stall_s.

    FROZEN: the same bytes again and again. FAILED: cannot be opened or breaks. ENDED: played.
    STALLED, FROZEN and FAILED last until the next frame, while connecting is tried again and again.
    """

    CONNECTING = "connecting"
    LIVE = "live"
    STALLED = "stalled"
    FROZEN = "frozen"
    FAILED = "failed"
    ENDED = "ended"
    DISABLED = "disabled"


class Drop(StrEnum):
    """Why a frame was not seen by anybody.

    OLDEST: a newer one came before somebody took it. BUSY: all slots were on loan. RATE: above
    the wanted rate. CORRUPT: damaged, or a packet that is no picture. MOTION: nothing moved.
    """

    OLDEST = "oldest"
    BUSY = "busy"
    RATE = "rate"
    CORRUPT = "corrupt"
    MOTION = "motion"


@dataclass(frozen=True, slots=True)
class CameraStatus:
    """One camera at one moment.

    reason: one sentence, "" if there is nothing to say.   since: of the state, Unix seconds.
    width, height: of the frames as they are given out, pixels; 0 before the first.
    fps: given out, measured over the last seconds.   frames: captured (given out or counted in
    `dropped`).   reconnects: times the source was opened again.   restarts: times the worker died
    by itself or had to be killed.   last_frame_at: Unix seconds.   decoder: "h264", ...
    """

    name: str
    shown_url: str
    kind: Kind
    state: CameraState
    reason: str
    since: float
    width: int
    height: int
    fps: float
    frames: int
    dropped: Mapping[Drop, int]
    reconnects: int
    restarts: int
    last_frame_at: float | None
    last_frame_age_s: float | None
    decoder: str | None


class Camera(Protocol):
    """A source of frames, between `start` and `stop`."""

    config: CameraConfig

    @property
    def next_sequence(self) -> int:
        """The number that its next frame will have at least."""

    def start(self) -> None:
        """Begin; returns at once. Does nothing if the camera is disabled or started."""

    def stop(self) -> None:
        """End in order; nothing of it runs when this returns."""

    def status(self) -> CameraStatus:
        """Tell how it is; never blocks on the source."""

    def wait_newer(self, sequence: int, timeout_s: float) -> Lease | None:
        """Borrow the newest frame as soon as its number is greater than `sequence` (-1: any).

        Returns: None if none came in time, or at once when the camera is stopped meanwhile. Any
        number of threads may wait; close the lease soon, since the slots are few.
        """

    def log_lines(self) -> list[str]:
        """Give the decoder's last lines, without secrets."""

    def push(self, picture: bytes | NDArray[np.uint8]) -> int:
        """Give a frame to a push camera: an encoded picture, or uint8 (H, W, 3), RGB.

        Returns: its sequence number; -1 if it came faster than the wanted rate and was dropped.
        Raises: BadRequest if the camera is of another kind; BadPicture; Conflict if disabled.
        """
