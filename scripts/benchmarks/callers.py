"""Threads that call: again and again (closed loop), or when it is time (open loop).

An open loop's latency counts from when a query was due, not from when a thread came round to
send it: a system that is slow cannot thin out its own load (coordinated omission).
"""

import functools
import itertools
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from appliance.errors import Unavailable
from wasi_nn.errors import Busy

Call = Callable[[], object]
Result = TypeVar("Result")

# For the threads to be there before the first query is due.
_START_S = 0.05


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one query; seconds from the start of the run."""

    due_s: float
    asked_s: float
    answered_s: float
    is_refused: bool

    @property
    def latency_s(self) -> float:
        """From when it was due; infinite if it was refused."""
        return math.inf if self.is_refused else self.answered_s - self.due_s


def closed_loop(calls: Sequence[Call], duration_s: float, settle_s: float = 0.0) -> list[float]:
    """Call as fast as answers come, at least once, each call on a thread of its own.

    settle_s: of calling before it, not counted.
    Returns: the rate of each, calls per second. By each thread's own end: the last answer of one
    must not count as the idle time of the others.
    """
    barrier = threading.Barrier(len(calls))

    def work(call: Call) -> float:
        barrier.wait()
        settled_s = time.perf_counter() + settle_s
        while time.perf_counter() < settled_s:
            call()
        started_s = time.perf_counter()
        for count in itertools.count(1):
            call()
            elapsed_s = time.perf_counter() - started_s
            if elapsed_s >= duration_s:
                return count / elapsed_s
        raise AssertionError("a count does not end")

    return on_threads([functools.partial(work, call) for call in calls])


def open_loop(calls: Sequence[Call], arrivals_s: Sequence[float]) -> list[Answer]:
    """Send each query when it is due; a late one goes as soon as a caller is free.

    Returns: in the order of the arrivals. A refusal is an answer, any other failure is raised.
    """
    # next() of a count is one operation, which threads may do at once.
    turn = itertools.count()
    started_s = time.monotonic() + _START_S

    def work(call: Call) -> list[tuple[int, Answer]]:
        answers = []
        while (index := next(turn)) < len(arrivals_s):
            due_s = arrivals_s[index]
            time.sleep(max(0.0, started_s + due_s - time.monotonic()))
            asked_s = time.monotonic() - started_s
            is_refused = is_busy(call)
            answered_s = time.monotonic() - started_s
            answers.append((index, Answer(due_s, asked_s, answered_s, is_refused)))
        return answers

    done = on_threads([functools.partial(work, call) for call in calls])
    return [answer for _, answer in sorted(itertools.chain(*done), key=lambda pair: pair[0])]


def is_busy(call: Call) -> bool:
    """Call. Returns: whether it was refused for want of room."""
    try:
        call()
    except (Busy, Unavailable):
        return True
    return False


def on_threads(works: Sequence[Callable[[], Result]]) -> list[Result]:
    """Do all at once, each on its own thread; the first failure is raised."""
    with ThreadPoolExecutor(len(works), thread_name_prefix="bench") as pool:
        return [future.result() for future in [pool.submit(work) for work in works]]
