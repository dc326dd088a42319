"""The newest frame: latest wins, and memory comes back once, when nobody looks any more."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.cameras.newest import Lease, Newest
from appliance.records import Frame


def frame(sequence: int) -> Frame:
    return Frame("door", sequence, 0.0, 0.0, np.zeros((2, 2, 3), np.uint8))


def sequence_of(lease: Lease | None) -> int:
    assert lease is not None
    with lease:
        return lease.frame.sequence


@pytest.fixture
def given_back() -> list[int]:
    return []


@pytest.fixture
def newest(given_back: list[int]) -> Newest:
    """A place that has seen frames 0 and 1."""
    place = Newest()
    place.publish(frame(0), lambda: given_back.append(0))
    place.publish(frame(1), lambda: given_back.append(1))
    return place


def test_the_newest_is_lent(newest: Newest) -> None:
    """Not the one before, and to each who asks."""
    assert [1, 1] == [sequence_of(newest.wait_newer(-1, 0)) for _ in range(2)]


def test_nothing_newer_is_none(newest: Newest) -> None:
    """After the time is up."""
    assert newest.wait_newer(1, 0.001) is None


def test_a_waiter_gets_the_next_frame(newest: Newest) -> None:
    """As soon as it is there."""
    later = threading.Timer(0.01, newest.publish, (frame(2), lambda: None))
    later.start()

    assert 2 == sequence_of(newest.wait_newer(1, 10))
    later.join()


def test_clearing_wakes_who_waits(newest: Newest) -> None:
    """A camera that stops holds nobody up."""
    later = threading.Timer(0.01, newest.clear)
    later.start()

    assert newest.wait_newer(1, 10) is None
    later.join()


def test_memory_comes_back_when_superseded(newest: Newest, given_back: list[int]) -> None:
    """A frame that nobody has borrowed is free at once."""
    assert [0] == given_back


def test_memory_on_loan_stays(newest: Newest, given_back: list[int]) -> None:
    """Until the last lease is closed, however often one is closed."""
    one, two = newest.wait_newer(-1, 0), newest.wait_newer(-1, 0)
    newest.publish(frame(2), lambda: given_back.append(2))
    assert one is not None
    assert two is not None
    one.close()
    one.close()
    before = list(given_back)
    two.close()

    assert ([0], [0, 1]) == (before, given_back)


def test_a_forgotten_lease_is_closed(newest: Newest, given_back: list[int]) -> None:
    """A caller that failed does not keep a slot for ever."""
    lease = newest.wait_newer(-1, 0)
    newest.clear()
    del lease

    assert [0, 1] == given_back


def test_frames_nobody_took_are_counted(newest: Newest) -> None:
    """Frame 0 was superseded unseen; frame 1 is seen."""
    sequence_of(newest.wait_newer(-1, 0))
    newest.publish(frame(2), lambda: None)

    assert 1 == newest.unread


@given(st.lists(st.integers(0, 3), max_size=60))
def test_memory_comes_back_exactly_once(steps: list[int]) -> None:
    """Whatever the order of frames, leases and their ends."""
    place, back, leases, count = Newest(), [], [], 0
    for step in steps:
        if step == 0:
            place.publish(frame(count), lambda number=count: back.append(number))
            count += 1
        elif step == 1:
            leases.append(place.wait_newer(-1, 0))
        elif step == 2 and leases:
            lease = leases.pop(0)
            if lease is not None:
                lease.close()
        elif step == 3:
            place.clear()
    leases.clear()
    place.clear()

    assert list(range(count)) == sorted(back)
