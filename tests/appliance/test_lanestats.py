import dataclasses
import threading

import pytest

from appliance.lanestats import GraphCounts, GraphStatistics
from appliance.requests import Request
from tests.appliance.lanerig import POISON, GateGraph, HandClock, Rig, error_of


def counts(rig: Rig, graph: GateGraph) -> GraphStatistics:
    statistics = rig.lane.counts_of(graph)
    assert statistics is not None
    return statistics


def test_a_graph_that_never_ran_has_no_counts() -> None:
    """None, not zeros."""
    assert Rig().lane.counts_of(GateGraph()) is None


def test_every_sum_is_exact() -> None:
    """Requests, rows, runs, seconds and owners of two lone calls and a batch of three."""
    clock = HandClock()
    rig = Rig(clock=clock)
    graph = GateGraph(during=lambda: setattr(clock, "now", clock.now + 0.25))
    rig.run(graph, 1.0)
    rig.run(graph, 1.0, 2.0)
    blocker, _ = rig.block()
    calls = [rig.queue(graph, 1.0), rig.queue(graph, 2.0, owner="bob"), rig.queue(graph, 3.0, 4.0)]
    clock.now += 0.5
    blocker.open()
    for call in calls:
        call.result()

    assert GraphStatistics(
        requests=5,
        rows=7,
        executions=3,
        failures=0,
        batch_rows={1: 1, 2: 1, 4: 1},
        queue_s=1.5,
        compute_s=0.75,
        refusals={},
        owner_rows={"guest": 3, "ann": 3, "bob": 1},
        row_s=pytest.approx(0.16 * 1.25 - 0.02 + 0.0125),
    ) == dataclasses.replace(counts(rig, graph))


def test_the_runs_of_a_poisoned_batch_are_counted() -> None:
    """One run for all, then one for each; only the poison is a failure."""
    rig, graph = Rig(), GateGraph()
    blocker, _ = rig.block()
    calls = [rig.queue(graph, value) for value in (1.0, POISON, 3.0)]
    blocker.open()
    failed = [error_of(call) is not None for call in calls]
    got = counts(rig, graph)

    assert [False, True, False] == failed
    assert (3, 3, 4, 1) == (got.requests, got.rows, got.executions, got.failures)
    assert {3: 1, 1: 3} == got.batch_rows


def test_a_lane_shows_what_is_busy_and_queued() -> None:
    """Threads and requests, now."""
    rig, graph = Rig(threads=2), GateGraph(threads=2)
    blocker, _ = rig.block()
    waiting = rig.queue(graph, 1.0)
    lane = rig.lane.statistics()
    blocker.open()
    waiting.result()
    after = rig.lane.statistics()

    assert (2, 1, 1) == (lane.threads, lane.busy_threads, lane.queued)
    assert (0, 0) == (after.busy_threads, after.queued)


def test_a_snapshot_does_not_change() -> None:
    """It is a copy: what is counted later is not in it."""
    rig, graph = Rig(), GateGraph()
    rig.run(graph, 1.0)
    before = counts(rig, graph)
    rig.run(graph, 1.0)

    assert ({1: 1}, {"guest": 1}) == (before.batch_rows, before.owner_rows)


def test_a_row_always_costs_something() -> None:
    """A run too short for the clock is not free, or its owner would be first for ever."""
    request = Request(0, "g", 2, None, "ann", 0.0)
    graph = GraphCounts()
    graph.computed([request], [2], 0, 0.0, 0.0)

    assert graph.row_s > 0


def test_the_newest_run_counts_a_fifth() -> None:
    """What a row costs follows the graph, but one slow run does not overturn it."""
    request = Request(0, "g", 1, None, "ann", 0.0)
    graph = GraphCounts()
    graph.computed([request], [1], 0, 1.0, 0.0)
    graph.computed([request], [1], 0, 2.0, 0.0)

    assert graph.row_s == pytest.approx(1.2)


def test_counting_is_safe_while_it_is_read() -> None:
    """Snapshots taken during runs are whole."""
    rig, graph = Rig(threads=2), GateGraph()
    stop = threading.Event()
    torn: list[GraphStatistics] = []

    def read() -> None:
        while not stop.is_set():
            for one in rig.lane.statistics().graphs.values():
                if one.requests != one.rows or sum(one.batch_rows.values()) != one.executions:
                    torn.append(one)

    reader = threading.Thread(target=read)
    reader.start()
    for i in range(300):
        rig.run(graph, float(i))
    stop.set()
    reader.join()

    assert [] == torn
