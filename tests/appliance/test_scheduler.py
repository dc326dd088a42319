import os
import random
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from appliance.calls import GraphPlan
from appliance.requests import BatchPolicy
from appliance.scheduler import Scheduler
from tests.appliance.lanerig import PATIENCE_S, POISON, Budget, GateGraph, Rig, error_of, rows
from wasi_nn.backend import Device, Graph
from wasi_nn.errors import Busy, NNError, RuntimeFailure
from wasi_nn.executor import Ticket


def plan_of(graph: Graph) -> GraphPlan:
    assert isinstance(graph, GateGraph)
    return graph.plan


class GpuGraph(GateGraph):
    device = Device.GPU


class NpuGraph(GateGraph):
    device = Device.NPU


@pytest.fixture
def crowded() -> Iterator[None]:
    """Let threads interrupt each other at every step."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_each_device_has_a_lane() -> None:
    """A graph computes in its device's lane; one of a device without, in the CPU's."""
    scheduler = Scheduler({Device.CPU: 2, Device.GPU: 1}, plan_of)
    graphs = [GateGraph(), GpuGraph(), NpuGraph()]
    for graph in graphs:
        scheduler.run(graph, rows(1.0), Ticket())
    cpu, gpu = scheduler.statistics()

    assert [(Device.CPU, 2), (Device.GPU, 1)] == [(s.device, s.threads) for s in (cpu, gpu)]
    assert {id(graphs[0]), id(graphs[2])} == set(cpu.graphs)
    assert {id(graphs[1])} == set(gpu.graphs)
    assert all(scheduler.counts_of(graph) is not None for graph in graphs)


def test_many_rows_are_computed_in_pieces() -> None:
    """In the order in which they came, and no piece is larger than pays."""
    scheduler = Scheduler({Device.CPU: 2}, plan_of)
    graph = GateGraph()
    graph.plan = GraphPlan(1, BatchPolicy(max_batch_rows=4), piece_rows=4)
    (doubled,) = scheduler.run(graph, rows(*range(10)), Ticket())
    scheduler.close()

    assert [2.0 * row for row in range(10)] == doubled[:, 0].tolist()
    assert [2, 4, 4] == sorted(len(values) for _, values in graph.calls)


@pytest.mark.parametrize(("piece_rows", "count"), [(None, 10), (10, 10), (1, 1)], ids=str)
def test_other_requests_are_left_whole(piece_rows: int | None, count: int) -> None:
    """Where rows may depend on each other, and where there are no more than pay."""
    scheduler = Scheduler({Device.CPU: 2}, plan_of)
    graph = GateGraph()
    graph.plan = GraphPlan(1, BatchPolicy(max_batch_rows=piece_rows or 4), piece_rows)
    scheduler.run(graph, rows(*range(count)), Ticket())
    scheduler.close()

    assert [count] == [len(values) for _, values in graph.calls]


def test_closing_closes_every_lane() -> None:
    """No device computes for anybody who comes later."""
    scheduler = Scheduler({Device.CPU: 1, Device.GPU: 1}, plan_of)
    scheduler.close()

    for graph in (GateGraph(), GpuGraph()):
        with pytest.raises(Busy, match="the box is stopping"):
            scheduler.run(graph, rows(1.0), Ticket())
    with pytest.raises(Busy, match="the box is stopping"):
        scheduler.alone(lambda: None)


def test_work_alone_excludes_everything_else() -> None:
    """It waits for what runs, and what comes meanwhile waits for it."""
    rig, graph = Rig(threads=2), GateGraph()
    blocker, _ = rig.block()
    order: list[str] = []
    inside, go_on = threading.Event(), threading.Event()

    def work() -> None:
        order.append(f"alone, {rig.lane.statistics().busy_threads} threads")
        inside.set()
        assert go_on.wait(PATIENCE_S)

    alone = threading.Thread(target=rig.lane.alone, args=(work,))
    alone.start()
    assert rig.batcher.offered.acquire(timeout=PATIENCE_S)
    assert [] == order
    blocker.open()
    assert inside.wait(PATIENCE_S)
    waiting = rig.queue(graph, 1.0)
    assert [] == graph.calls
    go_on.set()
    alone.join()

    assert [2.0] == waiting.result()
    assert ["alone, 2 threads"] == order
    assert rig.is_clean()


def test_work_alone_that_fails_is_the_callers() -> None:
    """The error comes out, the threads come back."""
    rig = Rig()

    def work() -> None:
        raise RuntimeFailure("no")

    with pytest.raises(RuntimeFailure, match="no"):
        rig.lane.alone(work)
    assert rig.is_clean()


def test_work_alone_is_refused_by_a_full_queue() -> None:
    """It queues like any request."""
    rig, graph = Rig(max_queue_size=1), GateGraph()
    blocker, _ = rig.block()
    waiting = rig.queue(graph, 1.0)

    with pytest.raises(Busy, match="Exceeds maximum queue size"):
        rig.lane.alone(lambda: None)
    blocker.open()
    waiting.result()


def test_graphs_that_come_and_go_are_forgotten() -> None:
    """What a lane remembers is bounded, however many models guests bring."""
    rig = Rig()
    for _ in range(100):
        rig.run(GateGraph(), 1.0)

    assert 64 == len(rig.lane.statistics().graphs)


@pytest.mark.usefixtures("crowded")
def test_after_many_calls_nothing_is_left() -> None:
    """Whatever was refused, failed or computed: no waiter, no thread, few buffers."""
    chance = random.Random(1)
    rig = Rig(threads=2, max_queue_size=6)
    graphs = [GateGraph(), GateGraph(policy=BatchPolicy(max_queue_size=3)), GateGraph(threads=2)]

    def caller(seed: int) -> None:
        own = random.Random(seed)
        for _ in range(125):
            value = POISON if own.random() < 0.05 else own.random()
            values = [value] * own.choice((1, 1, 2, 5))
            deadline_s = None if own.random() < 0.9 else -1.0
            error_of(
                rig.start(
                    own.choice(graphs), *values, owner=own.choice("abc"), deadline_s=deadline_s,
                    priority=own.randrange(3),
                )
            )  # fmt: skip

    callers = [threading.Thread(target=caller, args=(chance.random(),)) for _ in range(8)]
    for one in callers:
        one.start()
    for one in callers:
        one.join()

    assert rig.is_clean()
    idle = [len(kept) for k in rig.lane._known.values() for kept in k.stack._idle.values()]
    assert max(idle, default=0) <= 2


@pytest.mark.usefixtures("crowded")
def test_many_callers_of_many_graphs_get_what_is_theirs() -> None:
    """16 threads, 200 calls each, 3 graphs: right answers, within the thread budget."""
    budget = Budget()
    graphs = [
        GateGraph(threads, BatchPolicy(max_batch_rows=most), during=os.sched_yield, budget=budget)
        for threads, most in ((1, 8), (2, 4), (1, 1))
    ]
    scheduler = Scheduler({Device.CPU: 2}, plan_of)
    answers: list[int] = []
    wrong: list[object] = []

    def caller(number: int) -> None:
        own = random.Random(number)
        right = 0
        for i in range(200):
            values = [number * 1000.0 + i + row / 8 for row in range(own.choice((1, 1, 2, 3)))]
            ticket = Ticket(f"owner-{number % 5}", priority=own.randrange(3))
            try:
                (output,) = scheduler.run(own.choice(graphs), rows(*values), ticket)
            except NNError as exc:
                wrong.append(exc)
                continue
            if np.array_equal(output, rows(*values)[0] * 2):
                right += 1
        answers.append(right)

    callers = [threading.Thread(target=caller, args=(number,)) for number in range(16)]
    for one in callers:
        one.start()
    for one in callers:
        one.join(3 * PATIENCE_S)

    (lane,) = scheduler.statistics()
    assert ([], [200] * 16) == (wrong, answers)
    assert budget.most <= 2
    assert (0, 0) == (lane.busy_threads, lane.queued)
    assert 3200 == sum(counts.requests for counts in lane.graphs.values())
