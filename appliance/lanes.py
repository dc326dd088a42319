"""One device's lane: a budget of threads, a queue before it, and batches that are formed.

The decision is `batching.Batcher`'s; this file owns the lock and the threads.

Rules:
1. A lone request never waits: on an idle lane it runs on its caller's own thread, at once. Only
   where a graph has several callers do they wait for each other for a moment (`crowds.py`).
2. What is queued runs on the lane's workers, one per thread of the budget, who go from batch to
   batch without a pause. Handing each run to one of its callers' threads instead cost a third of
   the rows/s with eight callers: a waking thread finds cold caches and a contended core. Letting
   whoever completes a batch compute it cost a sixth, though it is awake: workers stay on a core.
3. The threads of all runs of a lane never exceed its budget.
4. A batch that fails is computed again one by one: a poison request fails alone.
5. Decide under the lock, mark what was taken, act outside.
"""

import dataclasses
import itertools
import logging
import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Sequence

from appliance.batching import Batcher
from appliance.calls import Call, GraphPlan, Known, Work, compute
from appliance.crowds import Crowd
from appliance.lanestats import GraphCounts, GraphStatistics, LaneStatistics
from appliance.requests import Hold, Reason, Refusal, Request
from appliance.settings import SchedulerSettings
from appliance.stacking import Stack, batch_shape
from wasi_nn.backend import Device, Graph
from wasi_nn.errors import Busy
from wasi_nn.executor import Ticket
from wasi_nn.tensor import Array

log = logging.getLogger(__name__)

# Graphs whose counts are kept after they were last used; chosen, not measured.
_KEPT_GRAPHS = 64
# What a piece of work of `alone` is expected to take; appliance.planning's take as long.
_ALONE_S = 0.020


class Lane:
    """One device: a budget of threads and the queue before it.

    plan_of: how a graph is run.   settings: its queue's bound, and its owners' shares.
    clock: monotonic seconds.
    """

    def __init__(
        self, device: Device, threads: int, plan_of: Callable[[Graph], GraphPlan],
        settings: SchedulerSettings | None = None, *, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        bounds = settings or SchedulerSettings()
        self.device = device
        self.threads = threads
        self._plan_of = plan_of
        self._clock = clock
        self._lock = threading.Lock()
        # Told when a batch is ready, when the clock must be looked at anew, and at the end.
        self._changed = threading.Condition(self._lock)
        self._workers: list[threading.Thread] = []
        # Until when each worker sleeps who has nothing to do; infinity: until it is told.
        self._asleep: dict[int, float] = {}
        # Batches whose threads are taken, for the next worker.
        self._ready: deque[tuple[Call, ...]] = deque()
        self._free = threads
        self._batcher = Batcher(max_queue_size=bounds.max_queue_size, weights=bounds.weights)
        self._waiting: dict[int, Call] = {}
        self._known: OrderedDict[Hashable, Known] = OrderedDict()
        self._ids = itertools.count()
        self._is_closed = False

    def __repr__(self) -> str:
        busy = self.threads - self._free
        return (
            f"<Lane {self.device.value} [Threads: {busy} of {self.threads} busy | "
            f"Queue: {len(self._batcher)}]>"
        )

    def alone(self, work: Callable[[], None]) -> None:
        """Do a piece of work with all threads of the lane; see `Scheduler.alone`."""
        graph = Work(work, self.device)
        counts = GraphCounts(row_s=_ALONE_S)
        known = Known(graph, GraphPlan(self.threads), counts, Stack(graph), Crowd(1))
        self.run(graph, (), Ticket("box"), known)

    def run(
        self, graph: Graph, inputs: Sequence[Array], ticket: Ticket, known: Known | None = None
    ) -> list[Array]:
        """Compute; see `wasi_nn.executor.Executor.run`.

        known: what there is to know of the graph, if the lane shall not remember it.
        """
        now = self._clock()
        cancellation = ticket.cancellation
        if cancellation is not None and cancellation.is_cancelled:
            raise _gone()
        with self._lock:
            if self._is_closed:
                raise Busy("compute: the box is stopping")
            if known is None:
                known = self._remember(graph)
            request = self._request(known, inputs, ticket, now)
            known.crowd.arrived(request.rows, now)
            call = Call(known, request, inputs, ticket.spent)
            if request.is_expired(now):
                raise self._refuse(call, Reason.EXPIRED)
            waiter = None if self._may_begin(call, now) else self._enqueue(call)
            if waiter is None:
                self._free -= request.threads
                self._batcher.charge(request)
                known.crowd.began(request.rows, now)
        if waiter is None:
            return self._run_alone(call, now)
        if cancellation is not None:
            cancellation.listen(lambda: self._cancel(waiter))
        try:
            waiter.wait()
        except BaseException:  # Ctrl-C
            self._cancel(waiter)
            raise
        finally:
            if cancellation is not None:
                cancellation.listen(None)
        if waiter.error is not None:
            raise waiter.error
        assert waiter.outputs is not None, "a settled waiter has outputs or an error"
        return waiter.outputs

    def _cancel(self, waiter: Call) -> None:
        """Take a queued request back; one that computes already is finished."""
        with self._lock:
            if self._batcher.cancel(waiter.request.id):
                del self._waiting[waiter.request.id]
                waiter.known.crowd.left(waiter.request.rows)
                waiter.error = _gone()
                waiter.settle()
                # It may have been what the others waited for.
                self._hand_out()

    def counts_of(self, graph: Graph) -> GraphStatistics | None:
        """Take a snapshot of one graph; None if it was not run lately."""
        with self._lock:
            known = self._known.get(id(graph))
            return known.counts.snapshot() if known is not None and known.graph is graph else None

    def close(self) -> None:
        """Refuse what is queued and whatever comes; what computes is finished first."""
        with self._lock:
            self._is_closed = True
            waiters, self._waiting = list(self._waiting.values()), {}
            for waiter in waiters:
                self._batcher.cancel(waiter.request.id)
            workers, self._workers = self._workers, []
            self._changed.notify_all()
        for waiter in waiters:
            waiter.error = Busy("compute: the box is stopping")
            waiter.settle()
        for worker in workers:
            worker.join()

    def statistics(self) -> LaneStatistics:
        """Take a snapshot."""
        with self._lock:
            return LaneStatistics(
                device=self.device,
                threads=self.threads,
                busy_threads=self.threads - self._free,
                queued=len(self._batcher),
                graphs={key: known.counts.snapshot() for key, known in self._known.items()},
            )

    # -- under the lock --------------------------------------------------------------------------

    def _remember(self, graph: Graph) -> Known:
        known = self._known.get(id(graph))
        if known is None or known.graph is not graph:
            plan = self._plan_of(graph)
            # A run that wants more threads than there are takes all of them.
            plan = dataclasses.replace(plan, threads=min(plan.threads, self.threads))
            crowd = Crowd(plan.policy.max_batch_rows)
            known = Known(graph, plan, GraphCounts(), Stack(graph), crowd)
            self._known[id(graph)] = known
            if len(self._known) > _KEPT_GRAPHS:
                self._known.popitem(last=False)
        self._known.move_to_end(id(graph))
        return known

    def _request(
        self, known: Known, inputs: Sequence[Array], ticket: Ticket, now: float
    ) -> Request:
        rows, key = batch_shape(known.graph, inputs)
        plan = known.plan
        return Request(
            next(self._ids), id(known.graph), rows, key, ticket.owner, now, plan.threads,
            ticket.deadline_s, ticket.priority, rows * known.counts.row_s, plan.policy,
        )  # fmt: skip

    def _may_begin(self, call: Call, now: float) -> bool:
        """Tell whether a call runs on its caller's thread, at once."""
        request, crowd = call.request, call.known.crowd
        if self._waiting or request.threads > self._free or request.policy.max_queue_delay_us:
            return False
        return crowd.is_alone() or self._hold(call.known, now).until_s <= now

    def _enqueue(self, waiter: Call) -> Call:
        """Queue a call. Raises: Busy if there is no room for it."""
        waiter.queue()
        for refusal in self._batcher.offer(waiter.request):
            if refusal.request is waiter.request:
                raise self._refuse(waiter, refusal.reason)
            self._refuse_queued(refusal)
        self._waiting[waiter.request.id] = waiter
        if not self._workers:
            self._hire()
        self._hand_out()
        return waiter

    def _hire(self) -> None:
        """Start the workers; a lane that is never contended has none."""
        for number in range(self.threads):
            name = f"lane-{self.device.value}-{number}"
            worker = threading.Thread(target=self._work, name=name, daemon=True)
            self._workers.append(worker)
            worker.start()

    def _hand_out(self, *, is_worker: bool = False) -> float | None:
        """Make ready what may run now, and wake workers for it.

        is_worker: the caller takes one batch itself.
        Returns: when to look again, None if only an event changes anything.
        """
        while True:
            now = self._clock()
            decision = self._batcher.decide(now, self._free, self.threads, self._holds(now))
            for refusal in decision.refusals:
                self._refuse_queued(refusal)
            if not decision.batch:
                break
            batch = tuple(self._waiting.pop(request.id) for request in decision.batch)
            batch[0].known.crowd.began(sum(request.rows for request in decision.batch), now)
            self._free -= batch[0].request.threads
            self._ready.append(batch)
        wake_at_s = decision.wake_at_s
        wanted = len(self._ready) - is_worker
        # Somebody has to sleep until then; a worker who knows no time or a later one looks anew.
        if wake_at_s is not None and all(until_s > wake_at_s for until_s in self._asleep.values()):
            wanted += 1
        if wanted > 0 and self._asleep:
            self._changed.notify(min(wanted, len(self._asleep)))
        return wake_at_s

    def _holds(self, now: float) -> dict[Hashable, Hold]:
        """Say how the batches of the graphs in the queue are formed."""
        return {
            graph: self._hold(known, now)
            for graph, known in self._known.items()
            if known.crowd.queued
        }

    def _hold(self, known: Known, now: float) -> Hold:
        return known.crowd.hold(now, self._free // known.plan.threads)

    def _refuse_queued(self, refusal: Refusal) -> None:
        """Tell a caller that waits."""
        waiter = self._waiting.pop(refusal.request.id)
        waiter.error = self._refuse(waiter, refusal.reason)
        waiter.settle()

    def _refuse(self, call: Call, reason: Reason) -> Busy:
        """Count a call that will not be computed. Returns: what its caller is told."""
        call.known.counts.refused(reason.value)
        call.known.crowd.left(call.request.rows)
        return _refused(reason)

    # -- outside the lock ------------------------------------------------------------------------

    def _work(self) -> None:
        """Be a worker: compute batch after batch until the lane is closed."""
        done: tuple[Call, ...] = ()
        runs: list[int] = []
        started_s = 0.0
        while True:
            with self._lock:
                if done:
                    failures = sum(member.error is not None for member in done)
                    self._count(done, runs, failures, started_s)
                batch = self._next_batch(done)
            if batch is None:
                return
            done, runs, started_s = batch, [], self._clock()
            compute(batch[0].known, batch, runs)

    def _next_batch(self, done: tuple[Call, ...]) -> tuple[Call, ...] | None:
        """Take a batch, or sleep until there is one; under the lock. None at the end.

        done: who is told first, but not before all is decided: this thread has Python's lock
        until it computes or sleeps, and callers who are awake would only queue for it.
        """
        while True:
            try:
                wake_at_s = self._hand_out(is_worker=True)
            finally:
                for member in done:
                    member.settle()
            done = ()
            if self._ready:
                return self._ready.popleft()
            if self._is_closed:
                return None
            timeout_s = None
            if wake_at_s is not None:
                timeout_s = min(max(0.0, wake_at_s - self._clock()), threading.TIMEOUT_MAX)
            worker = threading.get_ident()
            self._asleep[worker] = math.inf if wake_at_s is None else wake_at_s
            self._changed.wait(timeout_s)
            del self._asleep[worker]

    def _run_alone(self, call: Call, started_s: float) -> list[Array]:
        failures = 1
        try:
            outputs = call.known.graph.run(call.inputs)
            failures = 0
            return outputs
        finally:
            with self._lock:
                self._count((call,), (call.request.rows,), failures, started_s)
                if self._waiting:
                    self._hand_out()

    def _count(
        self, batch: Sequence[Call], runs: Sequence[int], failures: int, started_s: float
    ) -> None:
        """Give the threads back and count; under the lock."""
        now = self._clock()
        known = batch[0].known
        requests = [member.request for member in batch]
        self._free += requests[0].threads
        rows = known.counts.computed(requests, runs, failures, now - started_s, started_s)
        known.crowd.ended(rows, now, now - started_s)
        for member in batch:
            if member.spent is not None:
                member.spent.add(started_s - member.request.arrived_s, now - started_s)


def _gone() -> Busy:
    return Busy("compute not started: nobody waits for it any more")


def _refused(reason: Reason) -> Busy:
    if reason is Reason.QUEUE_FULL:
        return Busy("compute: Exceeds maximum queue size; send less, or again later")
    return Busy("compute: Request timeout expired before it was computed")
