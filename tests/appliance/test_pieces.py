"""Requests of many rows are computed in pieces, in order, and end as one request does."""

import threading
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.pieces import Inputs, in_pieces
from wasi_nn.errors import Busy, RuntimeFailure
from wasi_nn.executor import Cancellation, Spent, Ticket
from wasi_nn.tensor import Array

TICKET = Ticket("ann", deadline_s=7.0, priority=1)
PATIENCE_S = 20.0


class BusyHelpers(Executor):
    """Helpers who have no time: what they are given stays where it is."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        return Future()


@pytest.fixture(scope="module")
def helpers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as made:
        yield made


def double(inputs: Inputs, ticket: Ticket) -> list[Array]:
    """Two outputs, of which the second is the rows' sums."""
    (x,) = inputs
    return [2 * x, x.sum(axis=1)]


@given(rows=st.integers(1, 40), piece_rows=st.integers(1, 9), side_by_side=st.integers(1, 3))
def test_rows_come_back_in_order(
    helpers: ThreadPoolExecutor, rows: int, piece_rows: int, side_by_side: int
) -> None:
    """Whoever computes what, and whatever is left for the last piece."""
    sizes: list[int] = []

    def run(inputs: Inputs, ticket: Ticket) -> list[Array]:
        sizes.append(len(inputs[0]))
        return double(inputs, ticket)

    x = np.arange(2 * rows, dtype=np.float32).reshape(rows, 2)
    doubled, sums = in_pieces(run, [x], TICKET, piece_rows, helpers, side_by_side)

    np.testing.assert_array_equal(doubled, 2 * x)
    np.testing.assert_array_equal(sums, x.sum(axis=1))
    assert rows == sum(sizes)
    assert piece_rows >= max(sizes)
    assert -(-rows // piece_rows) == len(sizes)


def test_pieces_run_side_by_side(helpers: ThreadPoolExecutor) -> None:
    """Two at a time, who meet in the middle."""
    meeting = threading.Barrier(2)

    def run(inputs: Inputs, ticket: Ticket) -> list[Array]:
        meeting.wait(PATIENCE_S)
        return double(inputs, ticket)

    in_pieces(run, [np.ones((4, 2), np.float32)], TICKET, 1, helpers, 2)


def test_nobody_waits_for_helpers_who_have_no_time() -> None:
    """The caller computes everything itself."""
    x = np.ones((5, 2), np.float32)
    (doubled, _) = in_pieces(double, [x], TICKET, 2, BusyHelpers(), 4)

    assert (5, 2) == doubled.shape


def test_the_first_failure_ends_it(helpers: ThreadPoolExecutor) -> None:
    """Nothing is begun after it, and the caller gets it."""
    begun: list[float] = []

    def run(inputs: Inputs, ticket: Ticket) -> list[Array]:
        begun.append(float(inputs[0][0, 0]))
        raise RuntimeFailure("poison")

    x = np.arange(200, dtype=np.float32).reshape(100, 2)
    with pytest.raises(RuntimeFailure, match="poison"):
        in_pieces(run, [x], TICKET, 1, helpers, 2)

    assert len(begun) <= 2


def test_no_piece_is_begun_for_a_caller_who_went() -> None:
    """What is under way is finished."""
    cancellation = Cancellation()
    begun: list[Ticket] = []

    def run(inputs: Inputs, ticket: Ticket) -> list[Array]:
        begun.append(ticket)
        cancellation.cancel()
        return double(inputs, ticket)

    ticket = Ticket("ann", cancellation=cancellation)
    with pytest.raises(Busy, match="nobody waits"):
        in_pieces(run, [np.ones((3, 2), np.float32)], ticket, 1, BusyHelpers(), 1)

    assert len(begun) == 1


def test_pieces_are_the_callers(helpers: ThreadPoolExecutor) -> None:
    """Each has its owner, deadline and priority; the time of all of them is told together."""
    tickets: list[Ticket] = []

    def run(inputs: Inputs, ticket: Ticket) -> list[Array]:
        tickets.append(ticket)
        assert ticket.spent is not None
        ticket.spent.add(0.25, 0.5)
        return double(inputs, ticket)

    spent = Spent()
    ticket = Ticket("ann", 7.0, 1, spent=spent)
    in_pieces(run, [np.ones((6, 2), np.float32)], ticket, 2, helpers, 2)

    assert {("ann", 7.0, 1)} == {(t.owner, t.deadline_s, t.priority) for t in tickets}
    assert Spent(0.75, 1.5) == spent
