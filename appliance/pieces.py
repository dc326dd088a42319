"""A request of many rows, computed a few at a time, several side by side.

One run of 64 rows keeps one core busy while the others idle, holds everybody else up until it is
done, and is often slower than small ones: Lite0 takes a fifth longer a row at 8 rows than at 1.

Each piece waits its turn as any request does, so `default_timeout_us` counts for each anew.
"""

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import replace

import numpy as np

from appliance.stacking import Inputs, has_rows
from wasi_nn.errors import RuntimeFailure
from wasi_nn.executor import Cancellation, Spent, Ticket
from wasi_nn.tensor import Array

Run = Callable[[Inputs, Ticket], list[Array]]


def in_pieces(
    run: Run, inputs: Inputs, ticket: Ticket, piece_rows: int, helpers: Executor,
    side_by_side: int,
) -> list[Array]:  # fmt: skip
    """Compute a request piece by piece, on this thread and on helpers that are free.

    run: computes some rows; called on several threads at once.   inputs: all with as many rows on
    axis 0, at least 1, that do not depend on each other.   ticket: of the whole.
    piece_rows: of one run, at most.   side_by_side: runs at a time.
    Returns: all outputs' rows, in order.
    Raises: what the first run raised that failed, and RuntimeFailure if the pieces' answers do not
    fit together; no piece is begun after that.
    """
    work = _Work(run, inputs, ticket, piece_rows)
    helping: list[Future[None]] = []
    try:
        for _ in range(side_by_side - 1):
            helping.append(helpers.submit(work.do))
    except RuntimeError:
        # The box is stopping, or has no thread to spare: this one is enough.
        pass
    try:
        work.do()
        for helper in helping:
            # Who has not begun by now finds nothing left.
            if not helper.cancel():
                helper.result()
    except BaseException as exc:  # Ctrl-C
        work.failures.append(exc)
        raise
    finally:
        work.end()
    return work.outputs()


class _Work:
    """The pieces of one request; `do` on as many threads as have time."""

    def __init__(self, run: Run, inputs: Inputs, ticket: Ticket, piece_rows: int) -> None:
        self._run = run
        self._inputs = inputs
        self._ticket = ticket
        self._piece_rows = piece_rows
        # next() of it is one operation, which threads may do at once; so are those on a list.
        self._starts = iter(range(0, len(inputs[0]), piece_rows))
        self._pieces: dict[int, list[Array]] = {}
        self._spent: list[Spent] = []
        # A cancellation has one listener at a time, so each thread has its own.
        self._cancellations: list[Cancellation] = []
        self.failures: list[BaseException] = []
        if ticket.cancellation is not None:
            ticket.cancellation.listen(self._cancel)

    def do(self) -> None:
        """Compute pieces while there are any."""
        spent, cancellation = Spent(), Cancellation()
        own = replace(self._ticket, cancellation=cancellation, spent=spent)
        self._cancellations.append(cancellation)
        if self._ticket.cancellation is not None and self._ticket.cancellation.is_cancelled:
            cancellation.cancel()
        for start in self._starts:
            if self.failures:
                break
            try:
                self._pieces[start] = self._compute(start, own)
            except BaseException as exc:
                self.failures.append(exc)
        if spent.compute_s:
            self._spent.append(spent)

    def _compute(self, start: int, ticket: Ticket) -> list[Array]:
        piece = [array[start : start + self._piece_rows] for array in self._inputs]
        outputs = self._run(piece, ticket)
        rows = len(piece[0])
        if not has_rows(outputs, rows):
            raise RuntimeFailure(f"piece of {rows} rows: the graph gave another number of rows")
        return outputs

    def _cancel(self) -> None:
        for cancellation in tuple(self._cancellations):
            cancellation.cancel()

    def end(self) -> None:
        """Tell what it took: as the mean of the threads, for they waited at the same time."""
        if self._ticket.cancellation is not None:
            self._ticket.cancellation.listen(None)
        if self._ticket.spent is not None:
            share = 1 / max(1, len(self._spent))
            for spent in self._spent:
                self._ticket.spent.add(spent.queue_s * share, spent.compute_s * share)

    def outputs(self) -> list[Array]:
        """Put the answers together. Raises: see `in_pieces`."""
        if self.failures:
            raise self.failures[0]
        parts = [self._pieces[start] for start in sorted(self._pieces)]
        try:
            return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]
        except ValueError as exc:
            first, other = next(
                (a, b) for a, b in itertools.pairwise(_shapes(part) for part in parts) if a != b
            )
            raise RuntimeFailure(
                f"pieces: the graph gave {first} for some rows and {other} for others; set "
                "max_batch_rows of the model in [scheduler.models] to the rows of a request"
            ) from exc


def _shapes(outputs: Sequence[Array]) -> list[tuple[int, ...]]:
    """The shapes of outputs, without their rows."""
    return [output.shape[1:] for output in outputs]
