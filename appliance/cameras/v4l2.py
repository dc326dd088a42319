"""What Video4Linux devices answer, read: capabilities, pixel formats, frame sizes.

Source: linux/videodev2.h. The layouts are the same on x86-64 and aarch64.
"""

import errno
import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

# _IOR('V', 0, struct v4l2_capability) and so on: direction << 30 | size << 16 | 'V' << 8 | number.
QUERYCAP = 0x80685600
ENUM_FMT = 0xC0405602
ENUM_FRAMESIZES = 0xC02C564A

_CAPABILITY = struct.Struct("16s32s32sIII12x")
_FORMAT = struct.Struct("III32s4sI12x")
_FRAME_SIZE = struct.Struct("I4sI24s8x")
_STEPWISE = struct.Struct("6I")

_CAPTURE = 0x1
_CAPTURE_MPLANE = 0x1000
_DEVICE_CAPS = 0x80000000
_BUFFER_CAPTURE = 1
_SIZE_DISCRETE = 1
# A driver that never says "no more" is broken; none has so many.
_MAX_ANSWERS = 64

# What FFmpeg calls a pixel format, for ?input_format=.
_FFMPEG_NAMES = {
    "MJPG": "mjpeg", "JPEG": "mjpeg", "YUYV": "yuyv422", "UYVY": "uyvy422", "NV12": "nv12",
    "YU12": "yuv420p", "YV12": "yuv420p", "H264": "h264", "HEVC": "hevc", "RGB3": "rgb24",
    "BGR3": "bgr24", "GREY": "gray",
}  # fmt: skip

# ioctl(request, argument) -> answer. Raises: OSError as the kernel does.
Ask = Callable[[int, bytes], bytes]


@dataclass(frozen=True, slots=True)
class Capability:
    """Who a device is. can_capture: gives pictures; a camera's metadata node does not."""

    card: str
    driver: str
    bus: str
    can_capture: bool


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """One way in which a device gives pictures.

    code: four letters of V4L2.   input_format: FFmpeg's name, None if it has none.
    sizes_wh: pixels, as the device lists them; of a range its smallest and its largest.
    """

    code: str
    name: str
    input_format: str | None
    sizes_wh: tuple[tuple[int, int], ...]


def read_capability(answer: bytes) -> Capability:
    """Read a v4l2_capability."""
    driver, card, bus, _, whole, device = _CAPABILITY.unpack(answer)
    # The whole hardware's capabilities tell nothing about this node if it has its own.
    own = device if whole & _DEVICE_CAPS else whole
    can_capture = bool(own & (_CAPTURE | _CAPTURE_MPLANE))
    return Capability(_text(card), _text(driver), _text(bus), can_capture)


def read_formats(ask: Ask) -> tuple[PixelFormat, ...]:
    """Ask a device for its formats and their sizes, in its own order of preference."""
    formats = []
    for index in range(_MAX_ANSWERS):
        question = _FORMAT.pack(index, _BUFFER_CAPTURE, 0, b"", b"", 0)
        answer = _ask(ask, ENUM_FMT, question)
        if answer is None:
            break
        _, _, _, name, code, _ = _FORMAT.unpack(answer)
        letters = _text(code)
        sizes = tuple(dict.fromkeys(_sizes(ask, code)))
        formats.append(PixelFormat(letters, _text(name), _FFMPEG_NAMES.get(letters), sizes))
    return tuple(formats)


def _sizes(ask: Ask, code: bytes) -> Iterator[tuple[int, int]]:
    for index in range(_MAX_ANSWERS):
        answer = _ask(ask, ENUM_FRAMESIZES, _FRAME_SIZE.pack(index, code, 0, b""))
        if answer is None:
            return
        _, _, kind, body = _FRAME_SIZE.unpack(answer)
        numbers = _STEPWISE.unpack(body)
        if kind == _SIZE_DISCRETE:
            yield numbers[0], numbers[1]
            continue
        # min, max, step of the width, then of the height; one answer says it all.
        yield numbers[0], numbers[3]
        yield numbers[1], numbers[4]
        return


def _ask(ask: Ask, request: int, question: bytes) -> bytes | None:
    """Ask; None for "no more" (EINVAL) and from drivers that do not know the question."""
    try:
        return ask(request, question)
    except OSError as exc:
        if exc.errno in {errno.EINVAL, errno.ENOTTY}:
            return None
        raise


def _text(raw: bytes) -> str:
    text = raw.split(b"\0")[0].decode("utf-8", "replace")
    return "".join(c for c in text if c.isprintable()).strip()


class Device:
    """An open device; `with Device(path) as ask`. Opening does not start the camera."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1

    def __enter__(self) -> Ask:
        # O_NONBLOCK: some drivers wait until another program lets go.
        self._fd = os.open(self._path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        return lambda request, question: fcntl.ioctl(self._fd, request, question)

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)
