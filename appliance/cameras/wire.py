"""What the box and a camera's worker say to each other: one job down, reports up, as JSON lines.

The job goes down the worker's standard input, which then stays open: its end is the box's end.
Reports come up the worker's standard output. Frames do not pass here (`ring`).
"""

import json
from dataclasses import asdict, dataclass
from typing import Any

from appliance.cameras.ring import WriterEnds
from appliance.cameras.urls import Kind, Source

# A line up; the kernel writes so much whole or not at all (PIPE_BUF).
MAX_LINE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class MotionRule:
    """As `config.MotionGate`, which the worker does without: it would bring pydantic along."""

    threshold: int
    min_area: float
    keep_every_s: float


@dataclass(frozen=True, slots=True)
class Job:
    """All that a worker needs.

    open_s, read_s: patience of FFmpeg, for opening and for the next packet.   data_bytes: of
    memory the worker may have.   first_sequence: of its first frame.   The rest as configured.
    """

    source: Source
    ends: WriterEnds
    first_sequence: int
    fps: float | None
    size_wh: tuple[int, int] | None
    max_pixels: int
    loop: bool
    realtime: bool
    open_s: float
    read_s: float
    data_bytes: int
    motion: MotionRule | None = None

    def line(self) -> bytes:
        """Write it; holds secrets."""
        return json.dumps(asdict(self)).encode() + b"\n"


def read_job(line: bytes) -> Job:
    """Read what `Job.line` wrote."""
    fields: dict[str, Any] = json.loads(line)
    source, ends = fields.pop("source"), fields.pop("ends")
    motion, size = fields.pop("motion"), fields.pop("size_wh")
    return Job(
        source=Source(**{**source, "kind": Kind(source["kind"])}),
        ends=WriterEnds(**{**ends, "slots": tuple(ends["slots"])}),
        size_wh=None if size is None else (size[0], size[1]),
        motion=None if motion is None else MotionRule(**motion),
        **fields,
    )


@dataclass(frozen=True, slots=True)
class Opened:
    """The source is open. fps: as it says itself, 0 if it does not."""

    decoder: str
    width: int
    height: int
    fps: float


@dataclass(frozen=True, slots=True)
class Counts:
    """Frames of this worker so far: decoded ones, and why some were not given out."""

    decoded: int = 0
    rate: int = 0
    corrupt: int = 0
    motion: int = 0
    oldest: int = 0
    busy: int = 0


@dataclass(frozen=True, slots=True)
class Ended:
    """The source is over and not to be opened again."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The worker ends. reason: a sentence without secrets."""

    reason: str


Report = Opened | Counts | Ended | Failed
_REPORTS: dict[str, type[Report]] = {t.__name__: t for t in (Opened, Counts, Ended, Failed)}


def report_line(report: Report) -> bytes:
    """Write a report."""
    if isinstance(report, Failed):
        report = Failed(report.reason[:500])
    return json.dumps({"report": type(report).__name__, **asdict(report)}).encode() + b"\n"


def read_report(line: bytes) -> Report | None:
    """Read a report; None for anything else: the worker decodes what strangers send."""
    try:
        fields = json.loads(line)
        report = _REPORTS[fields.pop("report")](**fields)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return report if _is_sound(report) else None


def _is_sound(report: Report) -> bool:
    if isinstance(report, Counts):
        counts = asdict(report).values()
        return all(type(count) is int and 0 <= count < 1 << 62 for count in counts)
    if isinstance(report, Failed):
        return isinstance(report.reason, str)
    if isinstance(report, Opened):
        numbers = (report.width, report.height, report.fps)
        return isinstance(report.decoder, str) and all(
            isinstance(number, int | float) for number in numbers
        )
    return True
