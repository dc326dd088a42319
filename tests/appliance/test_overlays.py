"""Pictures for people."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from appliance.overlays import Marked, Overlay, jpeg_of

GREY = np.full((120, 160, 3), 128, np.uint8)


def read(jpeg: bytes) -> NDArray[np.uint8]:
    image = Image.open(io.BytesIO(jpeg))
    assert image.format == "JPEG"
    return np.asarray(image)


def changed_rows(overlay: Overlay) -> tuple[int, int]:
    """Give the first and the last row that an overlay changes."""
    rows = np.flatnonzero(np.abs(read(jpeg_of(GREY, overlay)).astype(int) - 128).max((1, 2)) > 40)
    return int(rows[0]), int(rows[-1])


def test_a_frame_is_left_as_it_is_without_an_overlay() -> None:
    """Encoded, nothing else."""
    assert np.abs(read(jpeg_of(GREY)).astype(int) - 128).max() <= 2


@pytest.mark.parametrize(("width", "size"), [(80, (60, 80)), (160, (120, 160)), (999, (120, 160))])
def test_a_picture_is_made_smaller_never_larger(width: int, size: tuple[int, int]) -> None:
    """Keeping its shape."""
    assert size == read(jpeg_of(GREY, width=width)).shape[:2]


def test_text_stands_on_a_dark_banner_at_the_bottom() -> None:
    """Bright on dark, so that it is read on any picture; more lines make it higher."""
    pixels = read(jpeg_of(np.full((240, 640, 3), 255, np.uint8), Overlay("front", ("cat 0.98",))))
    one, three = changed_rows(Overlay("front")), changed_rows(Overlay("front", ("a", "b")))

    banner = pixels[200:]
    assert 255 > 2 * np.median(banner)
    assert banner.max() > 230
    assert pixels[:150].min() > 250
    assert (119, 119) == (one[1], three[1])
    assert three[0] < one[0]


def test_a_region_is_marked() -> None:
    """By a frame in the picture, at its place."""
    marked = Marked("door", (0.25, 0.0, 0.75, 0.5))
    pixels = read(jpeg_of(GREY, Overlay("front", marked=(marked,)))).astype(int)

    assert np.abs(pixels[30, 40] - 128).max() > 60
    assert np.abs(pixels[45, 80] - 128).max() < 20


@pytest.mark.parametrize(
    "text", ["", "x" * 5000, "Katze ü 猫 \U0001f408", "a\tb", "%s {0}"], ids=range(5)
)
@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 200, 3), (200, 64, 3)], ids=str)
def test_any_text_fits_any_picture(text: str, shape: tuple[int, int, int]) -> None:
    """What does not fit is cut; nothing fails."""
    overlay = Overlay(text, (text,) * 50, (Marked(text, (0, 0, 1, 1)),), text)

    assert shape == read(jpeg_of(np.zeros(shape, np.uint8), overlay)).shape


def test_the_frame_itself_is_not_drawn_on() -> None:
    """Its memory is shared with the apps."""
    pixels = GREY.copy()
    jpeg_of(pixels, Overlay("front", ("cat",)))

    assert (pixels == 128).all()
