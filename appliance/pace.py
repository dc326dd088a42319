"""How many frames came in the last minute. Pure: `now` is a parameter."""

WINDOW_S = 60


class LastMinute:
    """A count for each of the last 60 seconds, in a ring."""

    def __init__(self) -> None:
        self._counts = [0] * WINDOW_S
        self._second = 0

    def note(self, now_s: float) -> None:
        """Count one. now_s: seconds, monotonic."""
        self._move_to(int(now_s))
        self._counts[int(now_s) % WINDOW_S] += 1

    def total(self, now_s: float) -> int:
        """Sum up the last 60 seconds, the present one included."""
        self._move_to(int(now_s))
        return sum(self._counts)

    def _move_to(self, second: int) -> None:
        """Clear what is over a minute old."""
        for passed in range(max(self._second, second - WINDOW_S) + 1, second + 1):
            self._counts[passed % WINDOW_S] = 0
        self._second = max(self._second, second)
