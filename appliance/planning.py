"""Timing a graph and choosing how to run it.

The choice (`choose`) is pure; `Bench` does the timing, in pieces, through whatever `alone` gives
the machine to one piece at a time.
"""

import functools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from wasi_nn.backend import Device, Graph, Objective
from wasi_nn.errors import Busy, NNError
from wasi_nn.tensor import Array

# A batch size must bring this much more than the one before, or it is not worth its latency.
MIN_GAIN = 1.03
# The default objective: as many rows as possible while one row takes at most twice its best.
LATENCY_FACTOR = 2.0
# One piece of timing, during which nobody else computes, and how often each way gets one.
PIECE_S = 0.020
ROUNDS = 3
SIZES = (1, 2, 4, 8, 16, 32)
# On a busy machine the pieces take longer; larger sizes are then left untried.
BUDGET_S = 3.0
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
        counts = (plan.threads, plan.parallel, plan.max_batch_rows)
        if any(type(count) is not int or count < 1 for count in counts):
            raise ValueError("plan: not a count")
        if plan.max_batch_rows > SIZES[-1]:
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
        generator.integers(
            0, 2, [1 if d is None else d for d in spec.shape], dtype=np.uint8
        ).astype(spec.type.storage)
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

    def measure(self, graphs: Mapping[int, Graph], sample: Sequence[Array]) -> list[Measured]:
        """Time the same model as loaded for several thread counts, with growing batches.

        graphs: by threads of one run; as many run side by side as the budget allows.
        They take turns at each size, so that whatever else the machine does meets them alike.
        Raises: NNError if a graph does not take the sample; Busy if `alone` has no room.
        """
        figures: list[Measured] = []
        growing = dict(graphs)
        end_s = self._clock() + BUDGET_S
        for rows in SIZES:
            batch = [np.repeat(array, rows, axis=0) for array in sample] if rows > 1 else sample
            growing = {t: graph for t, graph in growing.items() if self._takes(graph, batch, rows)}
            latencies = self._time(growing, batch)
            for threads, samples_s in latencies.items():
                graph = graphs[threads]
                figure = _figure(threads, self._parallel(threads, graph), rows, samples_s)
                if graph.batch_axis is None or not _is_worth_growing(figure, figures):
                    del growing[threads]
                figures.append(figure)
            if not growing or self._clock() >= end_s:
                break
        return figures

    def _takes(self, graph: Graph, batch: Sequence[Array], rows: int) -> bool:
        """Run once, so that no first run is timed. Returns: whether it can be run at this size."""
        outputs: list[Array] = []
        try:
            self._alone(lambda: outputs.extend(graph.run(batch)))
        except Busy:
            raise
        except NNError:
            if rows == 1:
                raise
            return False
        return rows == 1 or all(output.ndim and len(output) == rows for output in outputs)

    def _parallel(self, threads: int, graph: Graph) -> int:
        # Another device runs one thing at a time; its driver has threads of its own.
        return max(1, self._threads // threads) if graph.device is Device.CPU else 1

    def _time(self, graphs: Mapping[int, Graph], batch: Sequence[Array]) -> dict[int, list[float]]:
        """Collect the latencies of single runs, by threads."""
        latencies: dict[int, list[float]] = {threads: [] for threads in graphs}
        for _ in range(ROUNDS):
            for threads, graph in graphs.items():
                parallel = self._parallel(threads, graph)
                self._alone(
                    functools.partial(self._piece, graph, batch, parallel, latencies[threads])
                )
        return latencies

    def _piece(
        self, graph: Graph, batch: Sequence[Array], parallel: int, latencies_s: list[float]
    ) -> None:
        """Run for PIECE_S, on as many threads as runs go side by side."""
        end_s = self._clock() + PIECE_S
        failures: list[BaseException] = []

        def until_end() -> None:
            now = self._clock()
            while True:
                graph.run(batch)
                started_s, now = now, self._clock()
                latencies_s.append(now - started_s)
                if now >= end_s:
                    return

        def help_out() -> None:
            try:
                until_end()
            except BaseException as exc:
                failures.append(exc)

        helpers = [
            threading.Thread(target=help_out, name="plan-bench") for _ in range(parallel - 1)
        ]
        for helper in helpers:
            helper.start()
        try:
            until_end()
        finally:
            # The piece ends when nobody computes any more: then the machine is the others'.
            for helper in helpers:
                helper.join()
        if failures:
            raise failures[0]


def _figure(threads: int, parallel: int, rows: int, samples_s: Sequence[float]) -> Measured:
    """Sum up runs: the lower quartile, for whatever else runs on the machine only adds time."""
    latency_s = sorted(samples_s)[len(samples_s) // 4]
    return Measured(threads, parallel, rows, latency_s, parallel * rows / max(latency_s, 1e-9))


def _is_worth_growing(figure: Measured, before: Sequence[Measured]) -> bool:
    """Tell whether twice the batch may bring more, and would not hold the lane for too long."""
    smaller = [f.rows_per_s for f in before if f.threads == figure.threads]
    gains = not smaller or figure.rows_per_s >= smaller[-1] * MIN_GAIN
    return gains and figure.latency_s * 2 <= MAX_BATCH_S
