import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance import lanes
from appliance.requests import BatchPolicy
from tests.appliance.lanerig import (
    PATIENCE_S,
    POISON,
    GateGraph,
    Rig,
    ShortGraph,
    Stop,
)
from wasi_nn.errors import RuntimeFailure


def test_a_lone_request_runs_on_its_callers_thread() -> None:
    """There is no hop to another thread, and no copy of the input."""
    rig, graph = Rig(), GateGraph()

    assert [6.0] == rig.run(graph, 3.0)
    assert [(threading.get_ident(), [3.0])] == graph.calls
    assert rig.is_clean()


def test_a_free_thread_is_used_at_once() -> None:
    """While one run takes one of two threads, another graph's runs on its caller's thread."""
    rig, graph = Rig(threads=2), GateGraph()
    blocker, blocked = rig.block()

    assert [2.0] == rig.run(graph, 1.0)
    assert threading.get_ident() == graph.calls[0][0]
    blocker.open()
    assert [0.0] == blocked.result()


def test_what_queued_goes_as_one_batch_on_the_lanes_worker() -> None:
    """Requests of one graph wait together; one worker computes all, without a pause."""
    rig, graph, other = Rig(), GateGraph(), GateGraph()
    blocker, _ = rig.block()
    first = rig.queue(graph, 1.0)
    second = rig.queue(other, 2.0)
    third = rig.queue(graph, 3.0, 4.0)
    blocker.open()

    assert [[2.0], [4.0], [6.0, 8.0]] == [c.result() for c in (first, second, third)]
    assert [[1.0, 3.0, 4.0]] == graph.rows
    assert [[2.0]] == other.rows
    assert graph.calls[0][0] == other.calls[0][0]
    assert graph.calls[0][0] not in {first.ident, second.ident, third.ident}
    assert rig.is_clean()


def test_a_batch_keeps_to_its_bound() -> None:
    """What does not fit goes with the next."""
    rig, graph = Rig(), GateGraph(policy=BatchPolicy(max_batch_rows=2))
    blocker, _ = rig.block()
    calls = [rig.queue(graph, float(i)) for i in range(5)]
    blocker.open()

    assert [[2.0 * i] for i in range(5)] == [call.result() for call in calls]
    assert [[0.0, 1.0], [2.0, 3.0], [4.0]] == graph.rows


@settings(max_examples=40, derandomize=True, database=None, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=12))
def test_everybody_gets_the_rows_of_its_own(counts: list[int]) -> None:
    """However many rows each caller brings, it gets as many answers, and its own."""
    rig, graph = Rig(), GateGraph()
    blocker, _ = rig.block()
    wanted = [[100.0 * i + row for row in range(count)] for i, count in enumerate(counts)]
    calls = [rig.queue(graph, *values) for values in wanted]
    blocker.open()

    assert [[2 * value for value in values] for values in wanted] == [c.result() for c in calls]
    assert rig.is_clean()


def test_batches_of_one_graph_run_side_by_side() -> None:
    """Each has buffers of its own: both are in the graph at the same time, and both are right."""
    meeting = threading.Barrier(2)
    rig = Rig(threads=2)
    graph = GateGraph(
        policy=BatchPolicy(max_batch_rows=2), during=lambda: meeting.wait(PATIENCE_S) and None
    )
    blocker, _ = rig.block(threads=2)
    calls = [rig.queue(graph, float(i)) for i in range(8)]
    blocker.open()

    assert [[2.0 * i] for i in range(8)] == [call.result() for call in calls]
    assert [2, 2, 2, 2] == [len(values) for values in graph.rows]


def test_a_wide_run_waits_for_all_threads_and_keeps_its_place() -> None:
    """A head that needs two threads is not overtaken through the free one."""
    rig, wide, narrow = Rig(threads=2), GateGraph(threads=2), GateGraph()
    blocker, _ = rig.block()
    first = rig.queue(wide, 1.0)
    second = rig.queue(narrow, 2.0)

    assert [] == narrow.calls
    blocker.open()
    assert [[2.0], [4.0]] == [first.result(), second.result()]
    assert rig.is_clean()


# -- failures ------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [RuntimeFailure("poison"), ValueError("bug")], ids=repr)
def test_poison_fails_alone(error: Exception) -> None:
    """A batch that fails is computed singly, whatever the runtime raised."""
    rig, graph = Rig(), GateGraph(error=error)
    blocker, _ = rig.block()
    calls = [rig.queue(graph, value) for value in (1.0, POISON, 3.0)]
    blocker.open()

    assert [[2.0], [6.0]] == [calls[0].result(), calls[2].result()]
    with pytest.raises(RuntimeFailure, match=r"poison|ValueError"):
        calls[1].result()
    assert [[1.0, POISON, 3.0], [1.0], [POISON], [3.0]] == graph.rows
    assert rig.is_clean()


def test_a_graph_that_loses_rows_is_computed_singly() -> None:
    """Nobody gets rows that may be another's."""
    rig, graph = Rig(), ShortGraph()
    blocker, _ = rig.block()
    calls = [rig.queue(graph, value) for value in (1.0, 2.0)]
    blocker.open()

    assert [[2.0], [4.0]] == [call.result() for call in calls]


def test_a_lone_run_that_fails_gives_its_threads_back() -> None:
    """The caller gets the graph's own error."""
    rig, graph = Rig(), GateGraph()

    with pytest.raises(RuntimeFailure, match="poison"):
        rig.run(graph, POISON)
    assert rig.is_clean()


class _Interrupted(lanes.Call):
    """Ctrl-C comes while its caller waits."""

    __slots__ = ()

    def wait(self) -> None:
        raise Stop


def test_a_caller_interrupted_in_the_queue_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody waits for it, and nobody computes for it."""
    rig, graph = Rig(), GateGraph()
    blocker, _ = rig.block()
    staying = rig.queue(graph, 2.0)
    monkeypatch.setattr(lanes, "Call", _Interrupted)
    leaving = rig.queue(graph, 1.0)
    with pytest.raises(Stop):
        leaving.result()
    monkeypatch.undo()
    blocker.open()

    assert [4.0] == staying.result()
    assert [[2.0]] == graph.rows
    assert rig.is_clean()
