"""Timing two ways of doing the same, turn by turn.

On a shared machine the speed drifts by half within seconds. So the two ways take turns, each turn
gives one ratio, and the median of the ratios is quoted: drift touches both sides of a pair alike.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pair:
    """Seconds of one call, and how the two compare.

    first_s, second_s: medians.   ratio: median of first / second, pair by pair.
    difference_s: median of first - second, pair by pair.
    """

    first_s: float
    second_s: float
    ratio: float
    difference_s: float


def compare(
    first: Callable[[], object], second: Callable[[], object], *, rounds: int, calls: int = 1
) -> Pair:
    """Time two callables turn by turn.

    rounds: turns of each, after one that is not counted.   calls: calls in a turn.
    """
    firsts, seconds = [], []
    for turn in range(rounds + 1):
        # Who goes first alternates: the second of a pair finds warmer caches.
        order = (first, second) if turn % 2 else (second, first)
        times = {action: _time(action, calls) for action in order}
        if turn:
            firsts.append(times[first])
            seconds.append(times[second])
    pairs = list(zip(firsts, seconds, strict=True))
    return Pair(
        statistics.median(firsts),
        statistics.median(seconds),
        statistics.median(a / b for a, b in pairs),
        statistics.median(a - b for a, b in pairs),
    )


def _time(action: Callable[[], object], calls: int) -> float:
    started_s = time.perf_counter()
    for _ in range(calls):
        action()
    return (time.perf_counter() - started_s) / calls
