"""Box and worker understand each other; a worker that was taken over cannot confuse the box."""

import pytest

from appliance.cameras.ring import WriterEnds
from appliance.cameras.urls import parse
from appliance.cameras.wire import (
    MAX_LINE_BYTES,
    Counts,
    Ended,
    Failed,
    Job,
    MotionRule,
    Opened,
    Report,
    read_job,
    read_report,
    report_line,
)

JOB = Job(
    source=parse("rtsp://joe:hunter2@cam/1#transport=udp"),
    ends=WriterEnds((3, 4, 5, 6), 7, 8, 9),
    first_sequence=12,
    fps=5.0,
    size_wh=(640, 480),
    max_pixels=1000,
    loop=False,
    realtime=True,
    open_s=10.0,
    read_s=25.0,
    data_bytes=1 << 30,
    motion=MotionRule(12, 0.005, 10.0),
)


def test_a_job_arrives_as_it_was_sent() -> None:
    """Types included: tuples, enums, what is None."""
    assert JOB == read_job(JOB.line())


def test_a_job_does_not_show_its_secrets() -> None:
    """It may end in a traceback."""
    assert "hunter2" not in repr(JOB)


@pytest.mark.parametrize(
    "report",
    [Opened("h264", 640, 480, 29.97), Counts(9, 1, 2, 3, 4, 5), Ended(), Failed("no way")],
    ids=lambda report: type(report).__name__,
)
def test_a_report_arrives_as_it_was_sent(report: Report) -> None:
    """On one line that the kernel writes whole."""
    line = report_line(report)

    assert report == read_report(line)
    assert line.count(b"\n") == 1
    assert len(line) < MAX_LINE_BYTES


def test_a_long_reason_is_cut() -> None:
    """A line of any length would not be written whole."""
    assert read_report(report_line(Failed("x" * 10_000))) == Failed("x" * 500)


@pytest.mark.parametrize(
    "line",
    [
        b"", b"hello", b"[]", b"{}", b'{"report": "Rumour"}', b'{"report": ["Ended"]}',
        b'{"report": "Failed"}', b'{"report": "Failed", "reason": 5}',
        b'{"report": "Counts", "decoded": "many"}', b'{"report": "Counts", "decoded": -1}',
        b'{"report": "Counts", "decoded": true}',
        b'{"report": "Opened", "decoder": "x", "width": [], "height": 1, "fps": 1}',
        b"[" * 100_000, b"\xff\xfe",
    ],
    ids=range(14),
)  # fmt: skip
def test_anything_else_is_no_report(line: bytes) -> None:
    """Neither an error nor believed."""
    assert read_report(line) is None
