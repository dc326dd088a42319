"""MLPerf's Server: Poisson arrivals, and the highest rate that still meets a latency bound."""

import statistics
from collections.abc import Callable, Iterator
from functools import partial

from scripts.benchmarks.callers import Answer, Call, closed_loop, open_loop
from scripts.benchmarks.cases import Case, lite0
from scripts.benchmarks.direct import CORES, RUNTIMES
from scripts.benchmarks.effort import Effort
from scripts.benchmarks.estimates import is_within, plain_percentile
from scripts.benchmarks.report import Curve, Finding, Row
from scripts.benchmarks.rig import rig
from scripts.benchmarks.schedules import highest_rate, poisson
from scripts.benchmarks.streams import alternate

# The bound on the latency, in lone latencies; chosen, not measured.
_PATIENCE = 4
# Callers of the box: enough that a query never waits for one, at rates that the bound allows.
_CALLERS = 24


def measure(effort: Effort) -> Iterator[Finding]:
    """Search the rate for the box and for the direct loop of two sessions."""
    for case in lite0(effort.formats):
        with rig() as box:
            run, x = box.run(box.load(case)), case.values()
            runs = [RUNTIMES[case.encoding](case.files, 1) for _ in range(CORES)]
            systems: dict[str, list[Call]] = {
                "scheduler": [partial(run, x)] * _CALLERS,
                f"direct ({CORES} x 1 thread)": [partial(one, x) for one in runs],
            }
            yield from _search(case, systems, effort)


def _search(case: Case, systems: dict[str, list[Call]], effort: Effort) -> Iterator[Finding]:
    lone = alternate({name: calls[0] for name, calls in systems.items()}, 9)
    bound_s = _PATIENCE * max(statistics.median(taken) for taken in lone.values())
    capacity = max(sum(closed_loop(calls, effort.piece_s)) for calls in systems.values())
    percent = f"p{effort.server_percentile * 100:g}"
    for name, calls in systems.items():
        points: dict[float, float] = {}
        rate = highest_rate(
            _probe(calls, bound_s, effort, points), capacity * 0.3, capacity * 1.1, effort.probes
        )
        what = f"{case.name} Server, {percent} within {bound_s * 1e3:.0f} ms: {name}"
        yield Row(what, rate, "queries/s")
        yield Curve(f"server-{case.key}", f"{name}, {percent}", tuple(sorted(points.items())))


def _probe(
    calls: list[Call], bound_s: float, effort: Effort, points: dict[float, float]
) -> Callable[[float], bool]:
    """Make what tries a rate and notes the latency at it."""

    def is_met(rate: float) -> bool:
        answers = open_loop(calls, poisson(rate, effort.probe_s))
        latencies_s = [answer.latency_s for answer in answers]
        points[rate] = _answered_ms(answers, effort.server_percentile)
        return is_within(latencies_s, bound_s, effort.server_percentile)

    return is_met


def _answered_ms(answers: list[Answer], percentile: float) -> float:
    answered = [answer.latency_s for answer in answers if not answer.is_refused]
    return plain_percentile(answered, percentile) * 1e3 if answered else 0.0
