"""What the operator wants of one camera."""

from typing import Annotated, Any

from pydantic import Field, field_validator

from appliance.cameras.urls import LIVE, Source, parse
from appliance.fields import Name
from appliance.settings import Table

# Of one frame as it is kept, width * height; larger ones are scaled down. 4K: 25 MB a slot.
MAX_FRAME_PIXELS = 3840 * 2160


class MotionGate(Table):
    """Frames in which nothing moved are dropped before anything is spent on them.

    threshold: of 255, by how much a spot's brightness changes when it moved; above a sensor's
    noise.   min_area: share of the picture, 0..1, that must move.   keep_every_s: one frame passes
    at least this often, so that history shows that the camera lives.
    """

    threshold: int = Field(12, gt=0, le=255)
    min_area: float = Field(0.005, ge=0, le=1)
    keep_every_s: float = Field(10.0, gt=0, le=3600)


class CameraConfig(Table):
    """One camera; frozen, and valid if it exists.

    url: see `urls`; may hold secrets.   fps: wanted at most, frames a second; None = as they come.
    size_wh: largest width and height, pixels; larger frames are scaled down, keeping their shape.
    loop, realtime: of files and pictures; the URL's ?loop= and ?realtime= beat them.
    stall_s: without a frame for so long the camera is stalled.
    frozen_s: a live camera whose bytes have not changed for so long is frozen; None = never.
    motion: None = no gate.
    Raises: BadRequest if the URL is none (not ValidationError, which would quote it, secrets too).
    """

    name: Name
    url: str = Field(repr=False)
    fps: float | None = Field(None, gt=0, le=240)
    size_wh: tuple[Annotated[int, Field(ge=16, le=16384)], ...] | None = Field(
        None, min_length=2, max_length=2
    )
    loop: bool = False
    realtime: bool = True
    stall_s: float = Field(20.0, ge=0.5, le=3600)
    frozen_s: float | None = Field(60.0, gt=0, le=86400)
    motion: MotionGate | None = None
    is_enabled: bool = True

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        parse(url)
        return url

    @property
    def source(self) -> Source:
        return parse(self.url)

    @property
    def shown_url(self) -> str:
        """The URL without user, password and tokens: for logs, metrics, the API."""
        return self.source.shown

    @property
    def can_freeze(self) -> bool:
        """Whether identical frames mean a fault; a picture shown for an hour is none."""
        return self.frozen_s is not None and self.source.kind in LIVE

    def shown(self) -> dict[str, Any]:
        """Give all of it as JSON, the URL without secrets."""
        return {**self.model_dump(mode="json"), "url": self.shown_url}
