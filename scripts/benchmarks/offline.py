"""MLPerf's Offline: all rows are there at once, and only rows/s count.

The box gets them as one request, again and again. Beside that, without a target: the same rows from
callers and from guests with one each, who wait for their answers.
"""

import statistics
from collections.abc import Callable, Iterator
from functools import partial

from scripts.benchmarks.callers import Call, closed_loop
from scripts.benchmarks.cases import LITE0, Case
from scripts.benchmarks.direct import RUNTIMES, WAYS, Way
from scripts.benchmarks.effort import Effort
from scripts.benchmarks.report import Row, at_least
from scripts.benchmarks.rig import Rig, rig

Rate = Callable[[float], float]
# The ways that do best in a trial are compared again, turn by turn with the box.
_FINALISTS = 2
_TURNS = 4
# Of one request: a second's, so that its end, where one core has nothing left, hardly counts.
_ROWS = 256


def measure(effort: Effort) -> Iterator[Row]:
    """Compare rows/s through the scheduler with the best direct loop, for all formats."""
    for case in LITE0:
        with rig() as box:
            yield from _compare(box, case, effort)


def _compare(box: Rig, case: Case, effort: Effort) -> Iterator[Row]:
    direct = {str(way): direct_rate(case, way) for way in WAYS}
    for rate in direct.values():
        rate(0.0)
    trial = {way: rate(effort.piece_s) for way, rate in direct.items()}
    finalists = sorted(trial, key=lambda way: trial[way])[-_FINALISTS:]
    graph = box.load(case)
    plan = box.plan(graph)
    callers = callers_for(box, case)
    guests: list[Call] = [guest.infer for guest in box.guests(case, callers)]
    request = partial(box.run(graph), case.values(_ROWS))
    systems: dict[str, Rate] = {
        **{way: direct[way] for way in finalists},
        "scheduler": lambda seconds: sum(closed_loop([request], seconds)) * _ROWS,
        "callers": lambda seconds: sum(closed_loop(box_calls(box, case), seconds)),
        "guests": lambda seconds: sum(closed_loop(guests, seconds)),
    }
    for rate in systems.values():
        rate(effort.piece_s / 2)
    rates: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(_TURNS):
        for name, rate in systems.items():
            rates[name].append(rate(effort.piece_s))
    best = max(finalists, key=lambda way: statistics.median(rates[way]))
    way = Way(plan.threads, plan.parallel, plan.max_batch_rows)
    for system in ("scheduler", "callers", "guests"):
        ratio = statistics.median(
            ours / theirs for ours, theirs in zip(rates[system], rates[best], strict=True)
        )
        name = f"{case.name} Offline: {system} ({way}) : best direct ({best})"
        yield at_least(name, ratio, "x", 1.0) if system == "scheduler" else Row(name, ratio, "x")
    for system in ("scheduler", best):
        rows_per_s = statistics.median(rates[system])
        yield Row(f"{case.name} Offline: {system}", rows_per_s, "rows/s")


def direct_rate(case: Case, way: Way) -> Rate:
    """Make what runs a model in one way for some seconds. Returns: rows/s."""
    runs = [RUNTIMES[case.encoding](case.files, way.threads) for _ in range(way.parallel)]
    x = case.values(way.rows)
    calls: list[Call] = [partial(run, x) for run in runs]
    return lambda seconds: sum(closed_loop(calls, seconds)) * way.rows


def box_calls(box: Rig, case: Case) -> list[Call]:
    """Make the callers that keep the queue filled."""
    x, run = case.values(), box.run(box.load(case))
    return [partial(run, x)] * callers_for(box, case)


def callers_for(box: Rig, case: Case) -> int:
    """Tell how many callers keep the queue filled: two for every place in a batch."""
    plan = box.plan(box.load(case))
    return 2 * plan.parallel * plan.max_batch_rows
