"""Calls that wait for a lane, and computing several of them together."""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from appliance.crowds import Crowd
from appliance.lanestats import GraphCounts
from appliance.requests import BatchPolicy, Request
from appliance.stacking import Stack
from wasi_nn.backend import Device, Graph
from wasi_nn.errors import NNError, RuntimeFailure
from wasi_nn.executor import Spent
from wasi_nn.tensor import Array, TensorSpec

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class GraphPlan:
    """How a graph is run: threads one run takes, and how its requests are batched.

    piece_rows: what has more rows is computed in pieces of so many; None if it must not be, for
    its rows may depend on each other.
    """

    threads: int = 1
    policy: BatchPolicy = field(default_factory=BatchPolicy)
    piece_rows: int | None = None


@dataclass(slots=True)
class Known:
    """What a lane remembers of a graph; guarded by the lane's lock."""

    graph: Graph
    plan: GraphPlan
    counts: GraphCounts
    stack: Stack
    crowd: Crowd


@dataclass(slots=True, eq=False)
class Call:
    """One call.

    spent: is told what it took, if anybody asks.   outputs, error: one of them once it is settled.
    """

    known: Known
    request: Request
    inputs: Sequence[Array]
    spent: Spent | None = None
    outputs: list[Array] | None = None
    error: NNError | None = None
    # A bare lock, held until settled: an Event costs a caller 3 us more, and eight of them take
    # turns with Python's lock while they come back.
    _unsettled: "threading.Lock | None" = None

    def queue(self) -> None:
        """Prepare to be waited for; before anybody else sees it."""
        self._unsettled = threading.Lock()
        self._unsettled.acquire()

    def settle(self) -> None:
        """Let the caller go on; once, after `queue`."""
        assert self._unsettled is not None, "whoever settles it took it from the queue"
        self._unsettled.release()

    def wait(self) -> None:
        """Wait until it is settled; its one caller, after `queue`."""
        assert self._unsettled is not None, "only a queued call is waited for"
        self._unsettled.acquire()


@dataclass(frozen=True, slots=True)
class Work:
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


def compute(known: Known, batch: tuple[Call, ...], runs: list[int]) -> None:
    """Compute a batch; one by one if that fails. runs: gets the rows of each run begun.

    The broad excepts are each member's outermost frame: nobody answers for another.
    """
    if len(batch) > 1:
        runs.append(sum(member.request.rows for member in batch))
        head = batch[0].request
        try:
            outputs = known.stack.run(
                head.key, [member.inputs for member in batch], head.policy.max_batch_rows
            )
            for member, own in zip(batch, outputs, strict=True):
                member.outputs = own
            return
        except NNError as exc:
            log.info("batch failed, computing singly members=%d reason=%s", len(batch), exc)
        except Exception:
            log.exception("batch failed, computing singly members=%d", len(batch))
    for member in batch:
        runs.append(member.request.rows)
        try:
            member.outputs = known.graph.run(member.inputs)
        except NNError as exc:
            member.error = exc
        except Exception as exc:
            log.exception("compute failed")
            member.error = RuntimeFailure(f"compute: {type(exc).__name__}")
