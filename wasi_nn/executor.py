"""The seam to a scheduler: who computes, and when.

The session hands every compute to an `Executor`. `DirectExecutor` runs it at once on the
caller's thread, which is right for one guest; a service puts its scheduler here.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from wasi_nn.backend import Graph
from wasi_nn.errors import Busy
from wasi_nn.tensor import Array


@dataclass(frozen=True, slots=True)
class Ticket:
    """On whose behalf a compute runs, and until when it is worth running.

    deadline_s: `time.monotonic()` seconds, or None for no deadline.
    priority: 1 is the highest, 0 stands for the default.
    """

    owner: str = "guest"
    deadline_s: float | None = None
    priority: int = 0


class Executor(Protocol):
    """Run graphs for many callers."""

    def run(self, graph: Graph, inputs: Sequence[Array], ticket: Ticket) -> list[Array]:
        """Compute, blocking until done.

        Raises: what `Graph.run` raises, and Busy if the queue is full or the deadline passed
        before the compute began.
        """
        ...


class DirectExecutor:
    """Compute at once on the caller's thread."""

    def run(self, graph: Graph, inputs: Sequence[Array], ticket: Ticket) -> list[Array]:
        """Compute; see `Executor.run`."""
        if ticket.deadline_s is not None and time.monotonic() >= ticket.deadline_s:
            raise Busy("compute not started: its deadline has passed")
        return graph.run(inputs)
