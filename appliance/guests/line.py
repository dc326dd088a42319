"""Who is next: a line that is fair between the sources of frames. Its owner holds the lock.

Of those that wait, whoever's source was served least is next. A client that sends a hundred frames
at once is served no more often than a camera that has one at a time, and who came back a moment
late catches up, by at most CATCH_UP.
"""

import threading
from collections import deque

# Frames by which a source may have been served less before it is taken to have been idle, which
# earns nothing; chosen: enough for what a slow disk or a thread's wake-up costs in turns.
CATCH_UP = 8
_MAX_KNOWN = 256


class FairLine:
    """Those who wait; each waits for an event of its own, so that nobody overtakes."""

    def __init__(self) -> None:
        self.lines: dict[str, deque[threading.Event]] = {}
        # How often each source was served, counted so that those who are busy are about even; and
        # how far who was served last had come.
        self._served: dict[str, int] = {}
        self._clock = 0

    def __bool__(self) -> bool:
        return bool(self.lines)

    def join(self, source: str) -> threading.Event:
        """Wait from now on; the event is set when it is one's turn."""
        turn = threading.Event()
        self.lines.setdefault(source, deque()).append(turn)
        return turn

    def leave(self, source: str, turn: threading.Event) -> None:
        """Wait no longer; the turn has not come."""
        line = self.lines[source]
        line.remove(turn)
        if not line:
            del self.lines[source]

    def pop(self) -> threading.Event:
        """Take who is next out of the line, counted as served; the caller sets the event."""
        # The first of equals is who came first.
        source = min(self.lines, key=self._standing)
        line = self.lines.pop(source)
        turn = line.popleft()
        if line:
            self.lines[source] = line
        self.serve(source)
        return turn

    def serve(self, source: str) -> None:
        """Count a source as served, also one that did not have to wait."""
        standing = self._standing(source)
        self._clock = max(self._clock, standing)
        self._served[source] = standing + 1
        if len(self._served) > _MAX_KNOWN:
            idle = self._clock - CATCH_UP
            self._served = {name: count for name, count in self._served.items() if count > idle}

    def _standing(self, source: str) -> int:
        return max(self._served.get(source, 0), self._clock - CATCH_UP)
