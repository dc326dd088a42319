"""Calls that wait for a lane, and computing several of them together."""

import logging
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from appliance.batching import BatchPolicy, Request
from appliance.lanestats import GraphCounts
from appliance.stacking import Stack
from wasi_nn.backend import Device, Graph
from wasi_nn.errors import NNError, RuntimeFailure
from wasi_nn.tensor import Array, TensorSpec

log = logging.getLogger(__name__)

# How long a batch's callers are waited for: a share of what the batch took, and at most. Four
# Python callers need 0.1 to 0.3 ms to come back.
RETURN_SHARE = 0.3
MAX_RETURN_S = 0.001
# Runs for which the waiting is given up, at most, where nobody came back.
MAX_SKIPS = 16


@dataclass(frozen=True, slots=True)
class GraphPlan:
    """How a graph is run: threads one run takes, and how its requests are batched."""

    threads: int = 1
    policy: BatchPolicy = field(default_factory=BatchPolicy)


@dataclass(slots=True)
class Known:
    """What a lane remembers of a graph; guarded by the lane's lock.

    Callers whose batch is done come back within a fraction of a millisecond, one by one. Whoever
    comes first would be computed alone, and the others after it: batches would stay small. So
    right after a run under contention the graph's requests are held back for a moment, until as
    many rows are there as could come. Where they do not come, the waiting is given up for longer
    and longer.

    expected_rows, held_until_s: what is waited for, and until when.
    """

    graph: Graph
    plan: GraphPlan
    counts: GraphCounts
    stack: Stack
    expected_rows: int = 0
    held_until_s: float = -math.inf
    _skips: int = 0
    _penalty: int = 0

    def expect(self, rows: int, queued_rows: int, now: float, compute_s: float) -> None:
        """Take note that a run is done.

        rows: of its callers, who may come back to those in the queue and those still expected.
        """
        rows += queued_rows
        if now < self.held_until_s:
            rows += max(0, self.expected_rows - queued_rows)
        if rows < 2 or self.plan.policy.max_batch_rows < 2:
            return
        if self._skips:
            self._skips -= 1
            return
        self.expected_rows = min(rows, self.plan.policy.max_batch_rows)
        self.held_until_s = now + min(RETURN_SHARE * compute_s, MAX_RETURN_S)

    def begin(self, rows: int) -> None:
        """Take note that the next batch begins: was it worth waiting for?"""
        if not self.expected_rows:
            return
        if 2 * rows >= self.expected_rows:
            self._penalty = 0
        else:
            self._penalty = min(2 * self._penalty or 1, MAX_SKIPS)
            self._skips = self._penalty
        self.expected_rows, self.held_until_s = 0, -math.inf


@dataclass(slots=True)
class Call:
    """One call in the queue.

    settled: set once outputs or error is.
    """

    known: Known
    request: Request
    inputs: Sequence[Array]
    settled: threading.Event = field(default_factory=threading.Event)
    outputs: list[Array] | None = None
    error: NNError | None = None


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
