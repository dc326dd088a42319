"""How long things took, as a histogram; pure and of fixed size."""

import bisect
import itertools
from dataclasses import dataclass, field

# Upper bounds in seconds, inclusive. A frame takes about its decode plus one inference, 10 to 50 ms
# on a small box; seconds mean that something is wrong.
BOUNDS_S = (
    0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Latencies:
    """A snapshot. counts: one for each bound and one beyond, not summed up.   sum_s: of all."""

    counts: tuple[int, ...] = (0,) * (len(BOUNDS_S) + 1)
    sum_s: float = 0.0

    @property
    def total(self) -> int:
        return sum(self.counts)

    def buckets(self) -> list[tuple[str, int]]:
        """Sum up as Prometheus wants it: upper bound in words, and how many were not above."""
        names = [*(f"{bound:g}" for bound in BOUNDS_S), "+Inf"]
        return list(zip(names, itertools.accumulate(self.counts), strict=True))

    def percentile_s(self, share: float) -> float | None:
        """Estimate within the bounds; None if nothing was counted.

        share: 0.5 for the median.   What lies beyond the last bound is said to be that bound.
        """
        if not self.total:
            return None
        wanted, seen = share * self.total, 0
        for number, count in enumerate(self.counts[:-1]):
            if count and seen + count >= wanted:
                low = BOUNDS_S[number - 1] if number else 0.0
                return low + (BOUNDS_S[number] - low) * (wanted - seen) / count
            seen += count
        return BOUNDS_S[-1]


@dataclass(slots=True)
class Stopwatch:
    """Counts; whoever shares one guards it."""

    _counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    _sum_s: float = 0.0

    def note(self, taken_s: float) -> None:
        """Count one."""
        self._counts[bisect.bisect_left(BOUNDS_S, taken_s)] += 1
        self._sum_s += taken_s

    def snapshot(self) -> Latencies:
        return Latencies(tuple(self._counts), self._sum_s)
