"""The seam to a scheduler: who computes, and when.

The session hands every compute to an `Executor`. `DirectExecutor` runs it at once on the
caller's thread, which is right for one guest; a service puts its scheduler here.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from wasi_nn.backend import Graph
from wasi_nn.errors import Busy
from wasi_nn.tensor import Array


class Cancellation:
    """Says once that nobody waits for an answer any more. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_cancelled = False
        self._listener: Callable[[], None] | None = None

    @property
    def is_cancelled(self) -> bool:
        """Whether it has been said."""
        return self._is_cancelled

    def cancel(self) -> None:
        """Say it."""
        with self._lock:
            self._is_cancelled = True
            listener, self._listener = self._listener, None
        if listener is not None:
            listener()

    def listen(self, listener: Callable[[], None] | None) -> None:
        """Call this when it is said, at once if it was said already; None stops listening.

        There is one listener at a time: a caller waits for one compute at a time.
        """
        with self._lock:
            self._listener = None if self._is_cancelled else listener
            is_late = self._is_cancelled
        if is_late and listener is not None:
            listener()


@dataclass(slots=True)
class Spent:
    """Where the time of a caller's computes went, in seconds, all together.

    queue_s: waiting to begin.   compute_s: of the runs they were in, others' rows included.
    """

    queue_s: float = 0.0
    compute_s: float = 0.0

    def add(self, queue_s: float, compute_s: float) -> None:
        """Count one compute; an executor does before it returns to the caller."""
        self.queue_s += queue_s
        self.compute_s += compute_s


@dataclass(frozen=True, slots=True)
class Ticket:
    """On whose behalf a compute runs, and until when it is worth running.

    deadline_s: `time.monotonic()` seconds, or None for no deadline.
    priority: 1 is the highest, 0 stands for the default.
    cancellation: tells when the caller has gone.   spent: is told what it took.
    """

    owner: str = "guest"
    deadline_s: float | None = None
    priority: int = 0
    cancellation: Cancellation | None = None
    spent: Spent | None = None


class Executor(Protocol):
    """Run graphs for many callers."""

    def run(self, graph: Graph, inputs: Sequence[Array], ticket: Ticket) -> list[Array]:
        """Compute, blocking until done.

        Raises: what `Graph.run` raises, and Busy if the queue is full, or the deadline passed or
        the caller went before the compute began.
        """
        ...


class DirectExecutor:
    """Compute at once on the caller's thread."""

    def run(self, graph: Graph, inputs: Sequence[Array], ticket: Ticket) -> list[Array]:
        """Compute; see `Executor.run`."""
        if ticket.cancellation is not None and ticket.cancellation.is_cancelled:
            raise Busy("compute not started: nobody waits for it any more")
        if ticket.deadline_s is not None and time.monotonic() >= ticket.deadline_s:
            raise Busy("compute not started: its deadline has passed")
        started_s = time.perf_counter()
        try:
            return graph.run(inputs)
        finally:
            if ticket.spent is not None:
                ticket.spent.add(0.0, time.perf_counter() - started_s)
