"""A film made of pictures: the eye wanders over each, as a camera's would. By PyAV."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

# MPEG-4 Part 2: every FFmpeg has it, and it encodes several times as fast as it plays.
_CODEC = "mpeg4"
_BITS_PER_PIXEL = 0.4
# How much of a picture is seen, at first and at last.
_FROM, _TO = 1.0, 0.7


@dataclass(frozen=True, slots=True)
class Film:
    """What is made. seconds: of all pictures together."""

    size_wh: tuple[int, int] = (640, 480)
    fps: int = 15
    seconds: float = 8.0

    @property
    def frames(self) -> int:
        return max(1, round(self.seconds * self.fps))


def make_film(path: Path, pictures: Sequence[Path], film: Film) -> None:
    """Write a film; its suffix says the container."""
    # Here, since FFmpeg takes 0.15 s to load and only the demo needs it.
    import av

    width, height = film.size_wh
    with av.open(str(path), "w") as container:
        stream = container.add_stream(_CODEC, rate=Fraction(film.fps))
        assert isinstance(stream, av.VideoStream), "the codec is one of video"
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = int(width * height * film.fps * _BITS_PER_PIXEL)
        for image in itertools.islice(_seen(pictures, film), film.frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(image))))
        container.mux(stream.encode(None))


def _seen(pictures: Sequence[Path], film: Film) -> Iterator[Image.Image]:
    """Give the frames: each picture for as long, from all of it into its middle."""
    each = -(-film.frames // len(pictures))
    for path in pictures:
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
        for number in range(each):
            yield _look(picture, number / each, film.size_wh)


def _look(picture: Image.Image, progress: float, size_wh: tuple[int, int]) -> Image.Image:
    """Cut out what is seen at a time, 0 <= progress < 1, in the film's shape."""
    shape = size_wh[0] / size_wh[1]
    share = _FROM + (_TO - _FROM) * progress
    width = min(picture.width, picture.height * shape) * share
    height = width / shape
    left = (picture.width - width) * (0.5 + 0.3 * (progress - 0.5))
    top = (picture.height - height) / 2
    box = (left, top, left + width, top + height)
    return picture.resize(size_wh, Image.Resampling.BILINEAR, box=box)
