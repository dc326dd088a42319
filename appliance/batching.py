"""Which requests compute next, together: the decision, and nothing else.

No thread, no lock, no clock: requests and `now` go in, batches and refusals come out. The shell
around it is `scheduler.py`.

Rules:
1. Bounded: a full queue refuses at once. Who is refused is fair, too: an owner who has less in the
   queue than another pushes that other's last request out.
2. Expired requests are refused before compute, never computed for nobody (or, by policy DELAY,
   computed after everything that is still in time).
3. Order: priority level first (1 is the highest); within a level the owner who has had the least
   service for its weight; within an owner the earliest deadline; then arrival.
4. A batch holds requests of one graph and one key, at most `max_batch_rows` rows. A request is
   never split; one that is larger than the bound goes alone.
5. What is taken is marked taken: two calls never give the same request.
6. Nothing waits for a fuller batch unless `max_queue_delay_us` says so; then only while room is
   left and no preferred size is reached.

Names and refusals are Triton's (`dynamic_batching`, `ModelQueuePolicy`); sizes count rows, not
requests.
"""

import heapq
import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum

MICROSECOND_S = 1e-6

_Rank = tuple[bool, int, float, float, float, int]


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


@dataclass(frozen=True, slots=True)
class Request:
    """One call that wants to compute.

    id: unique.   graph: what computes it.   key: requests of another key cannot share a batch
    (other dimensions or types); None shares with nobody.   threads: of the lane's budget one run
    takes.   deadline_s: absolute.   priority: 1 is the highest, 0 stands for the default.
    cost_s: what its rows are expected to take, for fairness between owners.
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
    policy: BatchPolicy = field(default_factory=BatchPolicy)

    def level(self) -> int:
        """Its priority level; one beyond the range counts as the lowest."""
        return min(self.priority or self.policy.default_priority_level, self.policy.priority_levels)

    def expires_s(self) -> float:
        """When it is no longer worth computing; infinity if always."""
        times = [math.inf]
        if self.deadline_s is not None and self.policy.allow_timeout_override:
            times.append(self.deadline_s)
        if self.policy.default_timeout_us:
            times.append(self.arrived_s + self.policy.default_timeout_us * MICROSECOND_S)
        return min(times)


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


class Batcher:
    """The queue of one lane.

    max_queue_size: requests of all graphs together.   weights: an owner's share of the lane,
    1 if not named.
    """

    def __init__(
        self, *, max_queue_size: int = 256, weights: dict[str, float] | None = None
    ) -> None:
        self._max_queue_size = max_queue_size
        self._weights = dict(weights or {})
        # Insertion order is arrival order.
        self._queued: dict[int, Request] = {}
        self._served: dict[str, float] = {}
        self._clock = 0.0

    def __len__(self) -> int:
        return len(self._queued)

    def __contains__(self, request_id: int) -> bool:
        return request_id in self._queued

    def offer(self, request: Request) -> tuple[Refusal, ...]:
        """Queue a request.

        Returns: nothing, or whom there was no room for: the request itself, or another owner's.
        """
        same_graph = [r for r in self._queued.values() if r.graph == request.graph]
        pool: Sequence[Request] | None = None
        if len(same_graph) >= request.policy.max_queue_size:
            pool = same_graph
        elif len(self._queued) >= self._max_queue_size:
            pool = list(self._queued.values())
        refusals: tuple[Refusal, ...] = ()
        if pool is not None:
            victim = _victim(pool, request)
            refusals = (Refusal(victim, Reason.QUEUE_FULL),)
            if victim is request:
                return refusals
            del self._queued[victim.id]
        self._enter(request.owner)
        self._queued[request.id] = request
        return refusals

    def cancel(self, request_id: int) -> bool:
        """Remove a request whose caller has gone. Returns: whether it was still queued."""
        return self._queued.pop(request_id, None) is not None

    def decide(self, now: float, free_threads: int, total_threads: int) -> Decision:
        """Take what should run now.

        free_threads: of the lane's budget, not in use.   total_threads: the whole budget; a run
        that wants more takes all of it.
        """
        refusals = tuple(self._expire(now))
        if not self._queued:
            return Decision(refusals=refusals)
        head = min(self._queued.values(), key=lambda r: self._rank(r, now))
        if min(head.threads, total_threads) > free_threads:
            # Nobody overtakes it: else a graph that needs all threads would wait for ever.
            return Decision(refusals=refusals, wake_at_s=self._next_expiry())
        batch = self._fill(head, now)
        held_until_s = _hold(batch, now)
        if held_until_s is not None:
            expiry_s = self._next_expiry()
            wake_at_s = held_until_s if expiry_s is None else min(held_until_s, expiry_s)
            return Decision(refusals=refusals, wake_at_s=wake_at_s)
        for request in batch:
            del self._queued[request.id]
            self._charge(request)
        return Decision(batch, refusals)

    def _fill(self, head: Request, now: float) -> tuple[Request, ...]:
        """Add to the head what can compute with it, in fair order, up to the bound.

        The owners take turns within the batch as they do between batches: each request taken
        counts at once, or whoever is first would fill the batch alone.
        """
        if head.key is None:
            return (head,)
        by_owner: dict[str, list[Request]] = {}
        for request in self._queued.values():
            if request.graph == head.graph and request.key == head.key:
                by_owner.setdefault(request.owner, []).append(request)
        for requests in by_owner.values():
            requests.sort(key=lambda r: self._rank(r, now), reverse=True)
        served = {owner: self._served.get(owner, 0.0) for owner in by_owner}
        turns = [(self._rank(requests[-1], now), owner) for owner, requests in by_owner.items()]
        heapq.heapify(turns)
        batch: list[Request] = []
        rows = 0
        while turns and rows < head.policy.max_batch_rows:
            _, owner = heapq.heappop(turns)
            request = by_owner[owner].pop()
            if not batch or rows + request.rows <= head.policy.max_batch_rows:
                batch.append(request)
                rows += request.rows
                served[owner] += request.cost_s / self._weights.get(owner, 1)
            if by_owner[owner]:
                rank = self._rank(by_owner[owner][-1], now, served[owner])
                heapq.heappush(turns, (rank, owner))
        return tuple(batch)

    # -- fairness: start-time fair queueing ------------------------------------------------------

    def charge(self, request: Request) -> None:
        """Count a request that was computed without ever being queued."""
        self._enter(request.owner)
        self._charge(request)

    def _enter(self, owner: str) -> None:
        """Let an owner begin where the others are: an idle one saves up no claim."""
        if not any(request.owner == owner for request in self._queued.values()):
            self._served[owner] = max(self._served.get(owner, 0.0), self._clock)
            if len(self._served) > 4 * self._max_queue_size:
                active = {request.owner for request in self._queued.values()} | {owner}
                self._served = {o: s for o, s in self._served.items() if o in active}

    def _charge(self, request: Request) -> None:
        served = self._served.get(request.owner, self._clock)
        self._clock = max(self._clock, served)
        self._served[request.owner] = served + request.cost_s / self._weights.get(request.owner, 1)

    def _rank(self, request: Request, now: float, served: float | None = None) -> _Rank:
        """Order requests; the smallest is next. served: of its owner, if not as it stands."""
        expires_s = request.expires_s()
        return (
            expires_s <= now,  # only with DELAY: REJECT has removed them
            request.level(),
            self._served.get(request.owner, 0.0) if served is None else served,
            expires_s,
            request.arrived_s,
            request.id,
        )

    # -- time ------------------------------------------------------------------------------------

    def _expire(self, now: float) -> Iterator[Refusal]:
        for request in [r for r in self._queued.values() if r.expires_s() <= now]:
            if request.policy.timeout_action is TimeoutAction.REJECT:
                del self._queued[request.id]
                yield Refusal(request, Reason.EXPIRED)

    def _next_expiry(self) -> float | None:
        """When the next queued request is to be refused for its age; None if none ever is."""
        times = [
            request.expires_s()
            for request in self._queued.values()
            if request.policy.timeout_action is TimeoutAction.REJECT
        ]
        soonest_s = min(times, default=math.inf)
        return None if math.isinf(soonest_s) else soonest_s


def _victim(pool: Sequence[Request], request: Request) -> Request:
    """Choose who has to go when there is no room for a request."""
    counts: dict[str, int] = {}
    for queued in pool:
        counts[queued.owner] = counts.get(queued.owner, 0) + 1
    most = max(counts.values())
    if counts.get(request.owner, 0) + 1 >= most:
        return request
    # The last to come of the least important requests of whoever has the most.
    greedy = [queued for queued in pool if counts[queued.owner] == most]
    return max(greedy, key=lambda r: (r.level(), r.arrived_s, r.id))


def _hold(batch: Sequence[Request], now: float) -> float | None:
    """Tell until when a batch is held back for more; None if it goes now."""
    policy = batch[0].policy
    rows = sum(request.rows for request in batch)
    if not policy.max_queue_delay_us or rows >= policy.max_batch_rows:
        return None
    if rows in policy.preferred_batch_rows:
        return None
    oldest_s = min(request.arrived_s for request in batch)
    until_s = oldest_s + policy.max_queue_delay_us * MICROSECOND_S
    return None if now >= until_s else until_s
