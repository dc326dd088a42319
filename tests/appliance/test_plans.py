import json
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from appliance.calls import GraphPlan
from appliance.planning import Bench, Plan
from appliance.plans import PlanBook, fingerprint_of, processor
from appliance.requests import BatchPolicy, TimeoutAction
from appliance.settings import ModelScheduling, SchedulerSettings
from tests.appliance.lanerig import ThreadClock
from wasi_nn.backend import (
    Backend,
    Buffer,
    Device,
    Encoding,
    Graph,
    GraphOptions,
    Objective,
)
from wasi_nn.backends.fake import FakeBackend, model
from wasi_nn.errors import Busy, NNError, RuntimeFailure
from wasi_nn.registry import Loader, Origin, Registry
from wasi_nn.tensor import TensorSpec, TensorType

X = TensorSpec("x", TensorType.F32, (None, 2))
FIXED = TensorSpec("x", TensorType.F32, (1, 2))
# A fixed cost and one for each row: a batch of 32 pays, whatever the threads.
MODEL = model([X], [X], "scale", delay_s=0.008, delay_per_row_s=0.0001)


class Box:
    """A backend whose runs take their time by a clock, and books over one folder."""

    def __init__(self, folder: Path, threads: int = 2, **backend: Any) -> None:
        self.clock = ThreadClock()
        self.pieces = 0
        self.folder = folder / "plans"
        self.threads = threads
        self.backend = Recording(self.clock.pass_s, **backend)
        self.book = self.open()

    def open(
        self, alone: Callable[[Callable[[], None]], None] | None = None, **pinned: Any
    ) -> PlanBook:
        """Start again over the same folder. pinned: what the operator says about the model."""
        bench = Bench(self.threads, alone or self.alone, self.clock)
        settings = SchedulerSettings(models={"tiny": ModelScheduling(**pinned)})
        return PlanBook(self.folder, self.threads, bench, settings)

    def alone(self, piece: Callable[[], None]) -> None:
        self.pieces += 1
        piece()

    def load(self, content: bytes = MODEL, **options: Any) -> Graph:
        return self.book(
            self.backend, [content], Encoding.ONNX, GraphOptions(**options),
            Origin("blake3:cafe", "tiny:2"),
        )  # fmt: skip

    def plan(self, graph: Graph) -> Plan:
        plan = self.book.find(graph)
        assert plan is not None
        return plan

    @property
    def file(self) -> Path:
        (file,) = self.folder.iterdir()
        return file


class Recording(FakeBackend):
    """Keeps the thread counts of its loads; fails the load of some."""

    def __init__(self, sleep: Callable[[float], None], **rest: Any) -> None:
        super().__init__(sleep=sleep, **rest)
        self.asked: list[int | None] = []
        self.failing: set[int] = set()
        self.error: BaseException = RuntimeFailure("damaged")

    def load(self, builders: Sequence[Buffer], encoding: Encoding, options: GraphOptions) -> Graph:
        self.asked.append(options.num_threads)
        if options.num_threads in self.failing:
            raise self.error
        return super().load(builders, encoding, options)


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def test_the_first_load_measures_and_keeps_the_plan(box: Box) -> None:
    """The model is loaded in each way, the best stays open, and the plan is on disk."""
    graph = box.load()
    plan = box.plan(graph)

    assert [1, 2] == box.backend.asked
    assert 1 == box.backend.open_graphs
    assert (1, 2, 32) == (plan.threads, plan.parallel, plan.max_batch_rows)
    assert plan == Plan.from_json(json.loads(box.file.read_bytes()))
    assert fingerprint_of(box.backend, 2) == plan.fingerprint
    assert [8.0] == graph.run([np.full((1, 2), 8, np.float32)])[0][0, :1].tolist()


def test_the_second_load_reads_it(box: Box) -> None:
    """Nothing is measured again, and the model is loaded once, as planned."""
    first = box.plan(box.load())
    box.book, box.pieces, box.backend.asked = box.open(), 0, []
    second = box.plan(box.load())

    assert (first, 0, [1]) == (second, box.pieces, box.backend.asked)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"x"',
        b"\xff",
        b'{"threads": 1}',
        b"9" * 70_000,
        b"[" * 60_000,
        b'{"figures": [], "threads": 1e999}',
    ],
    ids=lambda c: repr(c[:16]),
)
def test_a_damaged_plan_is_measured_again(box: Box, content: bytes) -> None:
    """And replaced by a good one."""
    plan = box.plan(box.load())
    box.file.write_bytes(content)
    box.book, box.pieces = box.open(), 0
    again = box.plan(box.load())

    assert box.pieces > 0
    assert plan.max_batch_rows == again.max_batch_rows
    assert again == Plan.from_json(json.loads(box.file.read_bytes()))


def test_a_plan_of_another_machine_is_measured_again(box: Box) -> None:
    """The fingerprint names processor, budget and runtime; any other is a stranger's."""
    box.load()
    content = json.loads(box.file.read_bytes())
    box.file.write_text(json.dumps({**content, "fingerprint": "a box with 64 cores"}))
    box.book, box.pieces = box.open(), 0
    plan = box.plan(box.load())

    assert box.pieces > 0
    assert fingerprint_of(box.backend, 2) == plan.fingerprint


def test_a_fingerprint_tells_machines_apart() -> None:
    """Another budget or runtime is another fingerprint; the processor has a name."""
    fake, other = FakeBackend(), FakeBackend(name="other")

    assert fingerprint_of(fake, 2) != fingerprint_of(fake, 4)
    assert fingerprint_of(fake, 2) != fingerprint_of(other, 2)
    assert processor()


def test_a_full_disk_costs_only_the_next_measurement(
    box: Box, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The graph is loaded as measured, and a warning is logged."""
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left")))
    plan = box.plan(box.load())

    assert 32 == plan.max_batch_rows
    assert ["WARNING"] == [r.levelname for r in caplog.records if "not kept" in r.message]


@pytest.mark.parametrize("num_threads", [1, 2, 3])
def test_pinned_threads_are_kept(box: Box, num_threads: int) -> None:
    """An operator's choice is loaded and planned; only the batch is measured."""
    graph = box.load(num_threads=num_threads)

    assert [num_threads] == box.backend.asked
    assert num_threads == box.plan(graph).threads
    assert num_threads == box.book.plan_of(graph).threads


def test_each_choice_has_a_plan_of_its_own(box: Box) -> None:
    """Pinned threads and objectives are kept apart."""
    box.load()
    box.load(num_threads=1)
    box.load(objective=Objective.LATENCY)

    assert 3 == len(list(box.folder.iterdir()))


def test_a_graph_that_cannot_be_measured_runs_unplanned(box: Box) -> None:
    """Invented inputs need not make sense to it: it takes the whole lane, row by row."""
    content = model([X], [X], "scale", fail_on_value=1.0)
    graph = box.load(content)

    assert (2, 1) == (box.plan(graph).threads, box.plan(graph).max_batch_rows)
    assert 1 == box.backend.open_graphs
    assert GraphPlan(threads=2) == box.book.plan_of(graph)


def test_a_box_too_busy_to_measure_does_so_another_time(box: Box) -> None:
    """The graph is usable at once; no file says that it cannot be measured."""

    def refuse(_: Callable[[], None]) -> None:
        raise Busy("full")

    box.book = box.open(refuse)
    hurried = box.plan(box.load())
    kept = box.folder.exists() and list(box.folder.iterdir())
    box.book = box.open()

    assert (1, not kept) == (hurried.max_batch_rows, True)
    assert 32 == box.plan(box.load()).max_batch_rows


def test_without_a_batch_axis_only_threads_are_chosen(box: Box) -> None:
    """The batch stays at one row."""
    graph = box.load(model([FIXED], [FIXED], "scale", delay_s=0.01))

    assert 1 == box.plan(graph).max_batch_rows
    assert {1} == {figure.rows for figure in box.plan(graph).figures}


# -- failing loads -------------------------------------------------------------------------------


def test_a_failing_load_leaves_nothing(box: Box) -> None:
    """Its own error comes out; no graph stays open, no plan is written."""
    with pytest.raises(NNError):
        box.load(b"no model")

    assert 0 == box.backend.open_graphs
    assert not box.folder.exists()


def test_a_way_that_does_not_load_is_left_out(box: Box) -> None:
    """The others are what there is; the model runs unmeasured."""
    box.backend.failing = {2}
    graph = box.load()

    assert 1 == box.plan(graph).threads
    assert 1 == box.backend.open_graphs


def test_an_unexpected_failure_closes_what_was_loaded(box: Box) -> None:
    """A bug in a backend leaks no graph."""
    box.backend.failing, box.backend.error = {2}, ValueError("bug")

    with pytest.raises(ValueError, match="bug"):
        box.load()
    assert 0 == box.backend.open_graphs


def test_a_failing_load_as_planned_is_an_error(box: Box) -> None:
    """A plan on disk does not hide that the model is damaged now."""
    box.load()
    box.book = box.open()
    box.backend.failing = {1}

    with pytest.raises(RuntimeFailure, match="damaged"):
        box.load()


# -- other devices -------------------------------------------------------------------------------


def test_another_device_runs_one_at_a_time(tmp_path: Path) -> None:
    """Its driver has threads of its own: one load, one run, only the batch is measured."""
    box = Box(tmp_path, devices=(Device.CPU, Device.GPU))
    graph = box.load(device=Device.GPU)
    plan = box.plan(graph)

    assert (Device.GPU, 1) == (graph.device, len(box.backend.asked))
    assert (1, 1, 32) == (plan.threads, plan.parallel, plan.max_batch_rows)


def test_an_absent_device_that_falls_back_is_planned_for_the_processor(tmp_path: Path) -> None:
    """Where it really computes, its threads count against the budget."""
    box = Box(tmp_path)
    graph = box.load(device=Device.GPU, allow_fallback=True)
    box.book = box.open()
    box.load(device=Device.GPU, allow_fallback=True)

    assert Device.CPU is graph.device
    assert [1, 2, 1] == box.backend.asked


# -- looking plans up ----------------------------------------------------------------------------


def test_a_plan_tells_the_scheduler_how_to_run(box: Box) -> None:
    """Threads and the largest batch, for the graph that was loaded."""
    plan = box.book.plan_of(box.load())

    assert (1, 32) == (plan.threads, plan.policy.max_batch_rows)


def test_a_strangers_graph_takes_the_whole_lane(box: Box) -> None:
    """Nobody knows how many threads it uses."""
    graph = FakeBackend().load([MODEL], Encoding.ONNX, GraphOptions())

    assert box.book.find(graph) is None
    assert GraphPlan(threads=2) == box.book.plan_of(graph)


def test_old_graphs_are_forgotten(box: Box) -> None:
    """What a book remembers is bounded, however many models guests bring."""
    first = box.load()
    for _ in range(64):
        last = box.load()

    assert box.book.find(first) is None
    assert box.book.find(last) is not None


def test_what_the_operator_pins_beats_the_measurement(box: Box) -> None:
    """Only the pinned number of threads is tried, and a queue is as it was told to be."""
    box.book = box.open(
        threads=2, max_batch_rows=4, preferred_batch_rows=[2], max_queue_delay_us=700,
        max_queue_size=5, default_timeout_us=900, timeout_action="delay",
    )  # fmt: skip
    graph = box.load()

    assert [2] == box.backend.asked
    assert 32 == box.plan(graph).max_batch_rows
    policy = BatchPolicy(4, (2,), 700, 2, 2, 5, 900, True, TimeoutAction.DELAY)
    assert GraphPlan(2, policy, piece_rows=4) == box.book.plan_of(graph)


def test_a_pin_by_version_beats_one_by_name() -> None:
    """What is said about another model does not count."""
    by_name, by_version = ModelScheduling(threads=1), ModelScheduling(threads=2)
    settings = SchedulerSettings(models={"tiny": by_name, "tiny:2": by_version})

    assert (by_version, by_name) == (settings.of_model("tiny:2"), settings.of_model("tiny:3"))
    assert ModelScheduling() == settings.of_model("other:2") == settings.of_model("")


def test_what_was_measured_is_logged(box: Box, caplog: pytest.LogCaptureFixture) -> None:
    """One line for the life of the box."""
    with caplog.at_level(logging.INFO):
        box.load()

    assert 1 == sum("plan measured" in record.message for record in caplog.records)


def test_a_book_is_a_loader(box: Box) -> None:
    """A registry takes it for making its graphs."""
    loader: Loader = box.book
    backends: list[Backend] = [box.backend]
    reference = Registry(backends, loader=loader).load([MODEL], Encoding.ONNX, GraphOptions())

    assert box.book.find(reference.graph) is not None
    reference.release()
    assert 0 == box.backend.open_graphs
