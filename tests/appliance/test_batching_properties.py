"""The rules of `appliance.batching` on thousands of generated histories.

The histories are read from bytes: Hypothesis makes ten times as many of them in a second as of
nested lists and tuples, and shrinks them as well.
"""

import copy
import itertools
from collections import Counter
from collections.abc import Iterator

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.batching import Batcher
from appliance.requests import BatchPolicy, Decision, Reason, Request, TimeoutAction

# 10,000 in all; tune these and the lengths below, not the rules.
HISTORIES, SHARES, GUESTS, WIDE = 7000, 1500, 600, 900
TOTAL_THREADS = 2
TOTAL_QUEUE = 6
OWNERS = ("ann", "bob", "cy")
STEP_S = 0.004

# Each graph has what another has not: a hold, a timeout, late work, threads beyond the budget.
POLICIES = {
    "plain": (1, BatchPolicy(max_batch_rows=4, max_queue_size=4)),
    "held": (
        1,
        BatchPolicy(
            max_batch_rows=8,
            preferred_batch_rows=(3, 5),
            max_queue_delay_us=9000,
            default_timeout_us=20_000,
            max_queue_size=5,
        ),
    ),
    "late": (
        3,
        BatchPolicy(
            max_batch_rows=3,
            priority_levels=3,
            max_queue_size=4,
            default_timeout_us=10_000,
            timeout_action=TimeoutAction.DELAY,
        ),
    ),
    "single": (2, BatchPolicy(max_queue_size=3, allow_timeout_override=False)),
}


def profile(examples: int) -> settings:
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


class History:
    """A lane without threads: what was offered, what became of it, and the rules as checks."""

    def __init__(self) -> None:
        self.batcher = Batcher(max_queue_size=TOTAL_QUEUE, weights={"bob": 2.0})
        self.now = 0.0
        self.free = TOTAL_THREADS
        self.queued: dict[int, Request] = {}
        self.ends: Counter[int] = Counter()
        self.running: list[int] = []

    def offer(self, graph: str, shape: int, who: int) -> None:
        threads, policy = POLICIES[graph]
        request = Request(
            id=len(self.ends) + len(self.queued),
            graph=graph,
            rows=(1, 1, 1, 2, 3, 4, 6, 9)[shape % 8],
            key=(None, "x", "y", "x")[shape // 8 % 4],
            owner=OWNERS[who % 3],
            arrived_s=self.now,
            threads=threads,
            deadline_s=None if who // 3 % 2 else self.now + STEP_S * (who // 6 % 5),
            priority=who // 30 % 5 - 1,
            cost_s=0.001 * (1 + shape // 32),
            policy=policy,
        )
        before = Counter(r.owner for r in self._pool(request))
        refusals = self.batcher.offer(request)

        self.queued[request.id] = request
        for refusal in refusals:
            assert refusal.reason is Reason.QUEUE_FULL
            self._end(refusal.request)
            if refusal.request is not request:
                # Who is pushed out still has as many as the one that pushed.
                victim = refusal.request.owner
                assert before[victim] == max(before.values())
                assert before[victim] - 1 >= before[request.owner] + 1
            else:
                assert before[request.owner] + 1 >= max(before.values())
        assert len(refusals) == (sum(before.values()) > 0)

    def _pool(self, request: Request) -> list[Request]:
        """Those among whom a victim is chosen: none while there is room."""
        alike = [r for r in self.queued.values() if r.graph == request.graph]
        if len(alike) >= request.policy.max_queue_size:
            return alike
        return list(self.queued.values()) if len(self.queued) >= TOTAL_QUEUE else []

    def decide(self) -> Decision:
        in_time = {i for i, r in self.queued.items() if not r.is_expired(self.now)}
        decision = self.batcher.decide(self.now, self.free, TOTAL_THREADS)

        assert {r.request.id for r in decision.refusals} == self.queued.keys() - in_time
        for refusal in decision.refusals:
            assert refusal.reason is Reason.EXPIRED
            self._end(refusal.request)
        if decision.batch:
            self._check_batch(decision)
            for request in decision.batch:
                self._end(request)
            threads = min(decision.batch[0].threads, TOTAL_THREADS)
            self.free -= threads
            self.running.append(threads)
        else:
            self._check_rest(decision, len(in_time))
        return decision

    def _check_batch(self, decision: Decision) -> None:
        batch = decision.batch
        head = batch[0]
        assert decision.wake_at_s is None
        assert {head.graph} == {r.graph for r in batch}
        assert {head.key} == {r.key for r in batch}
        assert len(batch) == 1 or head.key is not None
        assert len(batch) == 1 or sum(r.rows for r in batch) <= head.policy.max_batch_rows
        assert len({r.id for r in batch}) == len(batch)
        assert min(head.threads, TOTAL_THREADS) <= self.free
        assert not any(r.is_expired(self.now) for r in batch)
        if any(r.expires_s() <= self.now for r in batch):
            # Late work goes when all that is in time is held, in the batch, or too wide for it.
            rest = [r for r in self.queued.values() if r not in batch]
            spare = head.policy.max_batch_rows - sum(r.rows for r in batch)
            assert all(
                r.policy.max_queue_delay_us or (r.graph == head.graph and r.rows > spare)
                for r in rest
                if r.expires_s() > self.now
            )

    def _check_rest(self, decision: Decision, waiting: int) -> None:
        """Nothing was started: for want of threads, or because it is held back."""
        assert len(self.batcher) == waiting
        blocked = [r for r in self.queued.values() if min(r.threads, TOTAL_THREADS) > self.free]
        held = [r for r in self.queued.values() if r.policy.max_queue_delay_us]
        assert blocked or len(held) == waiting
        if self.free == TOTAL_THREADS and waiting:
            assert decision.wake_at_s is not None
        if decision.wake_at_s is not None:
            assert decision.wake_at_s > self.now
            later = copy.deepcopy(self.batcher).decide(decision.wake_at_s, self.free, TOTAL_THREADS)
            assert later.batch or later.refusals

    def cancel(self, choice: int) -> None:
        if self.queued:
            request = list(self.queued.values())[choice % len(self.queued)]
            assert self.batcher.cancel(request.id)
            self._end(request)
        assert not self.batcher.cancel(-1)

    def finish(self, choice: int) -> None:
        if self.running:
            self.free += self.running.pop(choice % len(self.running))

    def _end(self, request: Request) -> None:
        assert self.queued.pop(request.id) == request, "it ends once"
        self.ends[request.id] += 1

    def check(self) -> None:
        counts = Counter(r.graph for r in self.queued.values())
        assert len(self.batcher) == len(self.queued) <= TOTAL_QUEUE
        assert all(counts[g] <= policy.max_queue_size for g, (_, policy) in POLICIES.items())
        assert all(i in self.batcher for i in self.queued)

    def drain(self) -> None:
        """Let it run on without arrivals until nothing is queued."""
        for _ in range(4 * TOTAL_QUEUE):
            decision = self.decide()
            if not decision.batch:
                self.finish(0)
                self.now = decision.wake_at_s or self.now
        assert not self.queued
        assert set(self.ends.values()) <= {1}


def quads(content: bytes) -> Iterator[tuple[int, ...]]:
    return (tuple(content[i : i + 4]) for i in range(0, len(content) - 3, 4))


@profile(HISTORIES)
@given(st.binary(min_size=24, max_size=120))
def test_every_request_ends_once_and_by_the_rules(content: bytes) -> None:
    """Whatever arrives, expires, is cancelled or finishes: bounds, batches and times hold."""
    history = History()
    for act, graph, shape, who in quads(content):
        if act < 150:
            history.offer(list(POLICIES)[graph % 4], shape, who)
        elif act < 200:
            history.decide()
        elif act < 230:
            history.now += STEP_S * (1 + graph % 3)
        elif act < 245:
            history.finish(graph)
        else:
            history.cancel(graph)
        history.check()

    history.drain()


@profile(200)
@given(st.integers(1, 12), st.sampled_from(sorted(POLICIES)), st.booleans())
def test_a_lone_request_is_taken_at_once(rows: int, graph: str, has_key: bool) -> None:
    """On an idle lane nothing but a queue delay keeps a request waiting."""
    threads, policy = POLICIES[graph]
    key = "x" if has_key else None
    request = Request(0, graph, rows, key, "ann", 1.0, threads=threads, policy=policy)
    batcher = Batcher()
    batcher.offer(request)

    decision = batcher.decide(1.0, TOTAL_THREADS, TOTAL_THREADS)

    is_held = graph == "held" and has_key and rows not in (3, 5) and rows < 8
    assert ((),) if is_held else (request,) == decision.batch


# -- fairness ------------------------------------------------------------------------------------

WEIGHTS = {"ann": 1.0, "bob": 2.0, "cy": 0.5, "dan": 1.0}
MAX_ROWS = 4
ROW_S = {"g": 1.0, "h": 2.5}
MAX_COST_S = 5 * max(ROW_S.values())
MAX_BATCH_COST_S = MAX_COST_S


class Contest:
    """Owners who always have work queued, and what each of them got."""

    def __init__(self, owners: int) -> None:
        self.batcher = Batcher(max_queue_size=1000, weights=WEIGHTS)
        self.policy = BatchPolicy(max_batch_rows=MAX_ROWS, max_queue_size=1000)
        self.ids = itertools.count()
        self.waiting: Counter[str] = Counter()
        self.got: dict[str, float] = dict.fromkeys(list(WEIGHTS)[:owners], 0.0)

    def offer(self, owner: str, shape: int) -> Request:
        graph = "gh"[shape % 2]
        rows = (1, 1, 1, 2, 3, 4, 5, 1)[shape // 2 % 8]
        request = Request(
            next(self.ids), graph, rows, "xy"[shape // 16 % 2], owner, 0.0,
            cost_s=rows * ROW_S[graph], policy=self.policy,
            deadline_s=None if shape & 64 else 1000.0 + shape, priority=1 + (shape >= 224),
        )  # fmt: skip
        assert self.batcher.offer(request) == ()
        self.waiting[owner] += request.level() == 1
        return request

    def decide(self) -> tuple[Request, ...]:
        batch = self.batcher.decide(0.0, 1, 1).batch
        for request in batch:
            if request.level() == 1:
                self.waiting[request.owner] -= 1
                self.got[request.owner] += request.cost_s / WEIGHTS[request.owner]
        return batch

    def unfairness(self) -> float:
        """By how much shares differ, in units of the bound; at most 1."""
        bounds = [
            (self.got[a] - self.got[b]) / ((MAX_COST_S + MAX_BATCH_COST_S) / WEIGHTS[a])
            for a, b in itertools.permutations(self.got, 2)
        ]
        return max(bounds)


@profile(SHARES)
@given(st.binary(min_size=60, max_size=140), st.integers(2, 4))
def test_owners_who_always_have_work_get_their_shares(content: bytes, owners: int) -> None:
    """Weighted service differs by no more than one batch and the largest request."""
    contest = Contest(owners)
    shapes = itertools.cycle(content)
    for _ in range(24):
        for owner in contest.got:
            while contest.waiting[owner] < MAX_ROWS:
                contest.offer(owner, next(shapes) % 224)
            contest.offer(owner, next(shapes))
        contest.decide()

        assert contest.unfairness() <= 1.0


@profile(GUESTS)
@given(st.binary(min_size=60, max_size=120), st.integers(2, 3), st.integers(0, 10))
def test_a_newcomer_is_served_soon(content: bytes, owners: int, after: int) -> None:
    """However long others have flooded the lane, a newcomer waits for a few batches of each."""
    contest = Contest(owners)
    shapes = itertools.cycle(content)
    for owner in contest.got:
        for _ in range(60):
            contest.offer(owner, next(shapes) % 224)
    for _ in range(after):
        contest.decide()
    before = dict(contest.got)
    contest.got["dan"] = 0.0
    request = contest.offer("dan", next(shapes) % 224)

    while contest.waiting["dan"]:
        contest.decide()

    gains = [contest.got[o] - before[o] for o in before]
    bounds = [2 * (MAX_COST_S + MAX_BATCH_COST_S) / WEIGHTS[o] for o in before]
    assert request.id not in contest.batcher
    assert all(gain <= bound for gain, bound in zip(gains, bounds, strict=True))


@profile(WIDE)
@given(st.binary(min_size=30, max_size=60), st.integers(2, 9))
def test_a_wide_request_is_not_overtaken_for_ever(content: bytes, rows: int) -> None:
    """Narrow requests that never stop coming fill batches only until it is the wide one's turn."""
    policy = BatchPolicy(max_batch_rows=4, max_queue_size=1000)
    batcher = Batcher(max_queue_size=1000)
    ids = itertools.count(1)
    wide = Request(0, "g", rows, "x", "ann", 0.5, policy=policy)

    def narrow(shape: int, arrived_s: float) -> None:
        owner = OWNERS[shape % 3]
        batcher.offer(Request(next(ids), "g", 1, "x", owner, arrived_s, policy=policy))

    for shape in content[:8]:
        narrow(shape, 0.0)
    batcher.offer(wide)
    taken: list[Request] = []
    for shape in content[8:]:
        for more in range(4):
            narrow(shape + more, 1.0)
        taken += batcher.decide(1.0, 1, 1).batch

    assert wide in taken
