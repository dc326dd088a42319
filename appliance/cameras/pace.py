"""Which frames of a stream are wanted, and how fast they come; pure.

Times are seconds on any one clock that the caller chooses and never mixes.
"""

from collections import deque

# Frames come some milliseconds early or late; without leave every second one of a 30 fps stream
# would miss its 30 fps turn.
_EARLY = 0.25
# A measured rate covers this; chosen, not measured.
_WINDOW_S = 3.0


class Gate:
    """Lets at most so many frames a second through, evenly.

    fps: None lets all through.
    """

    def __init__(self, fps: float | None) -> None:
        self._period_s = 1 / fps if fps else 0.0
        self._due_s: float | None = None
        self._last_s = 0.0

    def passes(self, at_s: float) -> bool:
        """Decide about a frame of this time; a clock that jumps back starts anew."""
        due_s = self._due_s
        is_back = at_s < self._last_s
        self._last_s = at_s
        if due_s is None or is_back or at_s - due_s > self._period_s:
            # First, or so late that turns were missed: those are not made up for in a burst.
            self._due_s = at_s + self._period_s
            return True
        if at_s < due_s - _EARLY * self._period_s:
            return False
        # From the turn, not from the frame: the rate is exact over time.
        self._due_s = due_s + self._period_s
        return True


class Meter:
    """Measures a rate over the last seconds."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=1024)

    def count(self, now: float) -> None:
        """Take note of a frame."""
        self._times.append(now)

    def fps(self, now: float) -> float:
        """Tell the rate; slow streams by their last gap, 0 when that has passed twice."""
        while len(self._times) > 2 and now - self._times[0] > _WINDOW_S:
            self._times.popleft()
        if len(self._times) < 2:
            return 0.0
        span_s = self._times[-1] - self._times[0]
        mean_s = span_s / (len(self._times) - 1)
        if span_s <= 0 or now - self._times[-1] > max(_WINDOW_S, 2 * mean_s):
            return 0.0
        return 1 / mean_s
