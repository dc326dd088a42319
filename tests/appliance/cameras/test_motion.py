"""The motion gate: what moved passes, noise and a change of light do not."""

import numpy as np
import pytest
from numpy.typing import NDArray

from appliance.cameras.motion import MotionState, moved_share
from appliance.cameras.wire import MotionRule

RULE = MotionRule(threshold=12, min_area=0.005, keep_every_s=10)


def scene(seed: int = 0, *, noise: int = 0) -> NDArray[np.uint8]:
    """A still scene of 64 by 36 with a sensor's noise."""
    still = np.random.default_rng(1).integers(60, 180, (36, 64))
    shaken = np.random.default_rng(seed).integers(-noise, noise + 1, (36, 64))
    return (still + shaken).astype(np.uint8)


def with_thing(at: int) -> NDArray[np.uint8]:
    """The scene with a bright thing of 4 by 8 spots in it."""
    picture = scene()
    picture[10:18, at : at + 4] = 250
    return picture


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (scene(), scene(), 0.0),
        (scene(), scene() + np.uint8(40), 0.0),
        (scene(1, noise=5), scene(2, noise=5), 0.0),
        (np.zeros((4, 4), np.uint8), np.eye(4, dtype=np.uint8) * 255, 0.25),
    ],
    ids=["the same", "brighter", "noise", "four of sixteen"],
)
def test_moved_share(before: NDArray[np.uint8], now: NDArray[np.uint8], expected: float) -> None:
    """Counted are spots that changed against the rest of the picture."""
    assert expected == moved_share(before, now, threshold=12)


def test_a_still_scene_passes_once() -> None:
    """Then nothing until something moves."""
    gate = MotionState(RULE)

    assert [True, False, False] == [gate.passes(scene(n, noise=4), n / 10) for n in range(3)]


def test_a_thing_that_moves_passes() -> None:
    """It is 1.4 percent of the picture."""
    gate = MotionState(RULE)
    gate.passes(scene(), 0.0)

    assert [True, True] == [gate.passes(with_thing(x), 0.1) for x in (5, 20)]


def test_slow_movement_adds_up() -> None:
    """Compared is with the last frame that passed: a thing cannot creep through the picture."""
    gate = MotionState(RULE)
    gate.passes(with_thing(0), 0.0)

    assert any(gate.passes(with_thing(x), 0.1) for x in range(1, 5))


def test_one_frame_passes_now_and_then() -> None:
    """History shows that the camera lives."""
    gate = MotionState(RULE)

    assert [True, False, True] == [gate.passes(scene(), t) for t in (0.0, 9.9, 10.0)]
