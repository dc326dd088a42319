"""Which requests compute next, together: the decision, and nothing else.

No thread, no lock, no clock: requests and `now` go in, batches and refusals come out. The shell
around it is `scheduler.py`.

Rules:
1. Bounded: a full queue refuses at once. Who is refused is fair, too: whoever has at least two
   fewer in the queue than the owner with the most pushes that owner's last request out.
2. Expired requests are refused before compute, never computed for nobody (or, by policy DELAY,
   computed after everything that is still in time).
3. Order: priority level first (1 is the highest); within a level the owner who has had the least
   service for its weight in that level; within an owner the earliest deadline; then arrival.
4. A batch holds requests of one graph and one key, at most `max_batch_rows` rows. A request is
   never split; one that is larger than the bound goes alone.
5. Riding along in a batch is no way past the others: whoever waits for another graph is overtaken
   by nobody of a lower level, and by an owner's service only as far as one full batch.
6. What is taken is marked taken: two calls never give the same request.
7. Nothing waits for a fuller batch unless `max_queue_delay_us` says so; then only while more could
   join, no preferred size is reached and no member would expire, and it holds up nobody else.

Names and refusals are Triton's (`dynamic_batching`, `ModelQueuePolicy`); sizes count rows, not
requests.
"""

import heapq
import itertools
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from appliance.requests import (
    MICROSECOND_S,
    Decision,
    Hold,
    Reason,
    Refusal,
    Request,
    TimeoutAction,
)

# Whether it is late, its level, its owner's service.
_Standing = tuple[bool, int, float]
_Rank = tuple[_Standing, float, float, int]
# An owner's service is counted in each level by itself: what an owner had in a higher level was
# never to be had in a lower one.
_Account = tuple[int, str]

_FREE = Hold()


@dataclass(slots=True)
class _Queued:
    """A request in the queue, with what is asked of it again and again.

    expires_s: when it is late.   refused_s: when it is refused for it, infinity if never.
    """

    request: Request
    account: _Account
    expires_s: float
    refused_s: float

    @classmethod
    def of(cls, request: Request) -> "_Queued":
        expires_s = request.expires_s()
        is_refused = request.policy.timeout_action is TimeoutAction.REJECT
        account = (request.level(), request.owner)
        return cls(request, account, expires_s, expires_s if is_refused else math.inf)

    def fits(self, other: "_Queued") -> bool:
        """Tell whether both may be in one batch."""
        if self is other:
            return True
        mine, yours = self.request, other.request
        return mine.key is not None and mine.key == yours.key and mine.graph == yours.graph


class Batcher:
    """The queue of one lane.

    max_queue_size: requests of all graphs together.   weights: an owner's share of the lane,
    1 if not named.
    """

    def __init__(
        self, *, max_queue_size: int = 256, weights: Mapping[str, float] | None = None
    ) -> None:
        self._max_queue_size = max_queue_size
        self._weights = dict(weights or {})
        if any(not weight > 0 for weight in self._weights.values()):
            raise ValueError("batcher: weights are above 0")
        # Insertion order is arrival order.
        self._queued: dict[int, _Queued] = {}
        self._served: dict[_Account, float] = {}
        self._clocks: dict[int, float] = {}
        # The earliest `refused_s` of the queue, or something before it: see `_next_expiry`.
        self._soonest_s = math.inf

    def __len__(self) -> int:
        return len(self._queued)

    def __contains__(self, request_id: int) -> bool:
        return request_id in self._queued

    def offer(self, request: Request) -> tuple[Refusal, ...]:
        """Queue a request.

        Returns: nothing, or whom there was no room for: the request itself, or another owner's.
        Raises: ValueError for a request of no size.
        """
        assert request.id not in self._queued, "a request is offered once"
        if request.rows < 1 or request.threads < 1 or not request.cost_s > 0:
            raise ValueError("request: rows and threads are at least 1, cost_s is above 0")
        everything = [queued.request for queued in self._queued.values()]
        pool = [queued for queued in everything if queued.graph == request.graph]
        if len(pool) < request.policy.max_queue_size:
            pool = everything if len(everything) >= self._max_queue_size else []
        refusals: tuple[Refusal, ...] = ()
        if pool:
            victim = _victim(pool, request)
            refusals = (Refusal(victim, Reason.QUEUE_FULL),)
            if victim is request:
                return refusals
            del self._queued[victim.id]
        queued = _Queued.of(request)
        self._enter(queued.account)
        self._queued[request.id] = queued
        self._soonest_s = min(self._soonest_s, queued.refused_s)
        return refusals

    def cancel(self, request_id: int) -> bool:
        """Remove a request whose caller has gone. Returns: whether it was still queued."""
        return self._queued.pop(request_id, None) is not None

    def decide(
        self, now: float, free_threads: int, total_threads: int,
        holds: Mapping[Hashable, Hold] | None = None,
    ) -> Decision:  # fmt: skip
        """Take what should run now.

        free_threads: of the lane's budget, not in use.   total_threads: the whole budget; a run
        that wants more takes all of it.   holds: of graphs whose batches wait or stay smaller.
        """
        refusals = self._expire(now)
        held_until_s = math.inf
        waiting = list(self._queued.values()) if free_threads > 0 else []
        while waiting:
            head = min(waiting, key=lambda queued: self._rank(queued, now))
            if min(head.request.threads, total_threads) > free_threads:
                # Nobody overtakes it: else a graph that needs all threads would wait for ever.
                break
            alike = [queued for queued in waiting if queued.fits(head)]
            waiting = [queued for queued in waiting if not queued.fits(head)]
            hold = (holds or {}).get(head.request.graph, _FREE)
            batch = self._fill(head, alike, waiting, now, hold.max_rows)
            until_s = now
            if len(batch) == len(alike):
                until_s = max(_hold(batch, now), hold.until_s)
            if until_s > now:
                batch = _preferred(batch)
            if batch:
                for queued in batch:
                    del self._queued[queued.request.id]
                    self._charge(queued.account, queued.request.cost_s)
                return Decision(tuple(queued.request for queued in batch), refusals)
            # What is held back holds up nobody else: look at the rest.
            held_until_s = min(held_until_s, until_s)
        wake_at_s = min(held_until_s, self._next_expiry())
        return Decision((), refusals, None if math.isinf(wake_at_s) else wake_at_s)

    def _fill(
        self, head: _Queued, alike: Sequence[_Queued], others: Sequence[_Queued], now: float,
        bound: float,
    ) -> list[_Queued]:  # fmt: skip
        """Add to the head what can compute with it, in fair order, up to the bound.

        The owners take turns within the batch as they do between batches: each request taken
        counts at once, or whoever is first would fill the batch alone.
        """
        if len(alike) == 1:
            return [head]
        max_rows = min(head.request.policy.max_batch_rows, bound)
        lead_s = head.request.cost_s * max(1.0, max_rows / head.request.rows)
        first_other = min((self._standing(queued, now) for queued in others), default=None)
        turns: dict[_Account, list[tuple[_Rank, _Queued]]] = {}
        for queued in alike:
            turns.setdefault(queued.account, []).append((self._rank(queued, now), queued))
        for ranked in turns.values():
            ranked.sort(key=lambda pair: pair[0], reverse=True)
        served = {account: self._served[account] for account in turns}
        heads = [(ranked[-1][0], account) for account, ranked in turns.items()]
        heapq.heapify(heads)
        batch: list[_Queued] = []
        rows = 0
        while heads and rows < max_rows:
            _, account = heapq.heappop(heads)
            queued = turns[account].pop()[1]
            had = served[account] - lead_s / self._weight(account)
            is_ahead = first_other is not None and self._standing(queued, now, had) > first_other
            if not batch or (not is_ahead and rows + queued.request.rows <= max_rows):
                batch.append(queued)
                rows += queued.request.rows
                served[account] += queued.request.cost_s / self._weight(account)
            if turns[account]:
                rank = self._rank(turns[account][-1][1], now, served[account])
                heapq.heappush(heads, (rank, account))
        return batch

    # -- fairness: start-time fair queueing ------------------------------------------------------

    def charge(self, request: Request) -> None:
        """Count a request that was computed without ever being queued."""
        account = (request.level(), request.owner)
        self._enter(account)
        self._charge(account, request.cost_s)

    def _weight(self, account: _Account) -> float:
        return self._weights.get(account[1], 1.0)

    def _enter(self, account: _Account) -> None:
        """Let an owner begin where the others are: an idle one saves up no claim."""
        active = {queued.account for queued in self._queued.values()} if self._queued else set()
        if account in active:
            return
        clock = self._clocks.get(account[0], 0.0)
        self._served[account] = max(self._served.get(account, 0.0), clock)
        if len(self._served) > 4 * self._max_queue_size:
            active.add(account)
            self._served = {a: s for a, s in self._served.items() if a in active}

    def _charge(self, account: _Account, cost_s: float) -> None:
        served = self._served[account]
        self._clocks[account[0]] = max(self._clocks.get(account[0], 0.0), served)
        self._served[account] = served + cost_s / self._weight(account)

    def _standing(self, queued: _Queued, now: float, served: float | None = None) -> _Standing:
        """Order owners' requests. served: by the owner's account, if not as it stands."""
        account = queued.account
        # Late ones are there only with DELAY: REJECT has removed them.
        is_late = queued.expires_s <= now
        return is_late, account[0], self._served[account] if served is None else served

    def _rank(self, queued: _Queued, now: float, served: float | None = None) -> _Rank:
        """Order requests; the smallest is next."""
        request = queued.request
        standing = self._standing(queued, now, served)
        return standing, queued.expires_s, request.arrived_s, request.id

    # -- time ------------------------------------------------------------------------------------

    def _expire(self, now: float) -> tuple[Refusal, ...]:
        if self._soonest_s > now:
            return ()
        old = [queued.request for queued in self._queued.values() if queued.refused_s <= now]
        for request in old:
            del self._queued[request.id]
        self._next_expiry()
        return tuple(Refusal(request, Reason.EXPIRED) for request in old)

    def _next_expiry(self) -> float:
        """When the next queued request is to be refused for its age; infinity if none ever is."""
        self._soonest_s = min(
            (queued.refused_s for queued in self._queued.values()), default=math.inf
        )
        return self._soonest_s


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


def _hold(batch: Sequence[_Queued], now: float) -> float:
    """Tell until when a batch that has all there is waits for more; `now` if it does not."""
    policy = batch[0].request.policy
    rows = sum(queued.request.rows for queued in batch)
    if not policy.max_queue_delay_us or batch[0].request.key is None:
        return now
    if rows >= policy.max_batch_rows:
        return now
    oldest_s = min(queued.request.arrived_s for queued in batch)
    until_s = oldest_s + policy.max_queue_delay_us * MICROSECOND_S
    would_expire = any(queued.expires_s <= until_s for queued in batch)
    return now if would_expire else max(now, until_s)


def _preferred(batch: Sequence[_Queued]) -> list[_Queued]:
    """Cut a batch to its longest beginning of a preferred size; empty if there is none."""
    preferred = batch[0].request.policy.preferred_batch_rows
    totals = itertools.accumulate(queued.request.rows for queued in batch)
    return list(
        batch[: max((n for n, rows in enumerate(totals, 1) if rows in preferred), default=0)]
    )
