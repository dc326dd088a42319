"""Cameras at half, at all and at twice of what the box can compute.

A camera is a latest-wins slot filled by a clock, and a caller who takes what is in it: a frame
that nobody came for in time is replaced, so the box is late by about one frame, never by a queue.
"""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from scripts.benchmarks.callers import Call, closed_loop, on_threads
from scripts.benchmarks.cases import LITE0
from scripts.benchmarks.effort import Effort
from scripts.benchmarks.estimates import plain_percentile
from scripts.benchmarks.offline import box_calls
from scripts.benchmarks.report import Curve, Finding, Row, at_least, at_most
from scripts.benchmarks.rig import rig
from scripts.benchmarks.schedules import ticks

_CAMERAS = 4
_LOADS = (0.5, 1.0, 2.0)


class Slot:
    """Room for one frame, the latest; a frame is the time when it was captured."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._captured_s: float | None = None
        self._is_over = False

    def put(self, captured_s: float) -> None:
        with self._changed:
            self._captured_s = captured_s
            self._changed.notify()

    def end(self) -> None:
        with self._changed:
            self._is_over = True
            self._changed.notify()

    def take(self) -> float | None:
        """Wait for a frame; None after the last."""
        with self._changed:
            self._changed.wait_for(lambda: self._captured_s is not None or self._is_over)
            captured_s, self._captured_s = self._captured_s, None
            return captured_s


@dataclass(frozen=True, slots=True)
class Seen:
    """What became of one camera's frames. latencies_s: from capture to prediction."""

    frames: int
    latencies_s: tuple[float, ...]


def measure(effort: Effort) -> Iterator[Finding]:
    """Show frames to Lite0 at each load; what is dropped, how late, and whether evenly."""
    case = LITE0[0]
    with rig() as box:
        graph, x = box.load(case), case.values()
        capacity = sum(closed_loop(box_calls(box, case), 2 * effort.piece_s))
        calls: list[Call] = [
            partial(box.run(graph, f"camera-{number}"), x) for number in range(_CAMERAS)
        ]
        points = []
        for load in _LOADS:
            seen = film(calls, load * capacity / _CAMERAS, effort.camera_s)
            latencies_ms = [taken * 1e3 for one in seen for taken in one.latencies_s]
            points.append((load * capacity, plain_percentile(latencies_ms, 0.99)))
            yield from _rows(load, seen, latencies_ms)
        yield Curve("cameras", f"{_CAMERAS} cameras, p99", tuple(points))


def _rows(load: float, seen: list[Seen], latencies_ms: list[float]) -> Iterator[Row]:
    name = f"{_CAMERAS} cameras at {load:g} x capacity"
    for percentile in (0.50, 0.99):
        yield Row(f"{name}: capture to prediction p{percentile * 100:g}",
                  plain_percentile(latencies_ms, percentile), "ms")  # fmt: skip
    counts = [len(one.latencies_s) for one in seen]
    dropped = 100 * (1 - sum(counts) / sum(one.frames for one in seen))
    what = f"{name}: dropped"
    yield at_most(what, dropped, "%", 1) if load < 1 else Row(what, dropped, "%")
    yield at_least(f"{name}: least seen : most seen", min(counts) / max(counts), "x", 0.9)


def film(calls: list[Call], frames_per_s: float, duration_s: float) -> list[Seen]:
    """Run cameras, one for each call, evenly out of step with each other."""
    slots = [Slot() for _ in calls]
    started_s = time.monotonic() + 0.1
    frames = [0] * len(calls)

    def capture(number: int) -> None:
        for due_s in ticks(frames_per_s, duration_s, number / len(calls)):
            time.sleep(max(0.0, started_s + due_s - time.monotonic()))
            slots[number].put(started_s + due_s)
            frames[number] += 1
        slots[number].end()

    def watch(number: int) -> list[float]:
        latencies_s = []
        while (captured_s := slots[number].take()) is not None:
            calls[number]()
            latencies_s.append(time.monotonic() - captured_s)
        return latencies_s

    numbers = range(len(calls))
    captures = [threading.Thread(target=capture, args=(n,), name="bench-camera") for n in numbers]
    for thread in captures:
        thread.start()
    taken = on_threads([partial(watch, n) for n in numbers])
    for thread in captures:
        thread.join()
    return [Seen(f, tuple(t)) for f, t in zip(frames, taken, strict=True)]
