"""What an app says: the last lines of its log, bounded in rate and in number.

A guest may write without end, and each line costs the box: over the rate lines are dropped and
counted, and one line says how many.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from appliance.guests.breaches import BreachBook

log = logging.getLogger(__name__)

KEPT_LINES = 200
MAX_LINE_LENGTH = 2000


@dataclass(frozen=True, slots=True)
class Line:
    """at: Unix seconds.   level: debug, info, warning or error."""

    at: float
    level: str
    text: str


class Journal:
    """The log of one app.

    lines_per_s: allowed rate; a second's worth may come at once.   breaches: told once a second
    in which lines were dropped.
    """

    def __init__(
        self, app: str, lines_per_s: int, clock: Callable[[], float] = time.time,
        breaches: BreachBook | None = None,
    ) -> None:  # fmt: skip
        self._breaches = breaches or BreachBook(clock)
        self._app = app
        self._lines_per_s = lines_per_s
        self._clock = clock
        self._lock = threading.Lock()
        self._lines: deque[Line] = deque(maxlen=KEPT_LINES)
        self._second = 0
        self._in_second = 0
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """Lines dropped over the rate since the start."""
        return self._dropped

    def write(self, level: int, text: str) -> None:
        """Take a line. level: as in `logging`."""
        now = self._clock()
        missing = 0
        with self._lock:
            if int(now) != self._second:
                missing = max(0, self._in_second - self._lines_per_s)
                self._second, self._in_second = int(now), 0
            self._in_second += 1
            is_kept = self._in_second <= self._lines_per_s
            if is_kept:
                name = logging.getLevelName(level).lower()
                self._lines.append(Line(now, name, text[:MAX_LINE_LENGTH]))
            else:
                self._dropped += 1
            is_first_dropped = self._in_second == self._lines_per_s + 1
        if is_first_dropped and self._lines_per_s:
            self._breaches.note("log_lines_per_s", self._lines_per_s, self._lines_per_s + 1)
        # A rate of 0 asks for silence.
        if missing and self._lines_per_s:
            log.warning("app says too much app=%s dropped=%d", self._app, missing)
        if not is_kept:
            return
        log.log(level, "app says app=%s text=%s", self._app, text[:MAX_LINE_LENGTH])

    def write_output(self, level: int, raw: bytes) -> None:
        """Take what a guest printed, a line each."""
        for line in raw.decode("utf-8", "replace").splitlines():
            if line.strip():
                self.write(level, line)

    def tail(self) -> tuple[Line, ...]:
        """Give the last lines, oldest first."""
        with self._lock:
            return tuple(self._lines)
