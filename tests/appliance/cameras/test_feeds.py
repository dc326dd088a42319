"""Which apps a camera feeds, and with what of its picture."""

from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from appliance.cameras.feeds import Feed, Feeds, Region, crop
from appliance.records import Frame

FEEDS = TypeAdapter(Feeds)
PIXELS = np.arange(8 * 10 * 3, dtype=np.uint8).reshape(8, 10, 3)
FRAME = Frame("door", 3, 1.0, 2.0, PIXELS, b"...", "image/jpeg")


def test_a_lone_name_is_a_feed_without_limits() -> None:
    """Most need no more."""
    read = FEEDS.validate_python(["a", {"app": "b", "fps": 2, "region_xywh": [0, 0.5, 1, 0.5]}])

    half = Region(x=0, y=0.5, width=1, height=0.5)
    assert (Feed(app="a"), Feed(app="b", fps=2, region_xywh=half)) == read


@pytest.mark.parametrize(
    ("feed", "words"),
    [
        pytest.param("No Name", "a name of", id="name"),
        pytest.param({"app": "a", "fps": 0}, "greater than 0", id="no rate"),
        pytest.param({"app": "a", "fps": float("inf")}, "finite", id="any rate"),
        pytest.param({"app": "a", "region_xywh": [0, 0, 0, 1]}, "greater than 0", id="flat"),
        pytest.param({"app": "a", "region_xywh": [0.5, 0, 0.6, 1]}, "ends inside", id="outside"),
        pytest.param({"app": "a", "region_xywh": [0, 0, 1]}, "valid dict", id="three numbers"),
        pytest.param({"app": "a", "fsp": 1}, "Extra", id="unknown key"),
        pytest.param(7, "valid dict", id="a number"),
    ],
)
def test_what_is_no_feed_is_refused(feed: Any, words: str) -> None:
    """Saying what is wanted."""
    with pytest.raises(ValidationError, match=words):
        FEEDS.validate_python([feed])


def test_a_region_is_a_view_of_the_frame() -> None:
    """Nothing is copied; number and times stay, the file as it came is no longer what is shown."""
    shown = crop(FRAME, Region(x=0.2, y=0.25, width=0.5, height=0.5))

    assert np.shares_memory(shown.pixels, PIXELS)
    assert PIXELS[2:6, 2:7].tolist() == shown.pixels.tolist()
    assert (3, 1.0, 2.0, None) == (
        shown.sequence, shown.captured_at, shown.captured_monotonic_s, shown.encoded
    )  # fmt: skip


def test_no_region_is_the_frame_itself() -> None:
    """With the file as it came."""
    assert crop(FRAME, None) is FRAME


@pytest.mark.parametrize(
    ("region", "corners"),
    [
        pytest.param((0, 0, 1, 1), (0, 0, 10, 8), id="all"),
        pytest.param((1, 1, 0.0001, 0.0001), (9, 7, 10, 8), id="the last pixel"),
        pytest.param((0.5, 0.5, 0.0001, 0.0001), (5, 4, 6, 5), id="less than a pixel"),
        pytest.param((2 / 3, 0, 1 / 3, 1), (7, 0, 10, 8), id="a third"),
    ],
)
def test_a_region_has_at_least_a_pixel(
    region: tuple[float, float, float, float], corners: tuple[int, int, int, int]
) -> None:
    """And never one outside of the picture."""
    x, y, width, height = region

    assert corners == Region(x=x, y=y, width=width, height=height).pixels_xyxy(10, 8)
