"""What people see of a camera, made once for all who look."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from appliance.errors import NotFound, Unavailable
from appliance.viewing import Look, Viewing
from tests.appliance import watguests as guests
from tests.appliance.routing.line import WAIT_S, RoutingLine
from tests.appliance.routing.test_router import looks
from tests.appliance.workshop import Workshop


class Clock:
    """Monotonic seconds that a test moves."""

    def __init__(self) -> None:
        self.later_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.later_s


@pytest.fixture
def line(workshop: Workshop, tmp_path: Path) -> Iterator[RoutingLine]:
    made = RoutingLine(workshop, tmp_path)
    made.start()
    made.add("door")
    yield made
    made.stop()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def viewing(line: RoutingLine, clock: Clock) -> Viewing:
    return Viewing(line.cameras, line.router, clock)


def test_a_picture_is_made_once_for_all_who_look_alike(line: RoutingLine, viewing: Viewing) -> None:
    """The same frame in the same way is the same picture; another way is another one."""
    line.push("door")
    first, second = (viewing.snapshot("door", Look()) for _ in range(2))
    raw = viewing.snapshot("door", Look(has_labels=False))
    line.push("door")
    newer = viewing.snapshot("door", Look())

    assert first is second
    assert first.jpeg != raw.jpeg
    assert [0, 0, 0, 1] == [view.sequence for view in (first, second, raw, newer)]


def test_labels_that_come_after_the_frame_are_drawn_in(
    line: RoutingLine, viewing: Viewing, clock: Clock
) -> None:
    """A camera that gives a frame a minute shows what it was seen to be."""
    line.push("door")
    before = viewing.snapshot("door", Look())
    told = looks(line.cameras.get("door"))
    line.deploy("cat", guests.labelled("tabby"))
    assert 0 in iter(lambda: told.get(timeout=WAIT_S), None)
    clock.later_s = 1.0
    after = viewing.snapshot("door", Look())

    assert before.sequence == after.sequence
    assert before.jpeg != after.jpeg


def test_an_old_frame_is_not_passed_off_as_new(
    line: RoutingLine, viewing: Viewing, clock: Clock
) -> None:
    """Its age is drawn in, and grows."""
    line.cameras.get("door").push(np.full((120, 320, 3), 128, np.uint8))
    views = []
    for clock.later_s in (0.0, 5.0, 60.0):
        views.append(viewing.snapshot("door", Look()).jpeg)

    assert 3 == len(set(views))


def test_a_camera_without_a_frame_has_no_picture(line: RoutingLine, viewing: Viewing) -> None:
    """The sentence says how it is."""
    with pytest.raises(Unavailable, match="camera door: no frame yet, it is connecting: no client"):
        viewing.snapshot("door", Look())
    with pytest.raises(NotFound, match="camera nobody"):
        viewing.snapshot("nobody", Look())


def test_a_camera_that_comes_back_under_its_name_is_seen_anew(
    line: RoutingLine, viewing: Viewing
) -> None:
    """Its numbers begin again; pictures of the old one are not shown for them."""
    line.push("door", times=9)
    old = viewing.snapshot("door", Look())
    line.cameras.remove("door")
    line.add("door")
    line.push("door")

    assert (8, 0) == (old.sequence, viewing.snapshot("door", Look()).sequence)


def test_looks_that_are_kept_are_bounded(line: RoutingLine, viewing: Viewing) -> None:
    """Whatever widths clients invent."""
    line.push("door")
    for width in range(64, 200):
        viewing.snapshot("door", Look(width))

    assert 32 == len(viewing._slots)
