"""A lane, graphs that wait for a gate, and callers on threads of their own; nothing sleeps."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from appliance.batching import Batcher
from appliance.calls import GraphPlan
from appliance.lanes import Lane
from appliance.requests import BatchPolicy, Refusal, Request
from wasi_nn.backend import Device, Graph
from wasi_nn.errors import NNError, RuntimeFailure
from wasi_nn.executor import Cancellation, Spent, Ticket
from wasi_nn.tensor import Array, TensorSpec, TensorType

# Only a hang takes as long.
PATIENCE_S = 20.0
POISON = -1.0
EIGHT = BatchPolicy(max_batch_rows=8)


class Stop(BaseException):
    """What Ctrl-C is, without the signal."""


class HandClock:
    """Moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class ThreadClock:
    """Each thread's own, moved by its own work: what runs side by side takes no longer for it."""

    def __init__(self) -> None:
        self._owner = threading.get_ident()
        self._start = 0.0
        self._own = threading.local()

    def __call__(self) -> float:
        return float(getattr(self._own, "now", self._start))

    def pass_s(self, seconds: float) -> None:
        self._own.now = self() + seconds
        if threading.get_ident() == self._owner:
            # Threads that are started later begin at their starter's time.
            self._start = self._own.now


class Budget:
    """Counts the threads of all runs that are under way."""

    def __init__(self) -> None:
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()

    def change(self, threads: int) -> None:
        with self._lock:
            self._now += threads
            self.most = max(self.most, self._now)


class GateGraph:
    """Doubles its rows. Closed, its runs wait until `open`; a row of POISON fails the run.

    calls: thread and rows of each run.   entered: released by each run before it waits.
    """

    inputs = (TensorSpec("x", TensorType.F32, (None, 2)),)
    outputs = (TensorSpec("y", TensorType.F32, (None, 2)),)
    batch_axis: int | None = 0
    device = Device.CPU

    def __init__(
        self,
        threads: int = 1,
        policy: BatchPolicy = EIGHT,
        *,
        is_open: bool = True,
        error: BaseException | None = None,
        during: Callable[[], None] = lambda: None,
        budget: Budget | None = None,
    ) -> None:
        self.plan = GraphPlan(threads, policy)
        self.calls: list[tuple[int, list[float]]] = []
        self.entered = threading.Semaphore(0)
        self._gate = threading.Event()
        self._error = error or RuntimeFailure("poison")
        self._during = during
        self._budget = budget or Budget()
        if is_open:
            self._gate.set()

    def run(self, inputs: Any) -> list[Array]:
        (x,) = inputs
        self._budget.change(self.plan.threads)
        try:
            self.calls.append((threading.get_ident(), x[:, 0].tolist()))
            self.entered.release()
            # Longer than anyone waits for a result: a hang is told, not ended.
            assert self._gate.wait(3 * PATIENCE_S)
            self._during()
            if POISON in x:
                raise self._error
            return [x * np.float32(2)]
        finally:
            self._budget.change(-self.plan.threads)

    def open(self) -> None:
        self._gate.set()

    def close(self) -> None:
        pass

    @property
    def rows(self) -> list[list[float]]:
        """The rows of each run."""
        return [rows for _, rows in self.calls]


class ShortGraph(GateGraph):
    """Forgets the last row of a batch, as a model that lies about its batch axis does."""

    def run(self, inputs: Any) -> list[Array]:
        return [output[: max(1, len(output) - 1)] for output in super().run(inputs)]


class _Watched(Batcher):
    """Tells when a request was offered."""

    offered = threading.Semaphore(0)

    def offer(self, request: Request) -> tuple[Refusal, ...]:
        refusals = super().offer(request)
        self.offered.release()
        return refusals


class Call(threading.Thread):
    """One call on its own thread."""

    def __init__(self, lane: Lane, graph: Graph, inputs: list[Array], ticket: Ticket) -> None:
        super().__init__(daemon=True)
        self._todo = (lane, graph, inputs, ticket)
        self._outputs: list[Array] = []
        self._error: BaseException | None = None

    def run(self) -> None:
        lane, graph, inputs, ticket = self._todo
        try:
            self._outputs = lane.run(graph, inputs, ticket)
        except BaseException as exc:
            self._error = exc

    def result(self) -> list[float]:
        """The first column of what it got, when it got it; raises what it raised."""
        self.join(PATIENCE_S)
        assert not self.is_alive(), "the call hangs"
        if self._error is not None:
            raise self._error
        return [float(value) for value in self._outputs[0][:, 0]]


def rows(*values: float) -> list[Array]:
    """Inputs: a row for each value."""
    return [np.array([[value, 0.0] for value in values], np.float32)]


class Rig:
    """A lane and its callers."""

    def __init__(
        self,
        threads: int = 1,
        *,
        max_queue_size: int = 256,
        clock: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.lane = Lane(Device.CPU, threads, lambda graph: graph.plan, clock=clock)  # type: ignore[attr-defined]
        self.batcher = self.lane._batcher = _Watched(max_queue_size=max_queue_size)
        self.batcher.offered = threading.Semaphore(0)

    def block(self, threads: int = 1) -> tuple[GateGraph, Call]:
        """Occupy threads. Returns: the graph whose gate ends it, and its call."""
        graph = GateGraph(threads, is_open=False)
        call = self.start(graph, 0.0)
        assert graph.entered.acquire(timeout=PATIENCE_S)
        return graph, call

    def start(
        self, graph: Graph, *values: float, owner: str = "ann", deadline_s: float | None = None,
        priority: int = 0, cancellation: Cancellation | None = None, spent: Spent | None = None,
    ) -> Call:  # fmt: skip
        """Call on a thread of its own."""
        ticket = Ticket(owner, deadline_s, priority, cancellation, spent)
        call = Call(self.lane, graph, rows(*values), ticket)
        call.start()
        return call

    def queue(self, graph: Graph, *values: float, **ticket: Any) -> Call:
        """The same; returns when it is queued, or was refused."""
        call = self.start(graph, *values, **ticket)
        assert self.batcher.offered.acquire(timeout=PATIENCE_S)
        # The lock is held from the offer until the waiter is entered.
        self.lane.statistics()
        return call

    def run(self, graph: Graph, *values: float) -> list[float]:
        """Call on this thread."""
        outputs = self.lane.run(graph, rows(*values), Ticket())
        return [float(value) for value in outputs[0][:, 0]]

    def is_clean(self) -> bool:
        """Whether nothing is left of the calls: no thread, no waiter, no request."""
        assert not self.lane._waiting
        return self.lane._free == self.lane.threads and not len(self.batcher)


def error_of(call: Call) -> NNError | None:
    """What a call failed with; None if it did not."""
    try:
        call.result()
    except NNError as exc:
        return exc
    return None
