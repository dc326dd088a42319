"""What a lane remembers of a graph: whether it pays to wait for a batch's callers."""

from appliance.batching import BatchPolicy
from appliance.calls import MAX_RETURN_S, MAX_SKIPS, RETURN_SHARE, GraphPlan, Known
from appliance.lanestats import GraphCounts
from appliance.stacking import Stack
from tests.appliance.lanerig import GateGraph

BATCHED = GraphPlan(1, BatchPolicy(max_batch_rows=8))


def known(plan: GraphPlan = BATCHED) -> Known:
    graph = GateGraph()
    return Known(graph, plan, GraphCounts(), Stack(graph))


def test_after_a_batch_its_callers_are_expected_for_a_moment() -> None:
    """A share of what the run took, and never more than a millisecond."""
    short, long = known(), known()
    short.expect(4, 0, now=1.0, compute_s=0.001)
    long.expect(4, 0, now=1.0, compute_s=9.0)

    assert (4, 1.0 + RETURN_SHARE * 0.001) == (short.expected_rows, short.held_until_s)
    assert 1.0 + MAX_RETURN_S == long.held_until_s


def test_whoever_is_still_expected_is_waited_for_too() -> None:
    """Two runs end one after the other: the callers of both, and who has queued, go together."""
    graph = known()
    graph.expect(3, 0, now=1.0, compute_s=0.01)
    graph.expect(2, 1, now=1.0, compute_s=0.01)

    assert 5 == graph.expected_rows


def test_after_a_lone_run_nobody_is_expected() -> None:
    """A lone request never waits, nor does one of a graph that is not batched."""
    lone, single = known(), known(GraphPlan())
    lone.expect(1, 0, now=1.0, compute_s=0.01)
    single.expect(4, 0, now=1.0, compute_s=0.01)

    assert 1.0 > lone.held_until_s
    assert 1.0 > single.held_until_s


def test_no_more_are_expected_than_a_batch_holds() -> None:
    """The rest goes with the next."""
    graph = known()
    graph.expect(20, 0, now=1.0, compute_s=0.01)

    assert 8 == graph.expected_rows


def test_where_nobody_comes_back_the_waiting_is_given_up_for_longer_and_longer() -> None:
    """Twice as many runs each time; one that was worth it forgives all."""
    graph = known()
    pauses = []
    for _ in range(6):
        pause = -1
        while graph.expected_rows == 0:
            graph.expect(4, 0, now=1.0, compute_s=0.01)
            pause += 1
        pauses.append(pause)
        graph.begin(1)

    assert [0, 1, 2, 4, 8, MAX_SKIPS] == pauses
    while graph.expected_rows == 0:
        graph.expect(4, 0, now=1.0, compute_s=0.01)
    graph.begin(3)
    graph.expect(4, 0, now=1.0, compute_s=0.01)
    assert 4 == graph.expected_rows


def test_once_a_batch_begins_nothing_is_held_back() -> None:
    """Whoever comes next finds the graph as it was."""
    graph = known()
    graph.expect(4, 0, now=1.0, compute_s=0.01)
    graph.begin(4)

    assert (0, True) == (graph.expected_rows, graph.held_until_s < 0)
