"""The box's last log records in memory, for whoever asks over the socket.

Guarantees: bounded; secrets are masked as in the log itself; a record costs a few microseconds.
Lines of single requests are left out unless they warn: they would push out everything else.
"""

import logging
import re
import threading
from collections import deque
from dataclasses import dataclass

from appliance.logs import message_of

KEPT = 2000
_MAX_LENGTH = 4000
# The logger of one line per request.
ACCESS = "appliance.access"


@dataclass(frozen=True, slots=True)
class LogLine:
    """at: Unix seconds.   level: debug, info, warning, error or critical."""

    at: float
    level: str
    logger: str
    text: str


@dataclass(frozen=True, slots=True)
class LogQuery:
    """What to show. level: the least, as in `logging`.   app: only what names this app."""

    level: int = logging.DEBUG
    lines: int = 100
    app: str | None = None


class LogRing(logging.Handler):
    """Keeps the last records; a handler of the root logger between `open` and `close`."""

    def __init__(self, kept: int = KEPT) -> None:
        super().__init__()
        self._guard = threading.Lock()
        self._kept: deque[tuple[int, LogLine]] = deque(maxlen=kept)
        self._seen = 0

    def open(self) -> None:
        """Begin to take records."""
        logging.getLogger().addHandler(self)

    def close(self) -> None:
        """Take no more; what is there stays readable."""
        logging.getLogger().removeHandler(self)
        super().close()

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record."""
        if record.name == ACCESS and record.levelno < logging.WARNING:
            return
        text = message_of(record)
        if record.exc_info is not None and record.exc_info[0] is not None:
            text += f" ({record.exc_info[0].__name__}; the log has the traceback)"
        line = LogLine(record.created, record.levelname.lower(), record.name, text[:_MAX_LENGTH])
        with self._guard:
            self._kept.append((record.levelno, line))
            self._seen += 1

    def read(self, query: LogQuery) -> tuple[list[LogLine], int]:
        """Give the last lines that fit, newest last, and how many records are no longer kept."""
        with self._guard:
            kept, dropped = list(self._kept), self._seen - len(self._kept)
        app = None if query.app is None else re.compile(rf"\bapp={re.escape(query.app)}(?![\w-])")
        found = [
            line for level, line in kept
            if level >= query.level and (app is None or app.search(line.text) is not None)
        ]  # fmt: skip
        return found[-query.lines :], dropped
