"""Everything that computes goes through here: lanes, threads, and batches that are formed.

The decision is `batching.Batcher`'s; this file owns the lock and moves the data.

Rules:
1. A lone request never waits: on an idle lane it runs on its caller's own thread, at once.
2. There is no worker thread. Whoever ends a run decides, under the lock, what comes next, and
   wakes the caller of the batch's first request, who computes for all of them.
3. The threads of all runs of a lane never exceed its budget.
4. A batch that fails is computed again one by one: a poison request fails alone.
5. Decide under the lock, mark what was taken, act outside.
"""

import itertools
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from appliance.batching import Batcher, BatchPolicy, Decision, Reason, Refusal, Request
from appliance.lanestats import GraphCounts, GraphStatistics, LaneStatistics
from appliance.stacking import Stack, batch_shape
from wasi_nn.backend import Device, Graph
from wasi_nn.errors import Busy, NNError, RuntimeFailure
from wasi_nn.executor import Ticket
from wasi_nn.tensor import Array, TensorSpec

log = logging.getLogger(__name__)

# Graphs whose counts are kept after they were last used; chosen, not measured.
_KEPT_GRAPHS = 64


@dataclass(frozen=True, slots=True)
class GraphPlan:
    """How a graph is run: threads one run takes, and how its requests are batched."""

    threads: int = 1
    policy: BatchPolicy = field(default_factory=BatchPolicy)


@dataclass(slots=True)
class _Known:
    """What a lane remembers of a graph."""

    graph: Graph
    plan: GraphPlan
    counts: GraphCounts
    stack: Stack


@dataclass(slots=True)
class _Waiter:
    """One queued call.

    is_settled: somebody has decided about it, and exactly one of batch, outputs and error says
    what. woken without it means: look at the clock again.
    """

    request: Request
    inputs: Sequence[Array]
    woken: threading.Event = field(default_factory=threading.Event)
    is_settled: bool = False
    batch: tuple["_Waiter", ...] = ()
    outputs: list[Array] | None = None
    error: NNError | None = None

    def settle(self) -> None:
        """Let its caller go on; what was decided is set before."""
        self.is_settled = True
        self.woken.set()


class Lane:
    """One device: a budget of threads and the queue before it.

    plan_of: how a graph is run.   clock: monotonic seconds.
    """

    def __init__(
        self, device: Device, threads: int, plan_of: Callable[[Graph], GraphPlan],
        *, max_queue_size: int = 256, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.device = device
        self.threads = threads
        self._plan_of = plan_of
        self._clock = clock
        self._lock = threading.Lock()
        self._free = threads
        self._batcher = Batcher(max_queue_size=max_queue_size)
        self._waiting: dict[int, _Waiter] = {}
        self._known: OrderedDict[Hashable, _Known] = OrderedDict()
        self._ids = itertools.count()
        self._is_closed = False

    def __repr__(self) -> str:
        busy = self.threads - self._free
        return (
            f"<Lane {self.device.value} [Threads: {busy} of {self.threads} busy | "
            f"Queue: {len(self._batcher)}]>"
        )

    def run(self, graph: Graph, inputs: Sequence[Array], ticket: Ticket) -> list[Array]:
        """Compute; see `wasi_nn.executor.Executor.run`."""
        with self._lock:
            known = self._remember(graph)
        return self._run(known, inputs, ticket)

    def alone(self, work: Callable[[], None]) -> None:
        """Do a piece of work with all threads of the lane; see `Scheduler.alone`."""
        graph = _Work(work, self.device)
        known = _Known(graph, GraphPlan(self.threads), GraphCounts(), Stack(graph))
        self._run(known, (), Ticket("box"))

    def _run(self, known: _Known, inputs: Sequence[Array], ticket: Ticket) -> list[Array]:
        now = self._clock()
        with self._lock:
            if self._is_closed:
                raise Busy("compute: the box is stopping")
            request = self._request(known, inputs, ticket, now)
            threads = min(request.threads, self.threads)
            if request.expires_s() <= now:
                self._refuse(Refusal(request, Reason.EXPIRED))
                raise _refused(Refusal(request, Reason.EXPIRED))
            if not len(self._batcher) and threads <= self._free:
                self._free -= threads
                self._batcher.charge(request)
                waiter = None
            else:
                waiter = self._enqueue(request, inputs)
        if waiter is None:
            return self._run_alone(known, request, inputs, now)
        cancellation = ticket.cancellation
        if cancellation is None:
            return self._wait(known, waiter)
        cancellation.listen(lambda: self._cancel(waiter))
        try:
            return self._wait(known, waiter)
        finally:
            cancellation.listen(None)

    def _cancel(self, waiter: _Waiter) -> None:
        """Take a queued request back; one that computes already is finished."""
        with self._lock:
            if self._batcher.cancel(waiter.request.id):
                del self._waiting[waiter.request.id]
                waiter.error = Busy("compute not started: nobody waits for it any more")
                waiter.settle()

    def counts_of(self, graph: Graph) -> GraphStatistics | None:
        """Take a snapshot of one graph; None if it was not run lately."""
        with self._lock:
            known = self._known.get(id(graph))
            return known.counts.snapshot() if known is not None and known.graph is graph else None

    def close(self) -> None:
        """Refuse what is queued and whatever comes; what computes is finished by its callers."""
        with self._lock:
            self._is_closed = True
            waiters, self._waiting = list(self._waiting.values()), {}
            for waiter in waiters:
                self._batcher.cancel(waiter.request.id)
        for waiter in waiters:
            waiter.error = Busy("compute: the box is stopping")
            waiter.settle()

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

    def _remember(self, graph: Graph) -> _Known:
        known = self._known.get(id(graph))
        if known is None or known.graph is not graph:
            known = _Known(graph, self._plan_of(graph), GraphCounts(), Stack(graph))
            self._known[id(graph)] = known
            if len(self._known) > _KEPT_GRAPHS:
                self._known.popitem(last=False)
        self._known.move_to_end(id(graph))
        return known

    def _request(
        self, known: _Known, inputs: Sequence[Array], ticket: Ticket, now: float
    ) -> Request:
        rows, key = batch_shape(known.graph, inputs)
        return Request(
            id=next(self._ids),
            graph=id(known.graph),
            rows=rows,
            key=key,
            owner=ticket.owner,
            arrived_s=now,
            threads=known.plan.threads,
            deadline_s=ticket.deadline_s,
            priority=ticket.priority,
            cost_s=rows * known.counts.row_s,
            policy=known.plan.policy,
        )

    def _enqueue(self, request: Request, inputs: Sequence[Array]) -> _Waiter:
        waiter = _Waiter(request, inputs)
        for refusal in self._batcher.offer(request):
            if refusal.request is request:
                self._refuse(refusal)
                raise _refused(refusal)
            self._refuse(refusal)
        self._waiting[request.id] = waiter
        # The lane may have room for this one although others wait for more threads.
        self._start_what_is_due()
        return waiter

    def _start_what_is_due(self) -> float | None:
        """Hand out batches while there are threads. Returns: when to look again, if at all."""
        while True:
            decision = self._batcher.decide(self._clock(), self._free, self.threads)
            for refusal in decision.refusals:
                self._refuse(refusal)
            if not decision.batch:
                return decision.wake_at_s
            self._start(decision)

    def _start(self, decision: Decision) -> None:
        batch = tuple(self._waiting.pop(request.id) for request in decision.batch)
        self._free -= min(batch[0].request.threads, self.threads)
        batch[0].batch = batch
        batch[0].settle()

    def _refuse(self, refusal: Refusal) -> None:
        known = self._known.get(refusal.request.graph)
        if known is not None:
            known.counts.refused(refusal.reason.value)
        waiter = self._waiting.pop(refusal.request.id, None)
        if waiter is not None:
            waiter.error = _refused(refusal)
            waiter.settle()

    # -- outside the lock ------------------------------------------------------------------------

    def _wait(self, known: _Known, waiter: _Waiter) -> list[Array]:
        """Wait to be computed by another, to compute for others, or to be refused."""
        while not waiter.is_settled:
            with self._lock:
                wake_at_s = self._start_what_is_due()
            timeout_s = None if wake_at_s is None else max(0.0, wake_at_s - self._clock())
            waiter.woken.wait(timeout_s)
            waiter.woken.clear()
        if waiter.batch:
            self._run_batch(known, waiter.batch)
        if waiter.error is not None:
            raise waiter.error
        assert waiter.outputs is not None, "a settled waiter has outputs or an error"
        return waiter.outputs

    def _run_alone(
        self, known: _Known, request: Request, inputs: Sequence[Array], started_s: float
    ) -> list[Array]:
        is_done = False
        try:
            outputs = known.graph.run(inputs)
            is_done = True
            return outputs
        finally:
            self._finish(known, (request,), started_s, is_done=is_done)

    def _run_batch(self, known: _Known, batch: tuple[_Waiter, ...]) -> None:
        """Compute for all members and tell each."""
        started_s = self._clock()
        requests = tuple(member.request for member in batch)
        is_done = False
        try:
            self._compute(known, batch)
            is_done = all(member.error is None for member in batch)
        except BaseException as exc:
            for member in batch:
                if member.outputs is None and member.error is None:
                    member.error = RuntimeFailure(f"compute: {type(exc).__name__}")
            raise
        finally:
            self._finish(known, requests, started_s, is_done=is_done)
            for member in batch[1:]:
                member.settle()

    def _compute(self, known: _Known, batch: tuple[_Waiter, ...]) -> None:
        if len(batch) > 1:
            try:
                outputs = known.stack.run(
                    batch[0].request.key,
                    [member.inputs for member in batch],
                    batch[0].request.policy.max_batch_rows,
                )
                for member, own in zip(batch, outputs, strict=True):
                    member.outputs = own
                return
            except NNError as exc:
                log.info("batch failed, computing singly members=%d reason=%s", len(batch), exc)
        for member in batch:
            try:
                member.outputs = known.graph.run(member.inputs)
            except NNError as exc:
                member.error = exc

    def _finish(
        self, known: _Known, requests: tuple[Request, ...], started_s: float, *, is_done: bool
    ) -> None:
        """Give the threads back, count, and start what is next."""
        now = self._clock()
        with self._lock:
            self._free += min(requests[0].threads, self.threads)
            known.counts.computed(requests, started_s, now, is_done=is_done)
            if len(self._batcher) and self._start_what_is_due() is not None:
                # A batch is held back for more, and the sleepers may not know until when.
                next(iter(self._waiting.values())).woken.set()


@dataclass(frozen=True, slots=True)
class _Work:
    """A piece of work in a graph's clothes, so that it queues like one."""

    work: Callable[[], None]
    device: Device
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    batch_axis: int | None = None

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Do it."""
        self.work()
        return []

    def close(self) -> None:
        """Nothing is held."""


class Scheduler:
    """The lanes of a box; an `Executor`.

    threads: the budget of each device. A graph of another device runs in the CPU's lane.
    """

    def __init__(
        self, threads: dict[Device, int], plan_of: Callable[[Graph], GraphPlan],
        *, max_queue_size: int = 256, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._lanes = {
            device: Lane(device, count, plan_of, max_queue_size=max_queue_size, clock=clock)
            for device, count in threads.items()
        }

    def run(self, graph: Graph, inputs: Sequence[Array], ticket: Ticket) -> list[Array]:
        """Compute on the graph's device; see `Executor.run`."""
        return self._lane_of(graph).run(graph, inputs, ticket)

    def _lane_of(self, graph: Graph) -> Lane:
        return self._lanes.get(graph.device) or self._lanes[Device.CPU]

    def alone(self, work: Callable[[], None], device: Device = Device.CPU) -> None:
        """Do a piece of work while nothing else computes on a device; keep it short.

        It queues like any request, one that takes all threads.
        Raises: Busy if the queue is full.
        """
        self._lanes[device].alone(work)

    def counts_of(self, graph: Graph) -> GraphStatistics | None:
        """Take a snapshot of one graph; None if it was not run lately."""
        return self._lane_of(graph).counts_of(graph)

    def statistics(self) -> tuple[LaneStatistics, ...]:
        """Take a snapshot of every lane."""
        return tuple(lane.statistics() for lane in self._lanes.values())

    def close(self) -> None:
        """Refuse what is queued and whatever comes."""
        for lane in self._lanes.values():
            lane.close()


def _refused(refusal: Refusal) -> Busy:
    if refusal.reason is Reason.QUEUE_FULL:
        return Busy("compute: Exceeds maximum queue size; send less, or again later")
    return Busy("compute: Request timeout expired before it was computed")
