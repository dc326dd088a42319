"""MLPerf's SingleStream and MultiStream: the next query when the last one is answered.

SingleStream sends one row, MultiStream eight at once (to the box: as one request). The systems
take turns query by query, so that a machine whose speed drifts treats them alike.
"""

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial

from scripts.benchmarks.callers import Call
from scripts.benchmarks.cases import LITE0, TINY, Case, lite0
from scripts.benchmarks.direct import ALL_THREADS, ONE_THREAD, RUNTIMES, WAYS, Way
from scripts.benchmarks.effort import Effort
from scripts.benchmarks.estimates import claimed_latency
from scripts.benchmarks.pairs import compare
from scripts.benchmarks.report import Row, at_most
from scripts.benchmarks.rig import Rig, rig
from wasi_nn.backend import Objective

# Queries of one turn.
_TURN = 11
# Before them, queries that are not counted: the threads of the system that had its turn before
# spin on, and one's own come to their cores late. Lite0 on ONNX Runtime with two threads, taking
# turns with another such session: 7 ms after 0.05 s, 2.9 ms after 0.3 s, as alone.
_SETTLE_S = 0.2
_ROWS = 8
_CLAIMED = 0.90


def measure(effort: Effort) -> Iterator[Row]:
    """SingleStream for all formats, MultiStream for those of the effort."""
    with rig() as box:
        for case in TINY:
            yield _added(box, case, effort)
        for case in LITE0:
            yield from _single_stream(box, case, effort)
        for case in lite0(effort.formats):
            yield from _multi_stream(box, case, effort)


def _added(box: Rig, case: Case, effort: Effort) -> Row:
    """What guest and scheduler add to a model that takes no time."""
    values, (guest,) = case.values(), box.guests(case)
    direct = partial(RUNTIMES[case.encoding](case.files, 1), values)
    pair = compare(guest.infer, direct, rounds=effort.rounds, calls=100)
    name = f"{case.name}: added by guest and scheduler"
    return at_most(name, pair.difference_s * 1e6, "us", 60)


def _single_stream(box: Rig, case: Case, effort: Effort) -> Iterator[Row]:
    """A lone caller: at the objective latency against the best direct call there is; at the
    default objective against a direct call of as many threads."""
    x = case.values()
    fast, usual = box.load(case, Objective.LATENCY), box.load(case)
    guest = box.guests(case, objective=Objective.LATENCY)[0]
    run_fast, run_usual = box.run(fast), box.run(usual)
    runs = {way: RUNTIMES[case.encoding](case.files, way.threads)
            for way in (ONE_THREAD, ALL_THREADS)}  # fmt: skip
    taken = alternate(
        {
            **{str(way): partial(run, x) for way, run in runs.items()},
            "scheduler": partial(run_fast, x),
            "guest": guest.infer,
            "usual": partial(run_usual, x),
        },
        effort.stream_queries,
    )
    best = min(map(str, runs), key=lambda way: statistics.median(taken[way]))
    same = str(Way(box.plan(usual).threads, 1, 1))
    start = f"{case.name} SingleStream p50"
    for system in ("scheduler", "guest"):
        name = f"{start}: {system} for latency : best direct ({best})"
        yield at_most(name, _ratio(taken[system], taken[best]), "x", 1.03)
    name = f"{start}: scheduler as is : direct ({same})"
    yield at_most(name, _ratio(taken["usual"], taken[same]), "x", 1.03)
    for system in ("scheduler", best):
        estimate_s = claimed_latency(taken[system], _CLAIMED) or 0.0
        yield Row(f"{case.name} SingleStream p90 claimed: {system}", estimate_s * 1e3, "ms")


def _multi_stream(box: Rig, case: Case, effort: Effort) -> Iterator[Row]:
    """Eight rows at once, against the best direct way of computing eight."""
    query = partial(box.run(box.load(case)), case.values(_ROWS))
    with ExitStack() as opened:
        direct = {
            str(way): opened.enter_context(_together(_direct_query(case, way))) for way in WAYS
        }
        trial = alternate(direct, 1)
        best = min(direct, key=lambda way: statistics.median(trial[way]))
        taken = alternate({"scheduler": query, best: direct[best]}, effort.stream_queries)
    percent = f"p{effort.multistream_percentile * 100:g}"
    name = f"{case.name} MultiStream({_ROWS})"
    yield Row(f"{name} p50: scheduler : best direct ({best})",
              _ratio(taken["scheduler"], taken[best]), "x")  # fmt: skip
    for system, latencies_s in taken.items():
        estimate_s = claimed_latency(latencies_s, effort.multistream_percentile) or 0.0
        yield Row(f"{name} {percent} claimed: {system}", estimate_s * 1e3, "ms")


def _direct_query(case: Case, way: Way) -> list[Call]:
    """Eight rows in one way: what each of its threads does."""
    x = case.values(way.rows)
    parallel = min(way.parallel, _ROWS // way.rows)
    runs = [RUNTIMES[case.encoding](case.files, way.threads) for _ in range(parallel)]
    times = _ROWS // way.rows // parallel
    return [partial(_repeat, partial(run, x), times) for run in runs]


def _repeat(call: Call, times: int) -> None:
    for _ in range(times):
        call()


@contextmanager
def _together(calls: Sequence[Call]) -> Iterator[Call]:
    """Make one call of several that run side by side, on threads that are kept."""
    with ThreadPoolExecutor(len(calls), thread_name_prefix="bench") as pool:
        yield calls[0] if len(calls) == 1 else lambda: list(pool.map(lambda call: call(), calls))


def alternate(systems: Mapping[str, Call], queries: int) -> dict[str, list[float]]:
    """Query the systems in turns, each as often. Returns: seconds, turn by turn in step."""
    taken: dict[str, list[float]] = {name: [] for name in systems}
    while any(len(latencies) < queries for latencies in taken.values()):
        for name, call in systems.items():
            settled_s = time.perf_counter() + _SETTLE_S
            while time.perf_counter() < settled_s:
                call()
            for _ in range(_TURN):
                started_s = time.perf_counter()
                call()
                taken[name].append(time.perf_counter() - started_s)
    return taken


def _ratio(first: Sequence[float], second: Sequence[float]) -> float:
    """The median of the ratios of turns: drift touches both sides of a turn alike."""
    turns = range(0, len(first), _TURN)
    return statistics.median(
        statistics.median(first[at : at + _TURN]) / statistics.median(second[at : at + _TURN])
        for at in turns
    )
