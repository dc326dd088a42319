"""What a worker says is bounded and has no secrets in it."""

import pytest

from appliance.cameras.process import LOG_LINES, DecoderLog, Lines


def test_lines_are_put_together() -> None:
    """A pipe gives them in any pieces."""
    lines = Lines(100)

    assert [[b"one"], [], [b"two", b"three"]] == [
        lines.feed(piece) for piece in (b"one\nt", b"w", b"o\nthree\nfo")
    ]


def test_a_line_without_end_is_bounded() -> None:
    """A worker that writes for ever fills nothing."""
    lines = Lines(10)
    for _ in range(1000):
        lines.feed(b"x" * 1000)

    assert [b"x" * 10, b"next"] == lines.feed(b"\nnext\n")


def test_the_log_keeps_the_last_lines() -> None:
    """A hundred of them, each cut."""
    log = DecoderLog(())
    for number in range(1000):
        log.add(b"%d " % number + b"y" * 1000)

    assert LOG_LINES == len(log.lines())
    assert log.lines()[-1].startswith("999 y")
    assert max(map(len, log.lines())) <= 300


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        (b"rtsp://joe:hunter2@cam/1: 401", "rtsp://***@cam/1: 401"),
        (b"user joe, password hunter2", "user ***, password ***"),
        (b"GET /v?token=abc HTTP", "GET /v?token=*** HTTP"),
        (b"\x1b[31mred\x07", "[31mred"),
        (b'File "/srv/box/appliance/worker.py", line 3', 'File "worker.py", line 3'),
        (b"/home/joe/films/yard.mp4: broken", "yard.mp4: broken"),
        (b"http://cam/a/b.m3u8 gone", "http://cam/a/b.m3u8 gone"),
        (b"\xff\xfe", "\ufffd\ufffd"),
    ],
)
def test_the_log_is_clean(line: bytes, kept: str) -> None:
    """No secrets, no folders of the machine, nothing that drives a terminal."""
    log = DecoderLog(("hunter2", "joe"))
    log.add(line)

    assert [kept] == log.lines()
