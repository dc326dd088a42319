"""What wants to compute and how it may wait: the words that the batcher and its shell share.

Names are Triton's (`dynamic_batching`, `ModelQueuePolicy`); sizes count rows, not requests.
"""

import math
from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

MICROSECOND_S = 1e-6


class TimeoutAction(Enum):
    """What happens to a request whose time is over while it is queued."""

    REJECT = "reject"
    DELAY = "delay"


class Reason(Enum):
    """Why a request was refused; also the metric's label."""

    QUEUE_FULL = "queue_full"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """How requests for one graph are batched.

    max_batch_rows: 1 switches batching off.   preferred_batch_rows: sizes worth sending at once.
    max_queue_delay_us: how long the oldest may be held back for a fuller batch.
    max_queue_size: requests queued for the graph.   default_timeout_us: in the queue, 0 for none.
    allow_timeout_override: a request's own deadline counts, too; it can only shorten.
    """

    max_batch_rows: int = 1
    preferred_batch_rows: tuple[int, ...] = ()
    max_queue_delay_us: int = 0
    priority_levels: int = 2
    default_priority_level: int = 2
    max_queue_size: int = 64
    default_timeout_us: int = 0
    allow_timeout_override: bool = True
    timeout_action: TimeoutAction = TimeoutAction.REJECT

    def __post_init__(self) -> None:
        if self.max_batch_rows < 1 or self.max_queue_size < 1:
            raise ValueError("batch policy: max_batch_rows and max_queue_size are at least 1")
        if not 1 <= self.default_priority_level <= self.priority_levels:
            raise ValueError("batch policy: default_priority_level is one of the levels")
        if self.max_queue_delay_us < 0 or self.default_timeout_us < 0:
            raise ValueError("batch policy: times are not negative")
        if any(not 1 <= rows <= self.max_batch_rows for rows in self.preferred_batch_rows):
            raise ValueError("batch policy: preferred_batch_rows lie within max_batch_rows")


class Request(NamedTuple):
    """One call that wants to compute.

    id: unique.   graph: what computes it.   key: requests of another key cannot share a batch
    (other dimensions or types); None shares with nobody.   threads: of the lane's budget one run
    takes.   deadline_s: absolute.   priority: 1 is the highest, 0 stands for the default.
    cost_s: what its rows are expected to take, for fairness between owners; above 0.
    A tuple, which takes a third of the time to make of a frozen dataclass.
    """

    id: int
    graph: Hashable
    rows: int
    key: Hashable
    owner: str
    arrived_s: float
    threads: int = 1
    deadline_s: float | None = None
    priority: int = 0
    cost_s: float = 1.0
    policy: BatchPolicy = BatchPolicy()

    def level(self) -> int:
        """Its priority level; beyond the range it is the lowest, below 1 the default."""
        if self.priority < 1:
            return self.policy.default_priority_level
        return min(self.priority, self.policy.priority_levels)

    def expires_s(self) -> float:
        """When it is no longer worth computing; infinity if always."""
        expires_s = math.inf
        if self.deadline_s is not None and self.policy.allow_timeout_override:
            expires_s = self.deadline_s
        if self.policy.default_timeout_us:
            timeout_s = self.policy.default_timeout_us * MICROSECOND_S
            expires_s = min(expires_s, self.arrived_s + timeout_s)
        return expires_s

    def is_expired(self, now: float) -> bool:
        """Tell whether it is to be refused for its age."""
        return self.policy.timeout_action is TimeoutAction.REJECT and self.expires_s() <= now


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that will not be computed."""

    request: Request
    reason: Reason


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now.

    batch: compute these together; empty if nothing is to be started.   refusals: tell these.
    wake_at_s: decide again then at the latest; None if only an event changes anything.
    """

    batch: tuple[Request, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    wake_at_s: float | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """What the shell knows of a graph's callers: how its next batch is formed.

    max_rows: in one batch now, for the rest has a run of its own.   until_s: whatever has fewer
    than it could have is held back until then.
    """

    max_rows: float = math.inf
    until_s: float = -math.inf
