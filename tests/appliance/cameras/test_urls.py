"""URLs of cameras: every kind is understood, nothing secret is shown, what is wrong is said."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.cameras.urls import Kind, parse, redact, secrets_of
from appliance.errors import BadRequest


@pytest.mark.parametrize(
    ("url", "kind", "address"),
    [
        ("rtsp://cam/1", Kind.RTSP, "rtsp://cam/1"),
        ("rtsps://u:p@cam:322/1?a=b", Kind.RTSP, "rtsps://u:p@cam:322/1?a=b"),
        ("RTSP://cam/1", Kind.RTSP, "RTSP://cam/1"),
        ("rtsp://cam/1#transport=udp", Kind.RTSP, "rtsp://cam/1"),
        ("http://cam/video.mjpg", Kind.HTTP, "http://cam/video.mjpg"),
        ("https://cam/live.m3u8?token=1", Kind.HLS, "https://cam/live.m3u8?token=1"),
        ("/dev/video0", Kind.V4L2, "/dev/video0"),
        ("v4l2:/dev/video3?fps=30", Kind.V4L2, "/dev/video3"),
        ("v4l2:usb-Logi_C920-video-index0", Kind.V4L2,
         "/dev/v4l/by-id/usb-Logi_C920-video-index0"),
        ("/dev/v4l/by-path/pci-0000:00:14.0-usb-0:2:1.0-video-index0", Kind.V4L2,
         "/dev/v4l/by-path/pci-0000:00:14.0-usb-0:2:1.0-video-index0"),
        ("/films/yard.mp4?loop=1&realtime=0", Kind.FILE, "/films/yard.mp4"),
        ("file:///films/a%3Fb.mp4", Kind.FILE, "/films/a?b.mp4"),
        ("file://localhost/films/a.mp4", Kind.FILE, "/films/a.mp4"),
        ("/pictures/", Kind.FOLDER, "/pictures/"),
        ("/pictures/*.jpg?fps=2", Kind.FOLDER, "/pictures/*.jpg"),
        ("test:", Kind.TEST, "test:"),
        ("test:?size=64x48&fps=0.5", Kind.TEST, "test:"),
        ("push:", Kind.PUSH, "push:"),
    ],
)  # fmt: skip
def test_kinds(url: str, kind: Kind, address: str) -> None:
    """Each way to write a source is understood."""
    source = parse(url)

    assert (kind, address) == (source.kind, source.address)


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("", "1..2048 printable"),
        ("x" * 3000, "1..2048 printable"),
        ("rtsp://cam/\n1", "printable"),
        ("yard.mp4", "an absolute path"),
        ("ftp://cam/1", "rtsp://"),
        ("rtsp:///1", "rtsp://host/path"),
        ("rtsp://cam:99999/1", "port 0..65535"),
        ("rtsp://cam/1#transport=smoke", "transport=tcp"),
        ("rtsp://cam/1#speed=1", "speed is not known"),
        ("/films/../etc/passwd", r"without \.\."),
        ("file://other/films/a.mp4", "on this machine"),
        ("/films/a.mp4?loops=1", "loops is not known"),
        ("/films/a.mp4?loop=often", "loop=1"),
        ("/dev/video0?size=big", "size=1280x720"),
        ("/dev/video0?fps=0", "fps=5"),
        ("v4l2:", "/dev/videoN"),
        ("v4l2:/etc/passwd", "/dev/videoN"),
        ("test:x?fps=1", "nothing between"),
        ("push:here", "nothing between"),
    ],
)
def test_wrong_urls(url: str, wanted: str) -> None:
    """What is wrong is said, with what is wanted."""
    with pytest.raises(BadRequest, match=wanted):
        parse(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://joe:hunter2@cam/1", "rtsp://***@cam/1"),
        ("rtsp://joe:p@ss/w?rd@cam/1", "rtsp://***@cam/1"),
        ("rtsp://joe@cam/1", "rtsp://***@cam/1"),
        ("http://cam/v.cgi?user=joe&pwd=x&res=hd", "http://cam/v.cgi?user=***&pwd=***&res=hd"),
        ("https://cam/l.m3u8?access_token=a.b-c&n=1", "https://cam/l.m3u8?access_token=***&n=1"),
        ("rtsp://cam/user=joe_password=tl1_channel=1.sdp",
         "rtsp://cam/user=***_password=***_channel=1.sdp"),
        ("http://cam/v?x=5f2b8e0c9a7d4413b6aa", "http://cam/v?x=***"),
        ("rtsp://cam/h264?channel=1&subtype=0", "rtsp://cam/h264?channel=1&subtype=0"),
    ],
)  # fmt: skip
def test_what_is_shown(url: str, shown: str) -> None:
    """User, password and tokens are hidden, the rest is left to recognise the camera by."""
    assert shown == redact(url)


def test_a_refusal_hides_secrets() -> None:
    """The message of a wrong URL goes to clients and logs."""
    with pytest.raises(BadRequest) as caught:
        parse("rtsp://joe:hunter2@cam:99999/1?token=abc")

    assert "hunter2" not in str(caught.value)
    assert "abc" not in str(caught.value)


def test_the_repr_hides_secrets() -> None:
    """A source may end in a traceback or a log."""
    assert "hunter2" not in repr(parse("rtsp://joe:hunter2@cam/1"))


def test_secrets_are_listed_as_written_and_decoded() -> None:
    """Libraries quote passwords in either form."""
    assert ("p%40ssword", "p@ssword", "joe") == secrets_of("rtsp://joe:p%40ssword@cam/1")


WORD = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGH0123456789!$@/.-_~%", min_size=3, max_size=20)


@given(user=WORD, password=WORD)
def test_no_password_is_ever_shown(user: str, password: str) -> None:
    """Whatever it is made of, and whether the URL is right or wrong."""
    url = f"rtsp://{user}:ZZ{password}ZZ@cam/1"

    assert f"ZZ{password}ZZ" not in redact(url)


@given(st.text(max_size=200))
def test_anything_is_understood_or_refused(text: str) -> None:
    """No text raises anything else."""
    with contextlib.suppress(BadRequest):
        assert parse(text).shown
