"""Everything that computes goes through here, each device's work to its lane.

How a lane decides and computes is in `lanes.py`.
"""

import time
from collections.abc import Callable, Sequence

from appliance.calls import GraphPlan
from appliance.lanes import Lane
from appliance.lanestats import GraphStatistics, LaneStatistics
from appliance.settings import SchedulerSettings
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

    def run(self, graph: Graph, inputs: Sequence[Array], ticket: Ticket) -> list[Array]:
        """Compute on the graph's device; see `Executor.run`."""
        lane = self._lanes.get(graph.device) or self._lanes[Device.CPU]
        return lane.run(graph, inputs, ticket)

    def alone(self, work: Callable[[], None], device: Device = Device.CPU) -> None:
        """Do a piece of work while nothing else computes on a device; keep it short.

        It queues like any request, one that takes all threads.
        Raises: Busy if the queue is full.
        """
        self._lanes[device].alone(work)

    def counts_of(self, graph: Graph) -> GraphStatistics | None:
        """Take a snapshot of one graph; None if it was not run lately."""
        lane = self._lanes.get(graph.device) or self._lanes[Device.CPU]
        return lane.counts_of(graph)

    def statistics(self) -> tuple[LaneStatistics, ...]:
        """Take a snapshot of every lane."""
        return tuple(lane.statistics() for lane in self._lanes.values())

    def close(self) -> None:
        """Refuse what is queued and whatever comes."""
        for lane in self._lanes.values():
            lane.close()
