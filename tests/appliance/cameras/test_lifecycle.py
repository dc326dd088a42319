"""The lifecycle: states tell the truth, attempts go on for ever, and never too often."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.cameras.lifecycle import Lifecycle, Rules, Step
from appliance.cameras.states import CameraState

RULES = Rules(stall_s=2, frozen_s=5, open_s=10, grace_s=3)


def life(rules: Rules = RULES) -> Lifecycle:
    """At 0 s; pauses have their full length."""
    return Lifecycle(rules, 0.0, lambda: 1.0)


def live(at: float = 1.0, digest: int = 1) -> Lifecycle:
    """Live since `at`."""
    one = life()
    one.step(0.0)
    one.on_opened(0.5)
    one.on_frame(digest, at)
    return one


def fail(one: Lifecycle, now: float, reason: str = "no way") -> None:
    """One attempt, from its start to the worker's end."""
    assert one.step(now) is Step.START
    one.on_failed(reason, now)
    assert one.step(now) is Step.TERMINATE
    one.on_exit(0, now)


def die(one: Lifecycle, now: float) -> None:
    """One attempt whose worker dies by itself."""
    assert one.step(now) is Step.START
    one.on_exit(-9, now)


def next_at(one: Lifecycle, now: float) -> float:
    wakes_at = one.wakes_at(now)
    assert wakes_at is not None
    return wakes_at


def test_a_camera_begins_connecting() -> None:
    """And its worker is started at once."""
    one = life()

    assert (CameraState.CONNECTING, Step.START, Step.WAIT) == (
        one.state, one.step(0.0), one.step(0.0),
    )  # fmt: skip


def test_a_frame_makes_it_live() -> None:
    """Opening alone does not: some cameras answer and never send."""
    one = life()
    one.step(0.0)
    one.on_opened(0.5)
    before = one.state
    one.on_frame(1, 1.0)

    assert (CameraState.CONNECTING, CameraState.LIVE) == (before, one.state)


def test_nothing_opened_fails() -> None:
    """After open_s, when the worker itself should have given up long ago."""
    one = life()
    one.step(0.0)

    assert (Step.WAIT, Step.TERMINATE) == (one.step(9.9), one.step(10.0))
    assert (CameraState.FAILED, "not opened within 10 s") == (one.state, one.reason)


def test_no_frame_stalls() -> None:
    """For stall_s after the last one."""
    one = live(at=1.0)

    assert (Step.WAIT, Step.TERMINATE) == (one.step(2.9), one.step(3.0))
    assert (CameraState.STALLED, "no frame for 2 s") == (one.state, one.reason)


def test_frames_that_are_not_given_out_do_not_stall() -> None:
    """The motion gate holds them back; the camera lives."""
    one = live(at=1.0)
    one.on_alive(2.5)

    assert Step.WAIT is one.step(4.0)


def test_the_same_picture_again_and_again_is_frozen() -> None:
    """Counted from the first of them."""
    one = live(at=1.0)
    for n in range(20):
        one.on_frame(1, 1.0 + n / 4)
    before = one.step(5.9)

    assert (Step.WAIT, Step.TERMINATE) == (before, one.step(6.0))
    assert CameraState.FROZEN is one.state


def test_another_picture_is_not_frozen() -> None:
    """One that differs starts the count anew."""
    one = live(at=1.0)
    for n in range(40):
        one.on_frame(n // 19, 1.0 + n / 4)

    assert Step.WAIT is one.step(11.0)


def test_slow_streams_are_not_frozen_by_two_frames() -> None:
    """At one frame in three seconds two equal ones mean nothing."""
    one = Lifecycle(Rules(stall_s=100, frozen_s=5), 0.0, lambda: 1.0)
    one.step(0.0)
    one.on_opened(0.0)
    for n in range(3):
        one.on_frame(7, n * 3.0)

    assert Step.WAIT is one.step(8.0)


def test_frozen_stays_until_the_picture_changes() -> None:
    """The same picture after a reconnect is no recovery."""
    one = live(at=1.0)
    for n in range(20):
        one.on_frame(1, 1.0 + n / 4)
    one.step(6.0)
    one.on_exit(0, 6.1)
    assert one.step(next_at(one, 6.1)) is Step.START
    assert one.step(12.0) is Step.WAIT
    one.on_frame(1, 12.0)
    same = one.state
    one.on_frame(2, 12.1)

    assert (CameraState.FROZEN, CameraState.LIVE) == (same, one.state)


def test_a_failure_is_said_and_stays_while_it_is_tried_again() -> None:
    """The state does not flicker between failed and connecting."""
    one = life()
    fail(one, 0.0, "wrong password")
    one.step(next_at(one, 0.0))

    assert (CameraState.FAILED, "wrong password") == (one.state, one.reason)


def test_a_lost_connection_is_connecting() -> None:
    """It was live a moment ago, and mostly is again a moment later."""
    one = live()
    one.on_failed("the camera closed the connection", 2.0)

    assert CameraState.CONNECTING is one.state
    assert one.reason == "connection lost: the camera closed the connection"


def test_pauses_double_up_to_the_cap_for_ever() -> None:
    """0.5, 1, 2, 4, 8, 15, 15, ... and never an end."""
    one, now, pauses = life(), 0.0, []
    for _ in range(100):
        fail(one, now)
        pauses.append(next_at(one, now) - now)
        now += pauses[-1]

    assert [0.5, 1, 2, 4, 8, 15, 15] == [round(p, 6) for p in pauses[:7]]
    assert 15 == pytest.approx(pauses[-1])


def test_pauses_have_jitter() -> None:
    """Cameras that a switch took down together do not come back in step."""
    one = Lifecycle(RULES, 0.0, lambda: 0.0)
    fail(one, 0.0)

    assert 0.25 == next_at(one, 0.0)


def test_a_camera_that_was_live_for_a_while_is_tried_soon() -> None:
    """The pauses of last night's outage are forgotten."""
    one, now = life(), 0.0
    for _ in range(8):
        fail(one, now)
        now = next_at(one, now)
    one.step(now)
    one.on_frame(1, now)
    one.on_frame(2, now + 11)
    one.on_failed("gone", now + 11)
    one.step(now + 11)
    one.on_exit(0, now + 11)

    assert 0.5 == pytest.approx(next_at(one, now + 11) - (now + 11))


def test_a_camera_that_flaps_is_not_tried_soon() -> None:
    """Live for a second each time is no recovery."""
    one, now = life(), 0.0
    for _ in range(8):
        one.step(now)
        one.on_frame(1, now)
        one.on_failed("gone", now + 1)
        one.step(now + 1)
        one.on_exit(0, now + 1)
        now = next_at(one, now + 1)
    one.step(now)
    one.on_exit(-9, now)

    assert next_at(one, now) - now >= 15


def test_a_worker_that_dies_is_counted_and_said() -> None:
    """By its signal."""
    one = life()
    die(one, 0.0)

    assert (CameraState.FAILED, 1) == (one.state, one.restarts)
    assert one.reason == "the camera's worker died (signal 9)"


def test_dying_workers_are_started_five_times_a_minute() -> None:
    """Then slower: no more than five in any minute, for ever."""
    one, now, deaths = life(Rules(stall_s=2, cap_s=1)), 0.0, []
    while now < 600:
        die(one, now)
        deaths.append(now)
        now = next_at(one, now)

    assert all(later - first >= 60 for first, later in zip(deaths, deaths[5:], strict=False))
    assert len(deaths) >= 45


def test_a_source_that_fails_is_not_a_dying_worker() -> None:
    """A camera without power is tried at its pauses, not five times a minute."""
    one, now = life(Rules(stall_s=2, cap_s=1)), 0.0
    for _ in range(20):
        fail(one, now)
        now = next_at(one, now)

    assert (0, 20) == (one.restarts, one.reconnects + 1)
    assert now < 60


def test_a_worker_is_asked_then_killed() -> None:
    """KILL after grace_s, once; the next worker waits until it is gone."""
    one = live(at=1.0)
    steps = [one.step(t) for t in (3.0, 3.1, 5.9, 6.0, 6.1, 100.0)]

    assert [Step.TERMINATE, Step.WAIT, Step.WAIT, Step.KILL, Step.WAIT, Step.WAIT] == steps


def test_a_killed_worker_counts_as_a_restart() -> None:
    """It did not end when asked."""
    one = live(at=1.0)
    for now in (3.0, 6.0):
        one.step(now)
    one.on_exit(-9, 6.1)

    assert (CameraState.STALLED, 1) == (one.state, one.restarts)


def test_a_film_that_has_ended_stays_ended() -> None:
    """Nothing is started any more, and nobody has to look."""
    one = live()
    one.on_ended(2.0)
    one.step(2.0)
    one.on_exit(0, 2.1)

    assert (CameraState.ENDED, Step.WAIT, None) == (one.state, one.step(99.0), one.wakes_at(99.0))


def test_disabling_ends_the_worker_and_is_done() -> None:
    """In order: asked, gone, done."""
    one = live()
    one.disable()
    first = one.step(2.0)
    one.on_exit(0, 2.1)

    assert (Step.TERMINATE, Step.DONE) == (first, one.step(2.1))
    assert CameraState.DISABLED is one.state


def test_disabling_while_it_pauses_is_done_at_once() -> None:
    """There is no worker to wait for."""
    one = life()
    fail(one, 0.0)
    one.disable()

    assert Step.DONE is one.step(0.1)


def test_late_frames_of_a_stalled_worker_change_nothing() -> None:
    """It has been asked to end."""
    one = live(at=1.0)
    one.step(3.0)
    one.on_frame(2, 3.1)
    one.on_failed("ended when asked", 3.2)

    assert CameraState.STALLED is one.state


def test_since_is_of_the_state() -> None:
    """A failure with another reason is no new state."""
    one = life()
    fail(one, 0.0, "no such host")
    fail(one, next_at(one, 0.0), "wrong password")

    assert (0.0, "wrong password") == (one.since, one.reason)


EVENTS = st.tuples(
    st.sampled_from(
        ["opened", "frame", "same", "alive", "ended", "failed", "exit", "wait", "disable"]
    ),
    st.floats(0, 30),
)


@given(st.lists(EVENTS, max_size=80))
def test_there_is_never_a_second_worker(events: list[tuple[str, float]]) -> None:
    """Whatever happens in whatever order: START only without a worker, TERMINATE before KILL."""
    one, now, has_worker, asked = life(), 0.0, False, False
    tell = {
        "opened": lambda: one.on_opened(now), "frame": lambda: one.on_frame(int(now * 1e6), now),
        "same": lambda: one.on_frame(1, now), "alive": lambda: one.on_alive(now),
        "ended": lambda: one.on_ended(now), "failed": lambda: one.on_failed("x", now),
        "exit": lambda: one.on_exit(0, now), "wait": lambda: None, "disable": one.disable,
    }  # fmt: skip
    for event, gap in events:
        now += gap
        step = one.step(now)
        assert not (step is Step.START and has_worker)
        assert not (step in {Step.TERMINATE, Step.KILL, Step.DONE} and has_worker is (
            step is Step.DONE))  # fmt: skip
        assert not (step is Step.KILL and not asked)
        has_worker = has_worker or step is Step.START
        asked = (asked or step is Step.TERMINATE) and has_worker
        if event in {"wait", "disable"} or has_worker:
            tell[event]()
            has_worker = has_worker and event != "exit"
            asked = asked and has_worker
    assert one.is_running is has_worker
