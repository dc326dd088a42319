"""What FFmpeg is told, and what its refusals mean. No device or server is needed."""

import errno
from dataclasses import replace

import pytest
from av.error import (
    ExitError,
    FFmpegError,
    HTTPNotFoundError,
    HTTPUnauthorizedError,
    InvalidDataError,
)

from appliance.cameras.opening import opening_of, sentence_of
from appliance.cameras.urls import parse
from appliance.cameras.wire import Job
from tests.appliance.cameras.test_wire import JOB


def job(url: str) -> Job:
    return replace(JOB, source=parse(url))


def test_v4l2() -> None:
    """The device by its name that stays, in the wanted format, size and rate."""
    opening = opening_of(
        job("/dev/v4l/by-id/usb-C920-index0?input_format=mjpeg&size=1280x720&fps=30")
    )

    assert ("/dev/v4l/by-id/usb-C920-index0", "v4l2") == (opening.url, opening.format)
    assert {
        "input_format": "mjpeg", "video_size": "1280x720", "framerate": "30",
    } == opening.options  # fmt: skip


def test_v4l2_as_it_comes() -> None:
    """Nothing said, nothing asked of the device."""
    assert {} == opening_of(job("/dev/video0")).options


@pytest.mark.parametrize(("url", "transport"), [("", "tcp"), ("#transport=udp", "udp")])
def test_rtsp(url: str, transport: str) -> None:
    """Over TCP unless said otherwise, pictures only, and never waiting for ever."""
    options = opening_of(job(f"rtsp://cam/1{url}")).options

    assert transport == options["rtsp_transport"]
    assert ("video", "25000000") == (options["allowed_media_types"], options["timeout"])


@pytest.mark.parametrize("url", ["http://cam/1", "https://cam/1.m3u8", "rtsp://cam/1"])
def test_the_network_does_not_lead_to_files(url: str) -> None:
    """A playlist could name /etc/passwd otherwise."""
    assert "file" not in opening_of(job(url)).options["protocol_whitelist"].split(",")


def test_files_do_not_lead_to_the_network() -> None:
    """A film that phones home."""
    assert "file" == opening_of(job("/films/a.mp4")).options["protocol_whitelist"]


def test_an_opening_does_not_show_its_secrets() -> None:
    """It may end in a traceback."""
    assert "hunter2" not in repr(opening_of(job("rtsp://joe:hunter2@cam/1")))


@pytest.mark.parametrize(
    ("url", "error", "sentence"),
    [
        ("rtsp://cam/1", HTTPUnauthorizedError(401, "x"), "user name or password"),
        ("rtsp://cam/1", HTTPNotFoundError(404, "x"), "no such stream"),
        ("rtsp://cam/1", OSError(errno.ECONNREFUSED, "x"), "nothing listens there"),
        ("rtsp://cam/1", ExitError(1, "x"), "no answer within 10 s"),
        ("http://cam/1", InvalidDataError(1, "x"), "no video that this box reads"),
        ("/dev/video0", OSError(errno.EBUSY, "x"), "another program uses the device"),
        ("/dev/video0", OSError(errno.ENODEV, "x"), "unplugged"),
        ("/dev/video0", OSError(errno.EINVAL, "x"), "refuses this input_format, size or fps"),
        ("/films/a.mp4", OSError(errno.ENOENT, "x", "/films/a.mp4"), "no such file"),
        ("/films/a.mp4", FFmpegError(1, "odd thing", "/films/a.mp4"), "odd thing"),
        ("/films/a.mp4", MemoryError(), "more memory"),
    ],
)
def test_refusals(url: str, error: BaseException, sentence: str) -> None:
    """One sentence that says what to look at."""
    assert sentence in sentence_of(error, job(url))


def test_a_refusal_does_not_quote_the_url() -> None:
    """FFmpeg's own messages do."""
    error = FFmpegError(1, "odd thing", "rtsp://joe:hunter2@cam/1")

    assert "hunter2" not in sentence_of(error, job("rtsp://joe:hunter2@cam/1"))
