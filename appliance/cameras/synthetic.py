"""A moving picture that needs no camera, with a counter that people and tests can read.

Options of test: size, fps; frames (ends after so many); and faults, after so many frames:
crash_after (the worker kills itself), stall_after (nothing more comes), freeze_after (the picture
stays), resize_after (half the size). deaf=1: does not end when asked to.
"""

import os
import signal
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from appliance.cameras.scaling import picture_of
from appliance.cameras.shots import Shot
from appliance.cameras.wire import Job, Opened

COUNTER_BITS = 32
_DEFAULT_WH = (640, 480)
_DEFAULT_FPS = 10.0
_MAX_WH = (7680, 4320)
_TEXT_LINES = 48


class MovingPicture:
    """Frames whose number stands in them, counting on from the job's first sequence."""

    def __init__(self, job: Job) -> None:
        source = job.source
        width, height = source.size_wh("size", _DEFAULT_WH)
        self._size_wh = (min(width, _MAX_WH[0]), min(height, _MAX_WH[1]))
        self._fps = source.number("fps", _DEFAULT_FPS)
        self._first = job.first_sequence
        self._after = {
            fault: int(source.options[f"{fault}_after"])
            for fault in ("crash", "stall", "freeze", "resize")
            if f"{fault}_after" in source.options
        }
        self._count = int(source.options["frames"]) if "frames" in source.options else None
        self.is_finite = self._count is not None
        self.opened = Opened("synthetic", *self._size_wh, self._fps)
        if source.is_on("deaf", default=False):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def shots(self) -> Iterator[Shot]:
        """Paint one after the other; see `shots.ShotSource`."""
        size_wh = self._size_wh
        shown = 0
        while self._count is None or shown < self._count:
            number = self._first + min(shown, self._after.get("freeze", shown))
            if shown == self._after.get("crash"):
                os.kill(os.getpid(), signal.SIGKILL)
            if shown == self._after.get("stall"):
                # Until the next frame: 1000 hours.
                yield Shot(picture_of(paint(number, size_wh)), 3.6e6)
            if shown >= self._after.get("resize", shown + 1):
                size_wh = (max(1, self._size_wh[0] // 2), max(1, self._size_wh[1] // 2))
            yield Shot(picture_of(paint(number, size_wh)), shown / self._fps)
            shown += 1

    def close(self) -> None:
        """Nothing is open."""


def paint(number: int, size_wh: tuple[int, int]) -> NDArray[np.uint8]:
    """Paint a frame: a gradient that moves, the number as bits on top and, if it fits, as digits.

    Returns: uint8 (H, W, 3), RGB. `read_counter` reads the number again.
    """
    width, height = size_wh
    across = (np.arange(width, dtype=np.uint32) * 255 // max(1, width - 1)).astype(np.uint8)
    down = (np.arange(height, dtype=np.uint32) * 255 // max(1, height - 1)).astype(np.uint8)
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:, :, 0] = across[None, :] + np.uint8(number * 4 % 256)
    pixels[:, :, 1] = down[:, None]
    pixels[:, :, 2] = np.uint8(number % 256)
    if height >= _TEXT_LINES:
        pixels[height // 2 :][: height // 4, :width] |= _digits(number, width, height // 4)
    for bit in range(COUNTER_BITS):
        rows, columns = _place_of(bit, size_wh)
        pixels[rows, columns] = 255 if number >> bit & 1 else 0
    return pixels


def read_counter(pixels: NDArray[np.uint8]) -> int:
    """Read the number of a painted frame, also after scaling and lossy coding."""
    height, width = pixels.shape[:2]
    number = 0
    for bit in range(COUNTER_BITS):
        block = pixels[_place_of(bit, (width, height))]
        number |= int(block[block.shape[0] // 2, block.shape[1] // 2].mean() > 127) << bit
    return number


def _place_of(bit: int, size_wh: tuple[int, int]) -> tuple[slice, slice]:
    width, height = size_wh
    left, right = (width * b // COUNTER_BITS for b in (bit, bit + 1))
    return slice(0, max(1, height // 8)), slice(left, max(left + 1, right))


def _digits(number: int, width: int, height: int) -> NDArray[np.uint8]:
    small = Image.new("L", (max(1, 16 * width // max(1, height)), 16))
    ImageDraw.Draw(small).text(
        (2, 2), f"{number}", fill=255, font=ImageFont.load_default_imagefont()
    )
    scaled = small.resize((width, height), Image.Resampling.NEAREST)
    return np.asarray(scaled)[:, :, None]
