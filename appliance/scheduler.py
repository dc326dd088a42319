"""Everything that computes goes through here, each device's work to its lane.

How a lane decides and computes is in `lanes.py`. What has more rows than pay in one run goes to
its lane in pieces, where its rows are known not to depend on each other: all threads work on it,
and others get their turn in between.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from appliance.calls import GraphPlan
from appliance.lanes import Lane
from appliance.lanestats import GraphStatistics, LaneStatistics
from appliance.pieces import in_pieces
from appliance.settings import SchedulerSettings
from appliance.stacking import batch_shape
from wasi_nn.backend import Device, Graph
from wasi_nn.executor import Ticket
from wasi_nn.tensor import Array


class Scheduler:
    """The lanes of a box; an `Executor`.

    threads: the budget of each device. A graph of another device runs in the CPU's lane.
    settings: bounds and shares of each lane.
    """

    def __init__(
        self, threads: dict[Device, int], plan_of: Callable[[Graph], GraphPlan],
        settings: SchedulerSettings | None = None, *, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._lanes = {
            device: Lane(device, count, plan_of, settings, clock=clock)
            for device, count in threads.items()
        }
        self._plan_of = plan_of
        # For requests that are computed in pieces; its threads are started when first wanted.
        self._helpers = ThreadPoolExecutor(sum(threads.values()), "pieces")

    def run(self, graph: Graph, inputs: Sequence[Array], ticket: Ticket) -> list[Array]:
        """Compute on the graph's device; see `Executor.run`."""
        lane = self._lane_of(graph)
        # A look at the shape, for nearly all requests have one row.
        if graph.batch_axis == 0 and inputs and inputs[0].shape[:1] > (1,):
            return self._run_rows(lane, graph, inputs, ticket)
        return lane.run(graph, inputs, ticket)

    def _lane_of(self, graph: Graph) -> Lane:
        return self._lanes.get(graph.device) or self._lanes[Device.CPU]

    def _run_rows(
        self, lane: Lane, graph: Graph, inputs: Sequence[Array], ticket: Ticket
    ) -> list[Array]:
        """Compute a request of several rows: in pieces if there are more than pay in one run."""
        plan = self._plan_of(graph)
        rows, key = batch_shape(graph, inputs)
        if plan.piece_rows is None or rows <= plan.piece_rows or key is None:
            return lane.run(graph, inputs, ticket)
        side_by_side = max(1, lane.threads // plan.threads)
        run = partial(lane.run, graph)
        return in_pieces(run, inputs, ticket, plan.piece_rows, self._helpers, side_by_side)

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
        self._helpers.shutdown()
