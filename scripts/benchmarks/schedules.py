"""When queries are due, and which rate to try next. Pure: times are seconds from the start."""

import random
from collections.abc import Callable, Iterator

# LoadGen's way: one fixed seed of a Mersenne twister, which `random.Random` is.
SEED = 20_260_701


def poisson(rate_per_s: float, duration_s: float, seed: int = SEED) -> list[float]:
    """Draw the arrivals of a Poisson process; the same seed gives the same ones."""
    generator = random.Random(seed)
    arrivals: list[float] = []
    due_s = generator.expovariate(rate_per_s)
    while due_s < duration_s:
        arrivals.append(due_s)
        due_s += generator.expovariate(rate_per_s)
    return arrivals


def ticks(frames_per_s: float, duration_s: float, phase: float = 0.0) -> Iterator[float]:
    """Give the times of a camera's frames; computed from the start, so that they do not drift.

    phase: of a frame's time, 0 <= phase < 1: cameras are not in step.
    """
    count = 0
    while (due_s := (count + phase) / frames_per_s) < duration_s:
        yield due_s
        count += 1


def highest_rate(is_met: Callable[[float], bool], low: float, high: float, probes: int) -> float:
    """Search the highest rate that is met, halving the range; 0 if none of the probed is.

    is_met: probes a rate; what is met at a rate is taken to be met at lower ones.
    """
    best = 0.0
    for _ in range(probes):
        middle = (low + high) / 2
        if is_met(middle):
            best = low = middle
        else:
            high = middle
    return best
