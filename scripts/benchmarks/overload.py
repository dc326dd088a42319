"""Three times as many queries as the box can compute, and one owner who floods it."""

import os
import threading
import time
from bisect import bisect_right
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from appliance.requests import BatchPolicy
from scripts.benchmarks.callers import Answer, Call, closed_loop, is_busy, on_threads, open_loop
from scripts.benchmarks.cases import LITE0
from scripts.benchmarks.effort import Effort
from scripts.benchmarks.estimates import plain_percentile
from scripts.benchmarks.offline import box_calls
from scripts.benchmarks.report import Row, at_least, at_most
from scripts.benchmarks.rig import Rig, rig
from scripts.benchmarks.schedules import poisson, ticks

_OVERLOAD = 3
_QUEUED = BatchPolicy().max_queue_size
# Callers beyond those that wait in the queue or compute: they meet a full one.
_SPARE_CALLERS = 48
# For a thread that waits for a core before it is in the queue, and again after.
_SLACK = 1.1
_REFUSED_WITHIN_MS = 5
# Python's allocator and the runtimes' arenas come and go by a few megabytes.
_FLAT_MB = 8
_POLITE_SHARE = 0.4  # of the capacity, below the half that is its share
_POLITE_KEEPS = 0.9
# Threads of the flooding owner: the queue is full of it. After a refusal each waits, for the box
# computes in this process: threads that only spin would be an attack on Python, not on the queue.
_FLOODERS = _QUEUED + 16
_BACKOFF_S = 0.010
_MB = 1e6


def measure(effort: Effort) -> Iterator[Row]:
    """Overload Lite0, then share it with a flood."""
    with rig() as box:
        capacity = sum(closed_loop(box_calls(box, LITE0[0]), 2 * effort.piece_s))
        yield from _overload(box, capacity, effort.overload_s)
        yield from _flood(box, capacity, effort.overload_s)


def _overload(box: Rig, capacity: float, duration_s: float) -> Iterator[Row]:
    run, x = box.run(box.load(LITE0[0])), LITE0[0].values()
    calls: list[Call] = [partial(run, x)] * (_QUEUED + _SPARE_CALLERS)
    # As long as the run that counts: the records of 20,000 queries take 6 MB, which are ours.
    open_loop(calls, poisson(_OVERLOAD * capacity, duration_s))
    before_mb = resident_mb()
    answers = open_loop(calls, poisson(_OVERLOAD * capacity, duration_s))
    grown_mb = resident_mb() - before_mb
    accepted = [answer for answer in answers if not answer.is_refused]
    refused = [answer for answer in answers if answer.is_refused]
    name = f"{_OVERLOAD} x overload for {duration_s:g} s"
    yield Row(f"{name}: refused", 100 * len(refused) / len(answers), "% of queries")
    yield from _accepted(box, name, accepted)
    refusals_ms = [1e3 * (answer.answered_s - answer.asked_s) for answer in refused]
    p99_ms = plain_percentile(refusals_ms, 0.99) if refused else 0.0
    yield at_most(f"{name}: refusals answered p99", p99_ms, "ms", _REFUSED_WITHIN_MS)
    yield at_most(f"{name}: RSS grown", grown_mb, "MB", _FLAT_MB)


def _accepted(box: Rig, name: str, accepted: list[Answer]) -> Iterator[Row]:
    """Hold the latency against a full queue and what is under way before and with it.

    In service times, which are the answers given meanwhile: in milliseconds the bound would move
    with the speed of a shared machine.
    """
    plan = box.plan(box.load(LITE0[0]))
    bound = _SLACK * (_QUEUED + 2 * plan.parallel * plan.max_batch_rows)
    p99 = plain_percentile(meanwhile(accepted), 0.99)
    p99_ms = 1e3 * plain_percentile([answer.latency_s for answer in accepted], 0.99)
    yield at_most(f"{name}: accepted p99", p99, "service times", bound)
    yield Row(f"{name}: accepted p99", p99_ms, "ms")


def meanwhile(answers: list[Answer]) -> list[int]:
    """Count for each query the answers that were given from when it was asked, its own included."""
    given_s = sorted(answer.answered_s for answer in answers)
    return [
        bisect_right(given_s, answer.answered_s) - bisect_right(given_s, answer.asked_s)
        for answer in answers
    ]


def _flood(box: Rig, capacity: float, duration_s: float) -> Iterator[Row]:
    """One owner calls from more threads than the queue has places, one asks for its share."""
    graph, x = box.load(LITE0[0]), LITE0[0].values()
    rude, polite = (partial(box.run(graph, owner), x) for owner in ("flood", "polite"))
    is_over = threading.Event()

    def flood() -> int:
        count = 0
        while not is_over.is_set():
            if is_busy(rude):
                time.sleep(_BACKOFF_S)
            else:
                count += 1
        return count

    def ask() -> list[Answer]:
        try:
            due = list(ticks(_POLITE_SHARE * capacity, duration_s))
            return open_loop([polite] * _SPARE_CALLERS, due)
        finally:
            is_over.set()

    with ThreadPoolExecutor(1) as asking:
        asked = asking.submit(ask)
        flooded = sum(on_threads([flood] * _FLOODERS))
        answers = asked.result()
    elapsed_s = max(answer.answered_s for answer in answers)
    served = [answer for answer in answers if not answer.is_refused]
    kept = len(served) / elapsed_s / (_POLITE_SHARE * capacity)
    name = f"polite owner at {_POLITE_SHARE:g} x capacity beside a flood"
    yield at_least(f"{name}: keeps", kept, "x of what it asks", _POLITE_KEEPS)
    p99_ms = 1e3 * plain_percentile([answer.latency_s for answer in served], 0.99)
    yield Row(f"{name}: p99", p99_ms, "ms")
    yield Row(f"{name}: the flood gets", flooded / elapsed_s / capacity, "x of capacity")


def resident_mb() -> float:
    """Read how much memory this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / _MB
