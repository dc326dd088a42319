"""Logging for the whole process: text for a person at a terminal, JSON lines for a service.

An event is a lower-case phrase followed by key=value pairs: "batch done model=ssd rows=4".
Guarantee: one record is one line of text (tracebacks follow it) or one JSON object, and nothing
a guest or a client sends can forge a line or drive the terminal: control characters are escaped.
What looks like a password in a URL, or a token, is masked.
"""

import json
import logging
import re
import sys
import traceback
from datetime import UTC, datetime
from enum import Enum
from typing import TextIO


class LogStyle(Enum):
    """AUTO is text if the stream is a terminal, else JSON lines."""

    AUTO = "auto"
    TEXT = "text"
    JSON = "json"


class LogLevel(Enum):
    """The least that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"

    @property
    def number(self) -> int:
        """Give it as `logging` has it."""
        return logging.getLevelNamesMapping()[self.name]


# C0, DEL and C1 controls, and the two Unicode line ends that some viewers obey.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


# What is kept of a match is in group 1. Cameras are named by URLs with passwords in them.
_SECRET = re.compile(
    r"(://[^\s/:@]{0,256}:)[^\s/@]{1,256}(?=@)"
    r"|(\bBearer\s+)[^\s,;\"']+"
    r"|(\b(?:token|password|passwd|secret|api_?key)=)[^\s&,;\"']+",
    re.IGNORECASE,
)
# Something that every match contains, so that most texts cost one search each.
_MAYBE_SECRET = re.compile(r"@|=|bearer", re.IGNORECASE)


def redact(text: str) -> str:
    """Mask what looks like a secret."""
    if _MAYBE_SECRET.search(text) is None:
        return text
    return _SECRET.sub(lambda m: (m[1] or m[2] or m[3]) + "***", text)


def message_of(record: logging.LogRecord) -> str:
    """Give a record's message with its secrets masked."""
    return redact(record.getMessage())


def _time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _traceback(record: logging.LogRecord) -> str:
    if record.exc_info is None or record.exc_info[0] is None:
        return ""
    return redact("".join(traceback.format_exception(*record.exc_info)).rstrip())


class TextFormatter(logging.Formatter):
    """One line for a person; the traceback, if any, on the lines after it."""

    def format(self, record: logging.LogRecord) -> str:
        message = _CONTROL.sub(lambda m: f"\\x{ord(m[0]):02x}", message_of(record))
        line = f"{_time(record)} {record.levelname.lower():7} {record.name}: {message}"
        trace = _traceback(record)
        if trace:
            # The exception's text may quote foreign bytes; only its line ends are ours.
            safe = (_CONTROL.sub(lambda m: f"\\x{ord(m[0]):02x}", t) for t in trace.split("\n"))
            line += "\n" + "\n".join(f"    {t}" for t in safe)
        return line


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message and, if any, traceback."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": message_of(record),
        }
        trace = _traceback(record)
        if trace:
            entry["traceback"] = trace
        return json.dumps(entry)


class _OurHandler(logging.StreamHandler[TextIO]):
    """Marks the handler that `configure` may replace; others belong to somebody else."""


def configure(
    style: LogStyle = LogStyle.AUTO, *, level: int = logging.INFO, stream: TextIO | None = None
) -> None:
    """Send all logging to one stream (standard error); a second call replaces the first."""
    stream = sys.stderr if stream is None else stream
    if style is LogStyle.AUTO:
        style = LogStyle.TEXT if stream.isatty() else LogStyle.JSON
    handler = _OurHandler(stream)
    handler.setFormatter(TextFormatter() if style is LogStyle.TEXT else JsonFormatter())
    root = logging.getLogger()
    for old in [h for h in root.handlers if isinstance(h, _OurHandler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(True)
