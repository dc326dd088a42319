"""A request of many rows, computed a few at a time, several side by side.

One run of 64 rows keeps one core busy while the others idle, holds everybody else up until it is
done, and is often slower than small ones: Lite0 takes a fifth longer a row at 8 rows than at 1.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import replace

import numpy as np

from wasi_nn.errors import Busy
from wasi_nn.executor import Spent, Ticket
from wasi_nn.tensor import Array

Inputs = Sequence[Array]


def in_pieces(
    run: Callable[[Inputs, Ticket], list[Array]], inputs: Inputs, ticket: Ticket, piece_rows: int,
    helpers: Executor, side_by_side: int,
) -> list[Array]:  # fmt: skip
    """Compute a request piece by piece, on this thread and on helpers that are free.

    run: computes some rows; called on several threads at once.   inputs: all with as many rows on
    axis 0, at least 1, that do not depend on each other.   ticket: of the whole.
    piece_rows: of one run, at most.   side_by_side: runs at a time.
    Returns: all outputs' rows, in order.
    Raises: what the first run raised that failed, and Busy if the caller went; no piece is begun
    after that.
    """
    rows = len(inputs[0])
    # next() of it is one operation, which threads may do at once; so is storing a result.
    starts = iter(range(0, rows, piece_rows))
    pieces: dict[int, list[Array]] = {}
    failures: list[BaseException] = []

    def work() -> Spent:
        spent = Spent()
        # A cancellation has one listener at a time, so it is looked at between pieces.
        own = replace(ticket, cancellation=None, spent=spent)
        for start in starts:
            if failures:
                break
            try:
                if ticket.cancellation is not None and ticket.cancellation.is_cancelled:
                    raise Busy("compute not finished: nobody waits for it any more")
                pieces[start] = run([array[start : start + piece_rows] for array in inputs], own)
            except BaseException as exc:
                failures.append(exc)
        return spent

    helping = [helpers.submit(work) for _ in range(side_by_side - 1)]
    times = [work()]
    # A helper that has not begun by now finds nothing left.
    times += [helper.result() for helper in helping if not helper.cancel()]
    if ticket.spent is not None:
        for spent in times:
            ticket.spent.add(spent.queue_s, spent.compute_s)
    if failures:
        raise failures[0]
    parts = [pieces[start] for start in sorted(pieces)]
    return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]
