import pytest

from appliance.requests import BatchPolicy
from tests.appliance.lanerig import PATIENCE_S, GateGraph, HandClock, Rig, error_of
from wasi_nn.errors import Busy
from wasi_nn.executor import Cancellation, Spent


def test_a_full_queue_refuses_at_once() -> None:
    """The caller is told while the lane is still busy."""
    rig, graph = Rig(max_queue_size=1), GateGraph()
    blocker, _ = rig.block()
    queued = rig.queue(graph, 1.0)

    with pytest.raises(Busy, match=r"^compute: Exceeds maximum queue size"):
        rig.run(graph, 2.0)
    blocker.open()
    assert [2.0] == queued.result()
    assert {"queue_full": 1} == rig.lane.counts_of(graph).refusals  # type: ignore[union-attr]


def test_whoever_has_more_is_pushed_out_and_told() -> None:
    """The flood's last caller gets Busy, the polite owner's request is computed."""
    rig, graph = Rig(max_queue_size=2), GateGraph()
    blocker, _ = rig.block()
    first, last = rig.queue(graph, 1.0), rig.queue(graph, 2.0)
    polite = rig.queue(graph, 3.0, owner="bob")

    with pytest.raises(Busy, match="Exceeds maximum queue size"):
        last.result()
    blocker.open()
    assert [[2.0], [6.0]] == [first.result(), polite.result()]


def test_what_comes_too_late_is_refused_without_computing() -> None:
    """A deadline that has passed on arrival is Busy, on an idle lane, too."""
    clock = HandClock()
    rig, graph = Rig(clock=clock), GateGraph()
    clock.now = 5.0

    assert isinstance(error_of(rig.start(graph, 1.0, deadline_s=5.0)), Busy)
    assert [] == graph.calls
    assert {"expired": 1} == rig.lane.counts_of(graph).refusals  # type: ignore[union-attr]


def test_what_expires_in_the_queue_is_never_computed() -> None:
    """When the lane frees, those whose time is over are told and the others go on."""
    clock = HandClock()
    rig, graph = Rig(clock=clock), GateGraph()
    blocker, _ = rig.block()
    late = rig.queue(graph, 1.0, deadline_s=1000.0)
    in_time = rig.queue(graph, 2.0, deadline_s=3000.0)
    clock.now = 2000.0
    blocker.open()

    with pytest.raises(Busy, match="Request timeout expired"):
        late.result()
    assert [4.0] == in_time.result()
    assert [[2.0]] == graph.rows


def test_who_expires_is_told_though_nothing_happens() -> None:
    """Its caller looks at the clock by itself while the lane is stuck."""
    clock = HandClock()
    rig, graph = Rig(clock=clock), GateGraph()
    blocker, blocked = rig.block()
    # It sleeps for a real millisecond, after which the hand clock says that it is over.
    waiting = rig.queue(graph, 1.0, deadline_s=0.001)
    clock.now = 0.002

    with pytest.raises(Busy, match="Request timeout expired"):
        waiting.result()
    blocker.open()
    assert [0.0] == blocked.result()


def test_a_deadline_in_the_far_future_is_none() -> None:
    """More seconds than a thread can sleep are no error."""
    rig, graph = Rig(), GateGraph()
    blocker, _ = rig.block()
    waiting = rig.queue(graph, 1.0, deadline_s=1e12)
    blocker.open()

    assert [2.0] == waiting.result()


def test_closing_refuses_the_queued_and_those_to_come() -> None:
    """What computes is finished."""
    rig, graph = Rig(), GateGraph()
    blocker, blocked = rig.block()
    waiting = [rig.queue(graph, 1.0), rig.queue(graph, 2.0)]
    rig.lane.close()

    with pytest.raises(Busy, match="the box is stopping"):
        waiting[0].result()
    with pytest.raises(Busy, match="the box is stopping"):
        waiting[1].result()
    with pytest.raises(Busy, match="the box is stopping"):
        rig.run(graph, 3.0)
    blocker.open()
    assert [0.0] == blocked.result()
    assert rig.is_clean()


# -- cancellation --------------------------------------------------------------------------------


def test_a_caller_that_has_gone_is_taken_from_the_queue() -> None:
    """It is told at once and never computed; so is one that had gone before."""
    rig, graph = Rig(), GateGraph()
    blocker, _ = rig.block()
    cancellation = Cancellation()
    waiting = rig.queue(graph, 1.0, cancellation=cancellation)
    cancellation.cancel()

    with pytest.raises(Busy, match="nobody waits"):
        waiting.result()
    blocker.open()
    with pytest.raises(Busy, match="nobody waits"):
        rig.start(graph, 2.0, cancellation=cancellation).result()
    assert [] == graph.calls


def test_a_run_under_way_is_finished() -> None:
    """Cancelling what computes changes nothing."""
    rig, graph = Rig(), GateGraph()
    blocker, _ = rig.block()
    cancellation = Cancellation()
    running = GateGraph(is_open=False)
    waiting = rig.queue(running, 1.0, cancellation=cancellation)
    blocker.open()
    assert running.entered.acquire(timeout=PATIENCE_S)
    cancellation.cancel()
    running.open()

    assert [2.0] == waiting.result()
    assert [2.0] == rig.run(graph, 1.0)


def test_when_a_wide_head_goes_those_behind_it_start() -> None:
    """The free thread was kept for it; nobody else would notice that it is free."""
    rig, wide, narrow = Rig(threads=2), GateGraph(threads=2), GateGraph()
    blocker, _ = rig.block()
    cancellation = Cancellation()
    head = rig.queue(wide, 1.0, cancellation=cancellation)
    behind = rig.queue(narrow, 2.0)
    cancellation.cancel()

    assert isinstance(error_of(head), Busy)
    assert [4.0] == behind.result()
    blocker.open()


# -- the queue delay -----------------------------------------------------------------------------

HELD = BatchPolicy(max_batch_rows=8, max_queue_delay_us=1000, preferred_batch_rows=(3,))


def test_a_queue_delay_is_kept_on_an_idle_lane() -> None:
    """The first waits for others; at a preferred size they go before the delay is over."""
    rig = Rig()  # whose clock stands still: the delay never ends
    graph = GateGraph(policy=HELD)
    calls = [rig.queue(graph, 1.0), rig.queue(graph, 2.0)]
    assert [] == graph.calls
    calls.append(rig.queue(graph, 3.0))

    assert [[2.0], [4.0], [6.0]] == [call.result() for call in calls]
    assert [[1.0, 2.0, 3.0]] == graph.rows


def test_what_is_held_back_goes_when_the_delay_is_over() -> None:
    """Its caller looks again by itself, without any event."""
    clock = HandClock()
    rig, graph = Rig(clock=clock), GateGraph(policy=HELD)
    waiting = rig.queue(graph, 1.0)
    clock.now = 0.001

    assert [2.0] == waiting.result()


def test_what_is_held_back_does_not_hold_up_other_graphs() -> None:
    """Another graph runs at once on the idle lane."""
    rig, held, graph = Rig(), GateGraph(policy=HELD), GateGraph()
    rig.queue(held, 1.0)

    assert [4.0] == rig.run(graph, 2.0)
    assert [[2.0]] == graph.rows
    rig.lane.close()


def test_who_queued_on_a_busy_lane_learns_when_its_delay_ends() -> None:
    """It slept without a time; whoever frees the lane wakes it to set one."""
    clock = HandClock()
    rig, graph = Rig(clock=clock), GateGraph(policy=HELD)
    blocker, blocked = rig.block()
    waiting = rig.queue(graph, 1.0)
    blocker.open()
    blocked.result()
    clock.now = 0.001

    assert [2.0] == waiting.result()


def test_the_one_who_knew_the_time_may_go() -> None:
    """If it is cancelled, another of those who are held back sets its alarm."""
    clock = HandClock()
    rig, graph, other = Rig(clock=clock), GateGraph(policy=HELD), GateGraph(policy=HELD)
    blocker, blocked = rig.block()
    cancellation = Cancellation()
    knowing = rig.queue(graph, 1.0, cancellation=cancellation)
    waiting = rig.queue(other, 2.0)
    blocker.open()
    blocked.result()
    cancellation.cancel()
    clock.now = 0.001

    assert isinstance(error_of(knowing), Busy)
    assert [4.0] == waiting.result()


def test_the_one_who_knew_the_time_may_expire() -> None:
    """It wakes another when it leaves, though a thread is free and nothing else happens."""
    clock = HandClock()
    rig, held, wide = Rig(2, clock=clock), GateGraph(policy=HELD), GateGraph(threads=2)
    blocker, _ = rig.block()
    other, ended = rig.block()
    expiring = rig.queue(wide, 1.0, priority=2, deadline_s=0.0005)
    waiting = rig.queue(held, 2.0, priority=1)
    other.open()
    ended.result()
    clock.now = 0.0006
    assert isinstance(error_of(expiring), Busy)
    clock.now = 0.001

    assert [4.0] == waiting.result()
    blocker.open()


def test_after_a_batch_its_callers_are_waited_for() -> None:
    """They come back one by one; the first is not computed alone, and all go together."""
    clock = HandClock()
    rig, graph = Rig(clock=clock), GateGraph(during=lambda: setattr(clock, "now", clock.now + 0.01))
    blocker, _ = rig.block()
    first = [rig.queue(graph, value) for value in (1.0, 2.0)]
    blocker.open()
    assert [[2.0], [4.0]] == [call.result() for call in first]
    again = [rig.queue(graph, value) for value in (3.0, 4.0)]

    assert [[6.0], [8.0]] == [call.result() for call in again]
    assert [[1.0, 2.0], [3.0, 4.0]] == graph.rows


def test_who_comes_back_alone_goes_when_the_moment_is_over() -> None:
    """Nothing else has to happen for it."""
    clock = HandClock()
    rig, graph = Rig(clock=clock), GateGraph(during=lambda: setattr(clock, "now", clock.now + 0.01))
    blocker, _ = rig.block()
    first = [rig.queue(graph, value) for value in (1.0, 2.0)]
    blocker.open()
    for call in first:
        call.result()
    again = rig.queue(graph, 3.0)
    clock.now += 1.0

    assert [6.0] == again.result()


def test_who_asks_is_told_how_long_it_queued_and_computed() -> None:
    """All members of a batch get the whole run; a lone call queued for nothing."""
    clock = HandClock()
    rig, graph = Rig(clock=clock), GateGraph(during=lambda: setattr(clock, "now", clock.now + 0.5))
    blocker, _ = rig.block()
    queued, alone = Spent(), Spent()
    calls = [rig.queue(graph, value, spent=queued) for value in (1.0, 2.0)]
    clock.now = 2.0
    blocker.open()
    for call in calls:
        call.result()
    clock.now = 9.0
    rig.start(graph, 3.0, spent=alone).result()

    assert Spent(queue_s=4.0, compute_s=1.0) == queued
    assert Spent(queue_s=0.0, compute_s=0.5) == alone
