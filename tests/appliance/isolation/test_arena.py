"""Memory between two processes: what is put is what is seen, and nothing pulls it away."""

import math
import os
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.isolation.arena import MAX_ARENA_BYTES, Arena, Place
from wasi_nn.errors import RuntimeFailure


@pytest.mark.parametrize(
    "arrays",
    [
        [np.arange(6, dtype="<f4").reshape(2, 3), np.array([1, 2], "u1")],
        [np.empty((0, 4), "<i8"), np.array(5.0, "<f8")],
        [np.ones((300, 1000), "<f2")],
    ],
    ids=["two", "empty-and-scalar", "large"],
)
def test_what_one_side_puts_the_other_sees(arrays: list[Any]) -> None:
    """Through its own mapping of the same memory."""
    ours = Arena.create()
    theirs = Arena(os.dup(ours.fd))
    places = ours.put(arrays)

    for wanted, got in zip(arrays, theirs.views(places), strict=True):
        assert (wanted.dtype, wanted.shape) == (got.dtype, got.shape)
        np.testing.assert_array_equal(wanted, got)
    ours.close()
    theirs.close()


def test_either_side_may_grow_it() -> None:
    """The answer may be larger than the question; views of before stay what they were."""
    ours = Arena.create()
    theirs = Arena(os.dup(ours.fd))
    question = theirs.views(ours.put([np.full(4, 7, "u1")]))
    large = np.full(1_000_000, 9, "u1")

    np.testing.assert_array_equal(large, ours.views(theirs.put([large], start=64))[0])
    np.testing.assert_array_equal(np.full(4, 7, "u1"), question[0])


def test_nobody_can_shrink_it() -> None:
    """A reader of memory that is gone would be killed by SIGBUS."""
    arena = Arena.create()
    arena.put([np.ones(10_000, "u1")])

    with pytest.raises(PermissionError):
        os.ftruncate(arena.fd, 0)


def test_a_place_beyond_the_end_is_refused() -> None:
    """The other side says it; nothing is read."""
    with pytest.raises(RuntimeFailure, match="tensors that are not there"):
        Arena.create().views([Place("<f4", (1 << 20,), 0)])


def test_too_much_is_refused() -> None:
    """Before any memory is taken."""
    huge = np.broadcast_to(np.zeros(1, "<f8"), (MAX_ARENA_BYTES // 8 + 1,))

    with pytest.raises(RuntimeFailure, match="wanted at most 4294967296"):
        Arena.create().put([huge])


PLACE = Place("<f4", (2, 3), 64)


def test_a_place_survives_the_wire() -> None:
    """Written and read it is the same."""
    assert PLACE == Place.from_json(PLACE.to_json())


@pytest.mark.parametrize(
    "value",
    [
        None, [], ["<f4"], ["<f4", [2], -1], ["<f4", [-2], 0], ["<f4", [2.0], 0],
        ["<f4", [True], 0], ["O", [2], 0], ["<f4", [1] * 17, 0], ["<f4", [1 << 40], 0],
        ["<f4", [1 << 31, 1 << 31], 0], ["u1", [MAX_ARENA_BYTES], 1], {"dtype": "<f4"},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_place_is_refused(value: Any) -> None:
    """A worker may say anything."""
    with pytest.raises(ValueError, match="not a place"):
        Place.from_json(value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["<f4", "O"]),
        lambda inner: st.lists(inner, max_size=4),
    )
)
def test_whatever_is_read_lies_within_bounds(value: Any) -> None:
    """Either it is refused, or it fits an arena."""
    try:
        place = Place.from_json(value)
    except ValueError:
        return
    assert 0 <= place.offset + place.size_bytes <= MAX_ARENA_BYTES
    assert math.prod(place.shape) >= 0
