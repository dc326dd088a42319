"""What so many latencies can claim: percentiles by MLPerf's early stopping.

A percentile of a short run is itself a guess. So MLPerf asks how many of the slowest queries may
be left out such that, with 99 % confidence, the claimed share of all queries is faster than the
slowest of the rest; and for too few queries there is no claim at all. Pure.

Source: MLPerf Inference rules, "Early Stopping", with d = 0 and c = 0.99.
"""

import functools
import itertools
import math
from collections.abc import Sequence

CONFIDENCE = 0.99


@functools.cache
def fewest_queries(percentile: float, slow: int) -> int:
    """Tell how many queries it takes if so many may be over the latency.

    percentile: as a share, 0.99.   Returns: the least n with P[Bin(n, 1 - percentile) <= slow]
    <= 1 - CONFIDENCE.
    """
    low, high = slow, slow + 1
    while _at_most(slow, high, percentile) > 1 - CONFIDENCE:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        if _at_most(slow, middle, percentile) > 1 - CONFIDENCE:
            low = middle
        else:
            high = middle
    return high


def _at_most(slow: int, queries: int, percentile: float) -> float:
    """The probability that at most `slow` of the queries are over the percentile."""
    over, under = math.log1p(-percentile), math.log(percentile)
    return math.fsum(
        math.exp(math.log(math.comb(queries, k)) + k * over + (queries - k) * under)
        for k in range(slow + 1)
    )


def slow_allowed(percentile: float, queries: int) -> int | None:
    """Tell how many of the queries may be over the latency; None if there are too few to say."""
    if fewest_queries(percentile, 0) > queries:
        return None
    return next(
        slow for slow in itertools.count() if fewest_queries(percentile, slow + 1) > queries
    )


def claimed_latency(latencies_s: Sequence[float], percentile: float) -> float | None:
    """Estimate a percentile; None if there are too few queries (64 for 0.90, 662 for 0.99)."""
    slow = slow_allowed(percentile, len(latencies_s))
    if not slow:
        return None
    return sorted(latencies_s)[len(latencies_s) - slow]


def is_within(latencies_s: Sequence[float], bound_s: float, percentile: float) -> bool:
    """Tell whether a Server run meets its bound; an infinite latency is a query unanswered."""
    slow = slow_allowed(percentile, len(latencies_s))
    return slow is not None and sum(latency > bound_s for latency in latencies_s) <= slow


def plain_percentile(values: Sequence[float], percentile: float) -> float:
    """Pick the value that this share of the values does not exceed: nearest rank, no claim."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(percentile * len(ranked)) - 1)]
