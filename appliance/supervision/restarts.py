"""When a service that died is started again: at once, then later and later."""

from collections import deque

WINDOW_S = 60.0
MAX_STARTS = 5
# Waits after the first deaths of a minute: three times at once, so that what is poisoned gets its
# three strikes and the rest is back without a pause.
_FIRST_WAITS_S = (0.0, 0.0, 0.0, 1.0)
_SLOW_S = 15.0
_SLOWEST_S = 300.0


class Restarts:
    """Counts starts. At most MAX_STARTS within WINDOW_S, then ever slower up to five minutes.

    A service that lives longer than WINDOW_S begins anew.
    """

    def __init__(self) -> None:
        self._starts: deque[float] = deque(maxlen=MAX_STARTS)
        self._slow = 0

    def started(self, now: float) -> None:
        """Count a start. now: monotonic seconds."""
        self._starts.append(now)

    def wait_s(self, now: float) -> float:
        """Say how long to wait after a death now."""
        if self._starts and now - self._starts[-1] >= WINDOW_S:
            self._slow = 0
        recent = [start for start in self._starts if now - start < WINDOW_S]
        if len(recent) < MAX_STARTS and not self._slow:
            return _FIRST_WAITS_S[max(0, len(recent) - 1)]
        wait_s: float = min(_SLOW_S * 2**self._slow, _SLOWEST_S)
        self._slow = min(self._slow + 1, 8)
        if len(recent) == MAX_STARTS:
            wait_s = max(wait_s, recent[0] + WINDOW_S - now)
        return wait_s
