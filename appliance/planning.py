"""Timing a graph and choosing how to run it.

The choice (`choose`) is pure; `Bench` does the timing, in pieces, through whatever `alone` gives
the machine to one piece at a time.
"""

import itertools
import math
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from wasi_nn.backend import Graph, Objective
from wasi_nn.tensor import Array

# A batch size must bring this much more than the one before, or it is not worth its latency.
MIN_GAIN = 1.03
# The default objective: as many rows as possible while one row takes at most twice its best.
LATENCY_FACTOR = 2.0
# One piece of timing, during which nobody else computes.
PIECE_S = 0.030
MAX_ROWS = 32
# Of one run: a batch above it would hold the lane for too long, whatever it brings.
MAX_BATCH_S = 0.250


@dataclass(frozen=True, slots=True)
class Measured:
    """One way of running a graph.

    threads: per run.   parallel: runs side by side.   rows: per run.   latency_s: of one run.
    """

    threads: int
    parallel: int
    rows: int
    latency_s: float
    rows_per_s: float


@dataclass(frozen=True, slots=True)
class Plan:
    """The way chosen.

    latency_s: of one row on a busy lane.   rows_per_s: with full batches.   figures: everything
    that was measured.   fingerprint: the machine and runtime it holds for.
    """

    threads: int
    parallel: int
    max_batch_rows: int
    latency_s: float
    rows_per_s: float
    fingerprint: str
    figures: tuple[Measured, ...] = ()

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """Read what `dataclasses.asdict` wrote. Raises: ValueError, KeyError or TypeError."""
        plan = cls(**{**value, "figures": tuple(Measured(**f) for f in value["figures"])})
        if plan.threads < 1 or plan.parallel < 1 or not 1 <= plan.max_batch_rows <= MAX_ROWS:
            raise ValueError("plan: out of range")
        return plan


def choose(
    figures: Sequence[Measured], counts: Sequence[int], objective: Objective, fingerprint: str
) -> Plan:
    """Choose the best of what was measured.

    counts: thread counts that a graph is loaded for; the largest is taken if nothing is measured.
    Latency: the fastest single row. Throughput: the most rows/s among the thread counts whose
    single row, on a busy lane, is within LATENCY_FACTOR of the best.
    """
    singles = [figure for figure in figures if figure.rows == 1]
    if not singles:
        return Plan(max(counts), 1, 1, 0.0, 0.0, fingerprint, tuple(figures))
    best_s = min(figure.latency_s for figure in singles)
    if objective is Objective.LATENCY:
        allowed = {min(singles, key=lambda f: f.latency_s).threads}
    else:
        allowed = {f.threads for f in singles if f.latency_s <= LATENCY_FACTOR * best_s}
    candidates = [figure for figure in figures if figure.threads in allowed]
    best = max(candidates, key=lambda f: f.rows_per_s)
    # The smallest batch that is nearly as good: it answers sooner.
    good = [
        figure
        for figure in candidates
        if figure.threads == best.threads and figure.rows_per_s * MIN_GAIN >= best.rows_per_s
    ]
    chosen = min(good, key=lambda f: f.rows)
    single = next(f for f in singles if f.threads == chosen.threads)
    return Plan(
        chosen.threads, chosen.parallel, chosen.rows, single.latency_s, chosen.rows_per_s,
        fingerprint, tuple(figures),
    )  # fmt: skip


def samples_of(graph: Graph) -> list[Array]:
    """Invent one row of inputs: small numbers, free dimensions as 1."""
    generator = np.random.default_rng(0)
    return [
        generator.integers(0, 2, [1 if d is None else d for d in spec.shape]).astype(
            spec.type.storage
        )
        for spec in graph.inputs
    ]


Piece = Callable[[], None]


class Bench:
    """Times graphs.

    threads: the budget of the device.   alone: runs a piece of work while nobody else computes.
    clock: seconds that only grow.
    """

    def __init__(
        self, threads: int, alone: Callable[[Piece], None] = lambda piece: piece(),
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:  # fmt: skip
        self._threads = threads
        self._alone = alone
        self._clock = clock

    def measure(self, graph: Graph, threads: int, sample: Sequence[Array]) -> list[Measured]:
        """Time a graph with growing batches, as many runs side by side as the budget allows.

        Raises: NNError if the graph does not take the sample.
        """
        parallel = max(1, self._threads // threads)
        self._alone(lambda: _discard(graph.run(sample)))
        figures: list[Measured] = []
        for rows in _sizes(graph):
            batch = [np.repeat(array, rows, axis=0) for array in sample] if rows > 1 else sample
            figure = self._time(graph, threads, parallel, rows, batch)
            figures.append(figure)
            if figure.latency_s * 2 > MAX_BATCH_S:
                break
            if len(figures) > 1 and figure.rows_per_s < figures[-2].rows_per_s * MIN_GAIN:
                break
        return figures

    def _time(
        self, graph: Graph, threads: int, parallel: int, rows: int, batch: Sequence[Array]
    ) -> Measured:
        latencies: list[float] = []

        def until(end_s: float) -> None:
            for _ in itertools.count():
                started_s = self._clock()
                _discard(graph.run(batch))
                latencies.append(self._clock() - started_s)
                if self._clock() >= end_s:
                    return

        elapsed_s = 0.0

        def piece() -> None:
            nonlocal elapsed_s
            started_s = self._clock()
            end_s = started_s + PIECE_S
            helpers = [
                threading.Thread(target=until, args=(end_s,), name="plan-bench")
                for _ in range(parallel - 1)
            ]
            for helper in helpers:
                helper.start()
            until(end_s)
            for helper in helpers:
                helper.join()
            elapsed_s += self._clock() - started_s

        for _ in range(2):
            self._alone(piece)
        rows_per_s = len(latencies) * rows / max(elapsed_s, 1e-9)
        return Measured(threads, parallel, rows, statistics.median(latencies), rows_per_s)


def _sizes(graph: Graph) -> list[int]:
    if graph.batch_axis is None:
        return [1]
    return [2**power for power in range(int(math.log2(MAX_ROWS)) + 1)]


def _discard(_outputs: list[Array]) -> None:
    """Say that a result is not wanted."""
