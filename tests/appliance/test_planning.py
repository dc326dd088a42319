import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from appliance.planning import MAX_BATCH_S, SIZES, Bench, Measured, Plan, choose, samples_of
from tests.appliance.lanerig import GateGraph, ThreadClock
from wasi_nn.backend import Device, Encoding, GraphOptions, Objective
from wasi_nn.backends.fake import FakeBackend, model
from wasi_nn.errors import Busy, RuntimeFailure
from wasi_nn.tensor import Array, TensorSpec, TensorType

LATENCY, THROUGHPUT = Objective.LATENCY, Objective.THROUGHPUT


def figure(threads: int, rows: int, latency_s: float, rows_per_s: float) -> Measured:
    return Measured(threads, 2 // threads, rows, latency_s, rows_per_s)


# -- choosing ------------------------------------------------------------------------------------

# A model that is faster with two threads, and gives more rows with one; batches help up to 4.
TWO_WAYS = [
    figure(1, 1, 0.015, 133.0),
    figure(1, 2, 0.024, 166.0),
    figure(1, 4, 0.040, 200.0),
    figure(1, 8, 0.079, 202.0),
    figure(2, 1, 0.010, 100.0),
    figure(2, 2, 0.016, 125.0),
    figure(2, 4, 0.031, 129.0),
]
FAST_ALONE = [figure(1, 1, 0.023, 300.0), figure(2, 1, 0.010, 100.0)]


@pytest.mark.parametrize(
    ("figures", "objective", "threads", "rows", "latency_s", "rows_per_s"),
    [
        (TWO_WAYS, THROUGHPUT, 1, 4, 0.015, 200.0),
        (TWO_WAYS, LATENCY, 2, 4, 0.010, 129.0),
        (FAST_ALONE, THROUGHPUT, 2, 1, 0.010, 100.0),
        (FAST_ALONE, LATENCY, 2, 1, 0.010, 100.0),
        ([figure(1, 1, 0.022, 300.0), figure(2, 1, 0.01, 100.0)], THROUGHPUT, 1, 1, 0.022, 300.0),
        ([figure(1, 1, 0.01, 100.0), figure(2, 1, 0.01, 100.0)], THROUGHPUT, 1, 1, 0.01, 100.0),
        ([figure(1, 1, 0.01, 100.0), figure(2, 1, 0.01, 100.0)], LATENCY, 1, 1, 0.01, 100.0),
        ([figure(1, 1, 0.01, 100.0), figure(2, 1, 0.01, 105.0)], THROUGHPUT, 1, 1, 0.01, 100.0),
        ([figure(1, 1, 0.01, 100.0), figure(2, 1, 0.01, 106.0)], THROUGHPUT, 2, 1, 0.01, 106.0),
        ([figure(1, 1, 0.01, 100.0), figure(1, 2, 0.03, 60.0)], THROUGHPUT, 1, 1, 0.01, 100.0),
        ([figure(1, 1, 0.01, 100.0), figure(1, 2, 0.019, 103.0)], THROUGHPUT, 1, 1, 0.01, 100.0),
        ([figure(1, 1, 0.01, 100.0), figure(1, 2, 0.019, 104.0)], THROUGHPUT, 1, 2, 0.01, 104.0),
    ],
    ids=[
        "most rows", "fastest row", "too slow alone", "fastest only", "about twice",
        "a tie takes fewer threads", "a tie in latency, too", "5 % more is no gain of threads",
        "6 % more is", "batches cost",
        "3 % more is not enough", "4 % more is",
    ],
)  # fmt: skip
def test_the_choice_follows_from_the_figures(
    figures: list[Measured],
    objective: Objective,
    threads: int,
    rows: int,
    latency_s: float,
    rows_per_s: float,
) -> None:
    """Literal figures give a literal plan, for both objectives."""
    plan = choose(figures, (1, 2), objective, "here")

    assert Plan(threads, 2 // threads, rows, latency_s, rows_per_s, "here", tuple(figures)) == plan


def test_without_figures_a_run_gets_all_threads() -> None:
    """What could not be measured runs alone, one row at a time."""
    assert Plan(4, 1, 1, 0.0, 0.0, "here", ()) == choose([], (1, 4), THROUGHPUT, "here")


# -- plans as JSON -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"threads": 0}, {"threads": 1.5}, {"threads": "2"}, {"threads": True}, {"parallel": 0},
        {"max_batch_rows": 0}, {"max_batch_rows": 64}, {"max_batch_rows": 2.0}, {"figures": None},
        {"figures": [1]}, {"figures": [{"threads": 1}]}, {"surprise": 1},
    ],
    ids=str,
)  # fmt: skip
def test_a_plan_from_a_file_is_valid_or_refused(change: dict[str, Any]) -> None:
    """Numbers out of range, of another type, too many or too few are no plan."""
    good: dict[str, Any] = {
        "threads": 1, "parallel": 2, "max_batch_rows": 4, "latency_s": 0.1, "rows_per_s": 9.0,
        "fingerprint": "here", "figures": [],
    }  # fmt: skip

    assert 4 == Plan.from_json(good).max_batch_rows
    with pytest.raises((ValueError, KeyError, TypeError)):
        Plan.from_json({**good, **change})


# -- timing --------------------------------------------------------------------------------------


class TimedGraph(GateGraph):
    """Takes a time that depends on its rows, by the clock; keeps the size of each run."""

    def __init__(self, clock: ThreadClock, seconds: Callable[[int], float], **rest: Any) -> None:
        super().__init__(**rest)
        self.sizes: list[int] = []
        self.most = 32
        self._clock = clock
        self._seconds = seconds

    def run(self, inputs: Any) -> list[Array]:
        (x,) = inputs
        self.sizes.append(len(x))
        if len(x) > self.most:
            raise RuntimeFailure(f"no more than {self.most} rows")
        self._clock.pass_s(self._seconds(len(x)))
        return [x]


class GpuGraph(TimedGraph):
    device = Device.GPU


ONE_ROW = [np.ones((1, 2), np.float32)]


def test_batches_grow_as_long_as_they_bring_more() -> None:
    """A fixed cost of 8 ms and 2 ms a row: each doubling brings more, the plan takes the last."""
    clock = ThreadClock()
    graph = TimedGraph(clock, lambda rows: 0.008 + 0.002 * rows)
    figures = Bench(1, clock=clock).measure({1: graph}, ONE_ROW)

    assert [1, 2, 4, 8, 16, 32] == [f.rows for f in figures]
    assert [0.010, 0.012, 0.016] == [pytest.approx(f.latency_s) for f in figures[:3]]
    # With a tenth of a millisecond between two runs.
    assert [99.01, 165.29, 248.45] == [pytest.approx(f.rows_per_s, rel=1e-4) for f in figures[:3]]


def test_what_lies_between_runs_speaks_for_batches() -> None:
    """Runs of 1 ms that gain nothing by themselves do by being half as many."""
    clock = ThreadClock()
    graph = TimedGraph(clock, lambda rows: 0.001 * rows)
    figures = Bench(1, clock=clock).measure({1: graph}, ONE_ROW)
    plan = choose(figures, [1], Objective.THROUGHPUT, "here")

    assert 2 == plan.max_batch_rows
    assert plan.has_rows_apart
    assert not choose(figures[:1], [1], Objective.THROUGHPUT, "here").has_rows_apart


def test_a_batch_that_brings_nothing_ends_the_search() -> None:
    """Without a fixed cost the second size is measured, and no further one."""
    clock = ThreadClock()
    figures = Bench(1, clock=clock).measure({1: TimedGraph(clock, lambda r: 0.01 * r)}, ONE_ROW)

    assert [1, 2] == [f.rows for f in figures]


def test_a_batch_that_would_hold_the_lane_too_long_is_not_tried() -> None:
    """The size after one that takes more than half the bound is left out."""
    clock = ThreadClock()
    graph = TimedGraph(clock, lambda rows: 0.02 + 0.001 * rows)
    slow = TimedGraph(clock, lambda rows: 0.6 * MAX_BATCH_S)
    figures = Bench(1, clock=clock).measure({1: graph, 2: slow}, ONE_ROW)

    assert list(SIZES) == [f.rows for f in figures if f.threads == 1]
    assert [1] == [f.rows for f in figures if f.threads == 2]


def test_a_graph_without_batch_axis_is_timed_with_one_row() -> None:
    """There is nothing else to choose."""
    clock = ThreadClock()
    graph = TimedGraph(clock, lambda rows: 0.01)
    graph.batch_axis = None
    figures = Bench(1, clock=clock).measure({1: graph}, ONE_ROW)

    assert [(1, pytest.approx(0.01))] == [(f.rows, f.latency_s) for f in figures]


def test_the_first_run_of_a_size_is_not_timed() -> None:
    """Runtimes prepare themselves for a new shape; that is not what a row costs."""
    clock = ThreadClock()
    seen: set[int] = set()

    def seconds(rows: int) -> float:
        is_first = rows not in seen
        seen.add(rows)
        return 0.4 if is_first else 0.008 + 0.002 * rows

    figures = Bench(1, clock=clock).measure({1: TimedGraph(clock, seconds)}, ONE_ROW)

    assert [1, 2, 4, 8, 16, 32] == [f.rows for f in figures]
    assert 0.2 > max(f.latency_s for f in figures)


def test_the_search_ends_with_its_budget() -> None:
    """A guest waits for it: on a machine that is busy, larger sizes are left untried."""
    clock = ThreadClock()
    graph = TimedGraph(clock, lambda rows: 0.12)
    figures = Bench(1, clock=clock).measure({1: graph, 2: graph}, ONE_ROW)

    assert [1, 2, 4] == [f.rows for f in figures if f.threads == 1]


def test_a_slow_neighbour_does_not_count() -> None:
    """The lower quartile stands: every second run takes three times as long."""
    clock = ThreadClock()
    times = iter([0.001, 0.003] * 1000)
    graph = TimedGraph(clock, lambda rows: next(times))
    graph.batch_axis = None
    (one,) = Bench(1, clock=clock).measure({1: graph}, ONE_ROW)

    assert 0.001 == pytest.approx(one.latency_s)


def test_a_graph_that_refuses_batches_is_measured_without() -> None:
    """The axis looks free, but a larger batch is refused: the figures so far stand."""
    clock = ThreadClock()
    graph = TimedGraph(clock, lambda rows: 0.008 + 0.002 * rows)
    graph.most = 2
    figures = Bench(1, clock=clock).measure({1: graph}, ONE_ROW)

    assert [1, 2] == [f.rows for f in figures]


class FoldingGraph(TimedGraph):
    def run(self, inputs: Any) -> list[Array]:
        return [output[:1] for output in super().run(inputs)]


def test_a_graph_that_folds_its_batch_is_measured_without() -> None:
    """Rows that do not come out one for one cannot be told apart."""
    clock = ThreadClock()
    graph = FoldingGraph(clock, lambda rows: 0.01)

    assert [1] == [f.rows for f in Bench(1, clock=clock).measure({1: graph}, ONE_ROW)]


class MixingGraph(TimedGraph):
    def run(self, inputs: Any) -> list[Array]:
        return [output - inputs[0].mean() for output in super().run(inputs)]


def test_a_graph_that_mixes_its_rows_is_measured_without() -> None:
    """An answer that depends on a stranger's row in the batch is nobody's."""
    clock = ThreadClock()
    graph = MixingGraph(clock, lambda rows: 0.01)

    assert [1] == [f.rows for f in Bench(1, clock=clock).measure({1: graph}, ONE_ROW)]


def test_a_machine_that_was_busy_for_a_moment_does_not_decide() -> None:
    """What is chosen between is timed again later: here all was slow while one thread was timed."""
    clock = ThreadClock()
    # One to begin with, and 20 ms in each of three rounds.
    slow_runs = 1 + 3 * 4
    narrow = TimedGraph(clock, lambda rows: 0.006 if len(narrow.sizes) <= slow_runs else 0.002)
    wide = TimedGraph(clock, lambda rows: 0.003)
    narrow.batch_axis = wide.batch_axis = None
    figures = Bench(1, clock=clock).measure({1: narrow, 2: wide}, ONE_ROW)

    assert [0.002, 0.003] == [pytest.approx(figure.latency_s) for figure in figures]
    assert 1 == choose(figures, (1, 2), THROUGHPUT, "here").threads


def test_a_slow_model_is_not_timed_twice() -> None:
    """Its guest waits; the budget is for all there is."""
    clock = ThreadClock()
    narrow, wide = (TimedGraph(clock, lambda rows: 0.6) for _ in range(2))
    narrow.batch_axis = wide.batch_axis = None
    Bench(1, clock=clock).measure({1: narrow, 2: wide}, ONE_ROW)

    # One to begin with, and one in each round.
    assert [4, 4] == [len(narrow.sizes), len(wide.sizes)]


def test_as_many_run_side_by_side_as_the_budget_allows() -> None:
    """One thread each: four at once; four threads: one; another device: one."""
    clock = ThreadClock()
    threads: list[set[int]] = [set(), set(), set()]

    def noting(index: int) -> Callable[[int], float]:
        return lambda rows: threads[index].add(threading.get_ident()) or 0.05

    narrow, wide = TimedGraph(clock, noting(0)), TimedGraph(clock, noting(1))
    gpu = GpuGraph(clock, noting(2))
    bench = Bench(4, clock=clock)
    figures = bench.measure({1: narrow, 4: wide}, ONE_ROW) + bench.measure({1: gpu}, ONE_ROW)

    assert [4, 1, 1] == [f.parallel for f in figures if f.rows == 1]
    assert [1, 1] == [len(threads[1]), len(threads[2])]
    assert len(threads[0]) > 1


def test_every_piece_is_done_alone() -> None:
    """Nothing runs outside what gives the machine to one piece at a time."""
    clock = ThreadClock()
    is_alone = [False]
    outside: list[int] = []

    def alone(piece: Callable[[], None]) -> None:
        is_alone[0] = True
        piece()
        is_alone[0] = False

    def seconds(rows: int) -> float:
        if not is_alone[0]:
            outside.append(rows)
        return 0.01

    Bench(2, alone, clock).measure({1: TimedGraph(clock, seconds)}, ONE_ROW)

    assert [] == outside


def test_a_helper_that_fails_fails_the_measurement() -> None:
    """No figure is made of half the runs, and no thread dies with a traceback."""
    clock = ThreadClock()
    main = threading.get_ident()

    def seconds(rows: int) -> float:
        if threading.get_ident() != main:
            raise RuntimeFailure("not twice at once")
        return 0.01

    with pytest.raises(RuntimeFailure, match="not twice at once"):
        Bench(2, clock=clock).measure({1: TimedGraph(clock, seconds)}, ONE_ROW)
    assert not [t for t in threading.enumerate() if t.name == "plan-bench"]


def test_a_box_without_room_ends_the_measurement() -> None:
    """Busy says nothing about the graph, at whatever size it comes."""
    clock = ThreadClock()
    pieces = iter(range(100))

    def alone(piece: Callable[[], None]) -> None:
        if next(pieces) == 5:
            raise Busy("full")
        piece()

    graph = TimedGraph(clock, lambda rows: 0.008 + 0.002 * rows)
    with pytest.raises(Busy, match="full"):
        Bench(1, alone, clock).measure({1: graph}, ONE_ROW)


def test_samples_fit_every_input() -> None:
    """One row of each type and shape, the same every time; what the graph then takes."""
    specs = [
        TensorSpec("image", TensorType.U8, (None, 3, None)),
        TensorSpec("scale", TensorType.F16, ()),
        TensorSpec("mask", TensorType.BOOL, (2, 2)),
    ]
    content = model(specs, [TensorSpec("y", TensorType.F32, (1, 1))], "rows")
    graph = FakeBackend().load([content], Encoding.ONNX, GraphOptions())
    samples, again = samples_of(graph), samples_of(graph)

    assert [(1, 3, 1), (), (2, 2)] == [sample.shape for sample in samples]
    assert [spec.type.storage for spec in specs] == [sample.dtype for sample in samples]
    assert all(np.array_equal(a, b) for a, b in zip(samples, again, strict=True))
