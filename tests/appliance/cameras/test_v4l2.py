"""V4L2's answers are read. Written down from `v4l2-ctl --all --list-formats-ext` of the devices
named, in the layout of linux/videodev2.h; the machines that run these tests have no camera."""

import errno
import struct
from collections.abc import Callable

import pytest

from appliance.cameras.v4l2 import (
    ENUM_FMT,
    ENUM_FRAMESIZES,
    QUERYCAP,
    Capability,
    PixelFormat,
    read_capability,
    read_formats,
)

KERNEL = 0x00060100


def capability(driver: str, card: str, bus: str, whole: int, own: int) -> bytes:
    return struct.pack(
        "16s32s32sIII12x", driver.encode(), card.encode(), bus.encode(), KERNEL, whole, own
    )


# A C920: 4 nodes' capabilities together, and of each node its own.
C920 = capability("uvcvideo", "HD Pro Webcam C920", "usb-0000:00:14.0-2", 0x84A00001, 0x04200001)
C920_METADATA = capability(
    "uvcvideo", "HD Pro Webcam C920", "usb-0000:00:14.0-2", 0x84A00001, 0x04A00000
)
CODEC = capability("bcm2835-codec", "bcm2835-codec-decode", "platform:bcm2835-codec",
                   0x84204000, 0x04204000)  # fmt: skip
OLD = capability("old", "Old Grabber", "PCI:0000:05:06.0", 0x05000001, 0)

FORMATS = ((b"YUYV", "YUYV 4:2:2"), (b"MJPG", "Motion-JPEG"), (b"Z16 ", "16-bit Depth"))
SIZES = {b"YUYV": ((640, 480), (320, 240)), b"MJPG": ((1920, 1080), (640, 480), (640, 480))}


def answers(capabilities: bytes) -> Callable[[int, bytes], bytes]:
    """Answer as a device would: EINVAL after the last."""

    def ask(request: int, question: bytes) -> bytes:
        if request == QUERYCAP:
            return capabilities
        index = struct.unpack_from("I", question)[0]
        code = question[4:8]
        try:
            if request == ENUM_FMT:
                letters, name = FORMATS[index]
                return struct.pack("III32s4sI12x", index, 1, 0, name.encode(), letters, 0)
            if code == b"Z16 " and request == ENUM_FRAMESIZES and index == 0:
                steps = struct.pack("6I", 16, 1280, 8, 16, 720, 8)
                return struct.pack("I4sI24s8x", index, code, 3, steps)
            size = SIZES[code][index]
            return struct.pack("I4sI24s8x", index, code, 1, struct.pack("2I16x", *size))
        except LookupError:
            raise OSError(errno.EINVAL, "no more") from None

    return ask


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (C920, Capability("HD Pro Webcam C920", "uvcvideo", "usb-0000:00:14.0-2", True)),
        (C920_METADATA, Capability("HD Pro Webcam C920", "uvcvideo", "usb-0000:00:14.0-2", False)),
        (CODEC, Capability("bcm2835-codec-decode", "bcm2835-codec", "platform:bcm2835-codec",
                           False)),
        (OLD, Capability("Old Grabber", "old", "PCI:0000:05:06.0", True)),
    ],
    ids=["camera", "its metadata node", "a Raspberry Pi's codec", "without node capabilities"],
)  # fmt: skip
def test_capabilities(answer: bytes, expected: Capability) -> None:
    """What captures is told from what only looks like it."""
    assert expected == read_capability(answer)


def test_formats() -> None:
    """In the device's order, each size once, of a range its ends."""
    assert (
        PixelFormat("YUYV", "YUYV 4:2:2", "yuyv422", ((640, 480), (320, 240))),
        PixelFormat("MJPG", "Motion-JPEG", "mjpeg", ((1920, 1080), (640, 480))),
        PixelFormat("Z16", "16-bit Depth", None, ((16, 16), (1280, 720))),
    ) == read_formats(answers(C920))


def test_another_error_is_not_the_end_of_a_list() -> None:
    """The device was unplugged meanwhile."""

    def ask(request: int, question: bytes) -> bytes:
        raise OSError(errno.ENODEV, "No such device")

    with pytest.raises(OSError, match="No such device"):
        read_formats(ask)


def test_a_driver_that_never_ends_its_list_is_bounded() -> None:
    """It answers every index."""
    first = answers(C920)

    def ask(request: int, question: bytes) -> bytes:
        return first(request, b"\0\0\0\0" + question[4:])

    assert 64 == len(read_formats(ask))
