"""Pictures for people: a frame as JPEG, with a banner that says what was seen in it.

Scaled first and drawn on afterwards, so that the text is legible at any size.
"""

import functools
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

# Of the picture that is sent; below it no text is legible.
MIN_WIDTH = 64
MAX_WIDTH = 3840
QUALITY = 80
_MAX_LINES = 6
# How much of the picture shines through the banner.
_SHINE = 0.35
_WHITE, _GREY, _AMBER = (255, 255, 255), (190, 190, 190), (255, 190, 60)


@dataclass(frozen=True, slots=True)
class Marked:
    """A part of the picture that an app looks at. xyxy: shares of width and height."""

    name: str
    xyxy: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Overlay:
    """What is drawn over a frame.

    title: first line.   lines: below it, one each.   warning: last line; "" for none.
    """

    title: str
    lines: tuple[str, ...] = ()
    marked: tuple[Marked, ...] = ()
    warning: str = ""


def jpeg_of(
    pixels: NDArray[np.uint8], overlay: Overlay | None = None, *, width: int | None = None
) -> bytes:
    """Encode a frame.

    pixels: uint8 (H, W, 3), RGB.   overlay: None leaves the picture as it is.
    width: of the result; never more than the frame's.   Returns: a JPEG.
    """
    image = Image.fromarray(pixels)
    if width is not None and width < image.width:
        height = max(1, round(image.height * width / image.width))
        image = image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
    if overlay is not None:
        image = _drawn(image, overlay)
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=QUALITY)
    return encoded.getvalue()


def _drawn(image: Image.Image, overlay: Overlay) -> Image.Image:
    # fromarray shares the frame's memory, which is read by others.
    image = image.copy()
    size = min(max(image.width // 36, 11), 32)
    font, step = _font(size), round(size * 1.35)
    draw = ImageDraw.Draw(image)
    for marked in overlay.marked:
        _mark(draw, marked, image.size, font)
    lines = [(overlay.title, _GREY), *((line, _WHITE) for line in overlay.lines[:_MAX_LINES])]
    if overlay.warning:
        lines.append((overlay.warning, _AMBER))
    margin = size // 2
    top = max(0, image.height - step * len(lines) - margin)
    strip = image.crop((0, top, *image.size))
    image.paste(strip.point([round(level * _SHINE) for level in range(256)] * 3), (0, top))
    for number, (text, color) in enumerate(lines):
        fitting = _cut(text, font, image.width - 2 * margin)
        draw.text((margin, top + margin // 2 + number * step), fitting, fill=color, font=font)
    return image


def _mark(
    draw: ImageDraw.ImageDraw,
    marked: Marked,
    size_wh: tuple[int, int],
    font: ImageFont.FreeTypeFont,
) -> None:
    left, top, right, bottom = (
        share * length for share, length in zip(marked.xyxy, size_wh * 2, strict=True)
    )
    draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=_AMBER, width=2)
    draw.text((left + 4, top + 2), marked.name, fill=_AMBER, font=font)


def _cut(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """Shorten a line until it fits."""
    if font.getlength(text) <= width:
        return text
    kept = len(text)
    while kept and font.getlength(text[:kept] + "…") > width:
        kept -= max(1, kept // 10)
    return text[: max(0, kept)] + "…"


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow's wheels have FreeType"
    return font
