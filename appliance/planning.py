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

from appliance.stacking import has_rows
from wasi_nn.backend import Device, Graph, Objective
from wasi_nn.errors import Busy, NNError
from wasi_nn.tensor import Array

# A batch size must bring this much more than the one before, or it is not worth its latency.
MIN_GAIN = 1.03
# The default objective: as many rows as possible while one row takes at most about twice its best.
# Not 2.0: on two cores a model that spreads well takes just twice as long on one thread, and the
# choice would be the noise's.
LATENCY_FACTOR = 2.25
# More threads per run must bring this much more: between their runs all threads of a run are idle,
# which the timing of runs back to back does not see (5 to 10 % of Lite0's rows/s on two cores).
THREADS_GAIN = 1.05
# What a run takes besides, between it and the next on its thread: telling callers, deciding, in
# Python with cold caches. Runs back to back do not show it; a batch pays it once for all its rows.
BETWEEN_RUNS_S = 0.000_1
# Ways this close to the best are timed again; this machine's noise.
NEAR = 1.15
# One piece of timing, during which nobody else computes, and how often each way gets one.
PIECE_S = 0.020
ROUNDS = 3
SIZES = (1, 2, 4, 8, 16, 32)
# On a busy machine the pieces take longer; larger sizes are then left untried.
BUDGET_S = 3.0
# Of an output's largest value; quantised models move by a step where batches round otherwise.
ROW_TOLERANCE = 0.02
# Of one run: a batch above it would hold the lane for too long, whatever it brings.
MAX_BATCH_S = 0.250


@dataclass(frozen=True, slots=True)
class Measured:
    """One way of running a graph.

    threads: per run.   parallel: runs side by side.   rows: per run.   latency_s: of one run.
    rows_per_s: with what lies between two runs.
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

    @property
    def has_rows_apart(self) -> bool:
        """Whether a row's answer was seen to be the same whatever rows are beside it."""
        return any(figure.rows > 1 for figure in self.figures)

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
    most = max(figure.rows_per_s for figure in candidates)
    # Among near-equals fewer threads and more runs side by side: whoever comes need not wait.
    near = [figure for figure in candidates if figure.rows_per_s * THREADS_GAIN >= most]
    best = min(near, key=lambda f: (f.threads, -f.rows_per_s))
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
        The fewest threads first, each count apart: the pools of many threads go on spinning
        after a run, and would slow down whoever is timed next (ONNX Runtime's by 32 ms of CPU).
        What is chosen between is timed again, the sizes of a thread count in turns: a machine that
        was busy with something else for a moment, or faster, would decide for as long as the plan
        is kept (a plan in six cost 15 % of Lite0's rows/s on a shared machine).
        Raises: NNError if a graph does not take the sample; Busy if `alone` has no room.
        """
        figures: list[Measured] = []
        last_s = self._clock() + BUDGET_S
        for place, threads in enumerate(sorted(graphs), start=1):
            end_s = self._clock() + BUDGET_S * place / len(graphs)
            figures += self._measure_one(graphs[threads], threads, sample, end_s)
        rivals = _rivals(figures)
        # All or none: figures of one moment are not set beside those of another.
        if len(rivals) < 2 or self._clock() >= last_s:
            return figures
        again: dict[Measured, Measured] = {}
        # The most threads first, whose pools spin anyway.
        for threads in sorted(graphs, reverse=True):
            own = [rival for rival in rivals if rival.threads == threads]
            timed = self._time(graphs[threads], threads, [f.rows for f in own], sample)
            again |= zip(own, timed, strict=True)
        return [again.get(figure, figure) for figure in figures]

    def _measure_one(
        self, graph: Graph, threads: int, sample: Sequence[Array], end_s: float
    ) -> list[Measured]:
        figures: list[Measured] = []
        for rows in SIZES:
            batch = _rows_of(sample, rows)
            if not self._takes(graph, batch, rows) or (
                rows == 2 and not self._keeps_rows_apart(graph, sample)
            ):
                break
            (figure,) = self._time(graph, threads, [rows], sample)
            is_worth_growing = _is_worth_growing(figure, figures)
            figures.append(figure)
            if graph.batch_axis is None or not is_worth_growing or self._clock() >= end_s:
                break
        return figures

    def _time(
        self, graph: Graph, threads: int, sizes: Sequence[int], sample: Sequence[Array]
    ) -> list[Measured]:
        """Run batches of so many rows again and again, in turns, on as many threads as there are.

        Returns: a figure for each size.
        """
        parallel = self._parallel(threads, graph)
        batches = [_rows_of(sample, rows) for rows in sizes]
        taken_s: list[list[float]] = [[] for _ in sizes]
        for _ in range(ROUNDS):
            for batch, latencies_s in zip(batches, taken_s, strict=True):
                self._alone(functools.partial(self._piece, graph, batch, parallel, latencies_s))
        return [
            _figure(threads, parallel, rows, latencies_s)
            for rows, latencies_s in zip(sizes, taken_s, strict=True)
        ]

    def _takes(self, graph: Graph, batch: Sequence[Array], rows: int) -> bool:
        """Run once, so that no first run is timed. Returns: whether it can be run at this size."""
        try:
            outputs = self._run(graph, batch)
        except Busy:
            raise
        except NNError:
            if rows == 1:
                raise
            return False
        return rows == 1 or has_rows(outputs, rows)

    def _keeps_rows_apart(self, graph: Graph, sample: Sequence[Array]) -> bool:
        """Tell whether a row's answer is the same beside a stranger's row.

        A model may normalise over its batch; stacking requests would then mix owners' data.
        """
        alone = self._run(graph, sample)
        other = [np.concatenate([array, array == 0], dtype=array.dtype) for array in sample]
        beside = self._run(graph, other)
        return all(_is_alike(a, b[:1]) for a, b in zip(alone, beside, strict=True))

    def _run(self, graph: Graph, inputs: Sequence[Array]) -> list[Array]:
        outputs: list[Array] = []
        self._alone(lambda: outputs.extend(graph.run(inputs)))
        return outputs

    def _parallel(self, threads: int, graph: Graph) -> int:
        # Another device runs one thing at a time; its driver has threads of its own.
        return max(1, self._threads // threads) if graph.device is Device.CPU else 1

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
    rows_per_s = parallel * rows / (latency_s + BETWEEN_RUNS_S)
    return Measured(threads, parallel, rows, latency_s, rows_per_s)


def _rows_of(sample: Sequence[Array], rows: int) -> Sequence[Array]:
    """Repeat one row."""
    return [np.repeat(array, rows, axis=0) for array in sample] if rows > 1 else sample


def _rivals(figures: Sequence[Measured]) -> list[Measured]:
    """Find what is chosen between: each thread count's single row, and what is near its best."""
    most = {f.threads: 0.0 for f in figures}
    for figure in figures:
        most[figure.threads] = max(most[figure.threads], figure.rows_per_s)
    return [f for f in figures if f.rows == 1 or f.rows_per_s * NEAR >= most[f.threads]]


def _is_alike(one: Array, other: Array) -> bool:
    """Compare outputs up to what another order of sums changes."""
    wide = np.asarray(one, np.float64)
    scale = float(np.max(np.abs(wide), initial=0.0, where=np.isfinite(wide)))
    return np.allclose(
        wide, np.asarray(other, np.float64), rtol=ROW_TOLERANCE, atol=ROW_TOLERANCE * scale,
        equal_nan=True,
    )  # fmt: skip


def _is_worth_growing(figure: Measured, before: Sequence[Measured]) -> bool:
    """Tell whether twice the batch may bring more, and would not hold the lane for too long."""
    smaller = [f.rows_per_s for f in before if f.threads == figure.threads]
    gains = not smaller or figure.rows_per_s >= smaller[-1] * MIN_GAIN
    return gains and figure.latency_s * 2 <= MAX_BATCH_S
