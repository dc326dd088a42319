"""A graph's callers share its runs: who waits for whom, for how long, and when it is given up."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.crowds import (
    MAX_RETURN_S,
    MAX_SKIPS,
    PATIENCE_RUNS,
    RETURN_SHARE,
    WINDOW_RUNS,
    Crowd,
)
from appliance.requests import Hold

RUN_S = 0.003


def crowd(callers: int, *, running: int = 0, max_rows: int = 32) -> Crowd:
    """A graph that had as many callers at a time; all are back at their own work at 0 s.

    running: callers of a run that began at 0 s.
    """
    made = Crowd(max_rows)
    made.arrived(callers, -RUN_S)
    made.began(callers, -RUN_S)
    made.ended(callers, 0.0, RUN_S)
    if running:
        made.arrived(running, 0.0)
        made.began(running, 0.0)
    return made


def test_a_lone_caller_never_waits() -> None:
    """Nor is it thought to be several because it comes again and again."""
    lone = crowd(1)
    lone.arrived(1, 0.0)

    assert Hold(1) == lone.hold(0.0, free_runs=2)


def test_as_many_callers_as_threads_never_wait() -> None:
    """Each has a run of its own."""
    pair = crowd(2, running=1)
    pair.arrived(1, 0.0)

    assert Hold(1) == pair.hold(0.0, free_runs=1)


def test_a_graph_that_is_never_batched_holds_nobody() -> None:
    """There is nothing to wait for."""
    single = crowd(8, max_rows=1)
    single.arrived(1, 0.0)

    assert Hold() == single.hold(0.0, free_runs=2)


@pytest.mark.parametrize(
    ("callers", "running", "free_runs", "share"),
    [(8, 0, 2, 4), (8, 4, 1, 4), (8, 0, 1, 8), (5, 0, 2, 3), (100, 0, 2, 32)],
    ids=["two-free", "one-under-way", "one-thread", "odd", "largest-batch"],
)
def test_callers_are_shared_out_over_the_runs(
    callers: int, running: int, free_runs: int, share: int
) -> None:
    """Of the threads that this graph has now: those others keep busy do not count."""
    graph = crowd(callers, running=running)
    graph.arrived(callers - running, 0.0)

    assert Hold(share) == graph.hold(0.0, free_runs)


def test_after_a_run_its_callers_are_expected_for_a_moment() -> None:
    """A share of what the run took, and never more than a millisecond."""
    short, long = crowd(4), Crowd(8)
    short.arrived(1, 0.0)
    long.arrived(4, 0.0)
    long.began(4, 0.0)
    long.ended(4, 9.0, 9.0)
    long.arrived(1, 9.0)

    assert Hold(2, RETURN_SHARE * RUN_S) == short.hold(0.0, free_runs=2)
    assert Hold(2, 9.0 + MAX_RETURN_S) == long.hold(9.0, free_runs=2)


def test_a_straggler_waits_for_others_while_a_run_is_under_way() -> None:
    """Long after its own run ended: alone it would waste a thread on one row of four."""
    graph = crowd(8, running=4)
    graph.arrived(1, 0.002)

    assert Hold(4, 0.002 + PATIENCE_RUNS * RUN_S) == graph.hold(0.002, free_runs=1)


def test_a_full_share_goes_at_once() -> None:
    """Nobody else is waited for."""
    graph = crowd(8, running=4)
    graph.arrived(4, 0.0)

    assert Hold(4) == graph.hold(0.0, free_runs=1)


def test_who_computes_now_is_not_expected() -> None:
    """Of five callers four are under way: the fifth is all there can be."""
    graph = crowd(5, running=4)
    graph.arrived(1, 0.0)

    assert graph.hold(0.0, free_runs=1).until_s < 0.0


def test_the_number_of_callers_is_forgotten() -> None:
    """After two windows of runs without contention a caller is alone again."""
    graph = crowd(8)
    for number in range(2 * WINDOW_RUNS):
        graph.arrived(1, number)
        graph.began(1, number)
        graph.ended(1, number + RUN_S, RUN_S)
    graph.arrived(1, 100.0)

    assert Hold(1) == graph.hold(100.0, free_runs=2)


def rounds_until_held(graph: Crowd, comers: int = 0) -> int:
    """Let seven compute and one come back, again and again, until that one is held.

    comers: who come while it waits.   Returns: rounds in which it was not.
    """
    for count in range(100):
        graph.arrived(7, 0.0)
        graph.began(7, 0.0)
        graph.ended(7, 0.0, RUN_S)
        graph.arrived(1, 0.0)
        is_held = graph.hold(0.0, free_runs=1).until_s > 0.0
        rows = 1 + comers * is_held
        graph.arrived(rows - 1, 0.0)
        graph.began(rows, 0.0)
        graph.ended(rows, 0.0, RUN_S)
        if is_held:
            return count
    raise AssertionError("never held again")


def test_where_nobody_comes_the_waiting_is_given_up_for_longer_and_longer() -> None:
    """Twice as many runs each time, of which a round has two."""
    graph = Crowd(8)

    pauses = [rounds_until_held(graph) for _ in range(6)]
    assert [0, 0, 1, 2, 4, MAX_SKIPS // 2] == pauses


def test_one_wait_that_was_worth_it_forgives_all() -> None:
    """The next that is not begins anew."""
    graph = Crowd(8)
    for _ in range(4):
        rounds_until_held(graph)
    rounds_until_held(graph, comers=6)

    assert [0, 0, 1] == [rounds_until_held(graph) for _ in range(3)]


@dataclass
class _History:
    """Callers that come, compute and go at random, and the crowd that counts them."""

    crowd: Crowd = field(default_factory=lambda: Crowd(8))
    now: float = 0.0
    waiting: list[float] = field(default_factory=list)
    runs: list[tuple[int, float]] = field(default_factory=list)

    def come(self) -> None:
        self.crowd.arrived(1, self.now)
        self.waiting.append(self.now)

    def go(self) -> None:
        if self.waiting:
            self.crowd.left(1)
            self.waiting.pop()

    def begin(self) -> None:
        rows = min(len(self.waiting), 8)
        if rows and len(self.runs) < 2:
            self.crowd.began(rows, self.now)
            del self.waiting[:rows]
            self.runs.append((rows, self.now))

    def end(self) -> None:
        if self.runs:
            rows, began_s = self.runs.pop(0)
            self.crowd.ended(rows, self.now, self.now - began_s)


@given(
    st.lists(
        st.tuples(st.sampled_from(["come", "go", "begin", "end"]), st.floats(0.0, 0.01)),
        max_size=60,
    )
)
def test_whatever_happens_the_counts_are_right_and_waiting_ends(
    events: list[tuple[str, float]],
) -> None:
    """Nobody is held for longer than a run takes, no share is over the bound or under a row."""
    history = _History()
    for name, passed_s in events:
        history.now += passed_s
        getattr(history, name)()
        if history.waiting:
            hold = history.crowd.hold(history.now, free_runs=2 - len(history.runs))
            assert 1 <= hold.max_rows <= 8
            assert hold.until_s <= history.now + history.crowd._run_s

    assert len(history.waiting) == history.crowd.queued
    assert sum(rows for rows, _ in history.runs) == history.crowd.running
