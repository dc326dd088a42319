"""Which apps a camera feeds, and how much of it each gets; pure.

apps = ["classifier", {app = "doorman", fps = 2, region_xywh = [0.5, 0, 0.5, 1]}]
"""

from dataclasses import replace
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from appliance.fields import Name
from appliance.records import Frame
from appliance.settings import Table

MAX_FPS = 240.0

Share = Annotated[float, Field(ge=0, le=1)]


class Region(Table):
    """A part of the picture, in shares of its width and height: left, top, width, height."""

    x: Share
    y: Share
    width: Annotated[float, Field(gt=0, le=1)]
    height: Annotated[float, Field(gt=0, le=1)]

    @model_validator(mode="after")
    def _inside(self) -> Self:
        # Thirds do not add up exactly.
        if self.x + self.width > 1.0001 or self.y + self.height > 1.0001:
            raise ValueError("a region that ends inside the picture: x + width and y + height <= 1")
        return self

    @property
    def xyxy(self) -> tuple[float, float, float, float]:
        """Give the corners in shares."""
        return self.x, self.y, self.x + self.width, self.y + self.height

    def pixels_xyxy(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Give the corners in a picture of this size, at least one pixel apart."""
        left, top = min(round(self.x * width), width - 1), min(round(self.y * height), height - 1)
        right = min(max(round((self.x + self.width) * width), left + 1), width)
        bottom = min(max(round((self.y + self.height) * height), top + 1), height)
        return left, top, right, bottom


def _from_list(value: object) -> object:
    if isinstance(value, list | tuple) and len(value) == 4:
        return dict(zip(("x", "y", "width", "height"), value, strict=True))
    return value


class Feed(Table):
    """One app that a camera feeds.

    fps: frames a second at most, None as they come.   region_xywh: what of the picture, None all.
    """

    app: Name
    fps: float | None = Field(None, gt=0, le=MAX_FPS)
    region_xywh: Annotated[Region | None, BeforeValidator(_from_list)] = None


def feed_from(value: object) -> object:
    """Take a lone name for a feed without limits."""
    return {"app": value} if isinstance(value, str) else value


Feeds = Annotated[tuple[Annotated[Feed, BeforeValidator(feed_from)], ...], Field(max_length=32)]


def crop(frame: Frame, region: Region | None) -> Frame:
    """Cut a region out of a frame; the pixels are a view of the same memory."""
    if region is None:
        return frame
    left, top, right, bottom = region.pixels_xyxy(frame.width, frame.height)
    pixels = frame.pixels[top:bottom, left:right]
    return replace(frame, pixels=pixels, encoded=None, media_type=None)
