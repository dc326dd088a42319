"""Requests of many rows are computed in pieces, in order, and end as one request does."""

import threading
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.pieces import in_pieces
from appliance.stacking import Inputs
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


@pytest.mark.parametrize("is_early", [False, True])
def test_each_piece_learns_that_the_caller_went(*, is_early: bool) -> None:
    """Before, or while one is computed."""
    cancellation = Cancellation()
    if is_early:
        cancellation.cancel()
    seen: list[bool] = []

    def run(inputs: Inputs, ticket: Ticket) -> list[Array]:
        assert ticket.cancellation is not None
        cancellation.cancel()
        seen.append(ticket.cancellation.is_cancelled)
        raise Busy("gone")

    ticket = Ticket("ann", cancellation=cancellation)
    with pytest.raises(Busy, match="gone"):
        in_pieces(run, [np.ones((3, 2), np.float32)], ticket, 1, BusyHelpers(), 1)

    assert [True] == seen


def test_without_helpers_the_caller_is_enough() -> None:
    """A pool that is shut down takes nothing; the lane says what is to be said."""
    shut = ThreadPoolExecutor(1)
    shut.shutdown()
    (doubled, _) = in_pieces(double, [np.ones((3, 2), np.float32)], TICKET, 1, shut, 3)

    assert (3, 2) == doubled.shape


def test_pieces_that_do_not_fit_together() -> None:
    """A graph whose outputs are shaped by its values."""

    def uneven(inputs: Inputs, ticket: Ticket) -> list[Array]:
        return [np.ones((1, int(inputs[0][0, 0])), np.float32)]

    x = np.array([[1.0], [1.0], [2.0]], np.float32)
    with pytest.raises(RuntimeFailure, match=r"gave \[\(1,\)\] for some rows and \[\(2,\)\]"):
        in_pieces(uneven, [x], TICKET, 1, BusyHelpers(), 1)


def test_a_graph_that_loses_rows() -> None:
    """Nobody gets another's answer."""
    with pytest.raises(RuntimeFailure, match="another number of rows"):
        in_pieces(
            lambda inputs, ticket: [inputs[0][:1]], [np.ones((4, 2), np.float32)], TICKET, 2,
            BusyHelpers(), 1,
        )  # fmt: skip


def test_pieces_are_the_callers(helpers: ThreadPoolExecutor) -> None:
    """Each has its owner, deadline and priority; what they took is told as one caller's time."""
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
    # Three pieces on one thread, or shared by two who worked at the same time.
    workers = len({id(t.spent) for t in tickets})
    assert Spent(0.75 / workers, 1.5 / workers) == spent
