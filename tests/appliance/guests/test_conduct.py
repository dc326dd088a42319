"""What an app that fails may take, and how many frames of it may be inside."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from appliance.errors import FailureReason, GuestFailed, Suspended, Unavailable
from appliance.guests.conduct import MAX_IN_A_ROW, RETRY_S, WatchedRunner
from appliance.guests.debts import BURST_S, PAID_PER_S, Ledger
from appliance.guests.runner import Answer
from appliance.records import Frame
from tests.appliance import watguests as guests
from tests.appliance.workshop import Workshop
from wasi_nn.executor import Cancellation, Spent


class Scripted:
    """A runner that does as told."""

    def __init__(self, act: Callable[[], None]) -> None:
        self.act = act

    def run(self, frame: Frame, cancellation: Cancellation | None = None) -> Answer:
        """See `Runner.run`."""
        self.act()
        return Answer((), 0.0, 0, Spent())

    def close(self) -> None:
        """See `Runner.close`."""


class Rig:
    """A watched runner under clocks that stand still."""

    def __init__(self, workshop: Workshop, limits: str = "", instances: int = 2) -> None:
        self.now_s = 100.0
        self.spent_s = 0.0
        self.scripted = Scripted(lambda: None)
        program = workshop.program(guests.STEADY, f"[limits]\n{limits}")
        host = replace(program.host, debts=Ledger(lambda: self.now_s))
        program = replace(program, host=host)
        self.runner = WatchedRunner(
            program, self.scripted, instances, lambda: self.spent_s, lambda: self.now_s
        )

    def fail(self, frame: Frame, cost_s: float, *, is_overload: bool = False) -> None:
        """Let a frame fail that takes so much."""

        def act() -> None:
            self.spent_s += cost_s
            reason = FailureReason.DEADLINE
            raise GuestFailed("spun", reason=reason, is_overload=is_overload)

        self.scripted.act = act
        with pytest.raises(GuestFailed, match="spun"):
            self.runner.run(frame)
        self.scripted.act = lambda: None


def test_a_failure_that_costs_little_suspends_nobody(workshop: Workshop, frame: Frame) -> None:
    """Up to the burst it is bad luck."""
    rig = Rig(workshop)
    rig.fail(frame, BURST_S)
    rig.runner.run(frame)

    assert 0 == rig.runner.suspended_s


def test_a_failed_frames_time_is_paid_back(workshop: Workshop, frame: Frame) -> None:
    """Suspended for the debt beyond the burst by the rate, told in the error; then it runs."""
    rig = Rig(workshop)
    rig.fail(frame, BURST_S + 1.0)
    with pytest.raises(Suspended, match=r"suspended for another 20\.0 s") as caught:
        rig.runner.run(frame)
    rig.now_s += 1.0 / PAID_PER_S + 0.001
    rig.runner.run(frame)

    assert pytest.approx(20.0) == caught.value.retry_after_s
    assert 0 == rig.runner.suspended_s


def test_an_app_that_only_fails_is_shown_a_frame_a_second(workshop: Workshop, frame: Frame) -> None:
    """However little its failures cost; the one that it answers ends that."""
    rig = Rig(workshop)
    for _ in range(MAX_IN_A_ROW):
        rig.fail(frame, 0.0)
    with pytest.raises(Suspended, match=rf"its last {MAX_IN_A_ROW} frames failed") as caught:
        rig.runner.check()
    assert RETRY_S == caught.value.retry_after_s == rig.runner.suspended_s
    rig.now_s += RETRY_S
    rig.fail(frame, 0.0)
    with pytest.raises(Suspended, match=rf"its last {MAX_IN_A_ROW + 1} frames failed"):
        rig.runner.run(frame)
    rig.now_s += RETRY_S
    for _ in range(3):
        rig.runner.run(frame)
    rig.fail(frame, 0.0)

    assert 0 == rig.runner.suspended_s
    rig.runner.run(frame)


def test_an_answer_between_failures_and_a_full_box_are_no_row(
    workshop: Workshop, frame: Frame
) -> None:
    """One bad camera of two suspends nobody; nor does what was the box's own trouble."""
    rig = Rig(workshop)
    for _ in range(2 * MAX_IN_A_ROW):
        rig.fail(frame, 0.0)
        rig.runner.run(frame)
    for _ in range(2 * MAX_IN_A_ROW):
        rig.fail(frame, 0.0, is_overload=True)

    rig.runner.run(frame)


def test_a_suspension_ends_within_minutes(workshop: Workshop, frame: Frame) -> None:
    """However much was taken."""
    rig = Rig(workshop)
    rig.fail(frame, 3600.0)

    assert pytest.approx(300.0) == rig.runner.suspended_s


def test_success_may_cost(workshop: Workshop, frame: Frame) -> None:
    """An app that answers is a heavy one, no hostile one."""
    rig = Rig(workshop)

    def work() -> None:
        rig.spent_s += 9.0

    rig.scripted.act = work
    rig.runner.run(frame)

    assert 0 == rig.runner.suspended_s


def test_an_app_nobody_knows_runs_one_frame_at_a_time(workshop: Workshop, frame: Frame) -> None:
    """After its first answer as many as it has instances: both wait at one barrier."""
    rig = Rig(workshop, "deadline_s = 0.05")
    entered, gate = threading.Event(), threading.Event()

    def hold() -> None:
        entered.set()
        assert gate.wait(30)

    rig.scripted.act = hold
    with ThreadPoolExecutor(1) as thread:
        first = thread.submit(rig.runner.run, frame)
        assert entered.wait(30)
        with pytest.raises(Unavailable, match="all 1 instances stayed busy"):
            rig.runner.run(frame)
        gate.set()
        first.result()
    barrier = threading.Barrier(2, timeout=30)
    rig.scripted.act = lambda: barrier.wait() and None
    with ThreadPoolExecutor(2) as threads:
        runs = [threads.submit(rig.runner.run, frame) for _ in range(2)]
        answers = [run.result().outputs for run in runs]

    assert [(), ()] == answers


def test_frames_over_the_limit_are_refused_at_once(workshop: Workshop, frame: Frame) -> None:
    """Each would hold a thread of the box."""
    rig = Rig(workshop, "frames = 1")
    entered, gate = threading.Event(), threading.Event()

    def hold() -> None:
        entered.set()
        assert gate.wait(30)

    rig.scripted.act = hold
    with ThreadPoolExecutor(1) as thread:
        first = thread.submit(rig.runner.run, frame)
        assert entered.wait(30)
        with pytest.raises(Unavailable, match="1 frames are running or waiting"):
            rig.runner.run(frame)
        gate.set()
        first.result()
