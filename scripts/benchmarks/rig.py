"""The box without its sockets and disks: what computes, wired as `appliance.app` wires it."""

import gc
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from appliance.calls import GraphPlan
from appliance.guests.engine import GuestEngine
from appliance.planning import Bench, Plan
from appliance.plans import PlanBook
from appliance.requests import BatchPolicy
from appliance.scheduler import Scheduler
from scripts.benchmarks.cases import CNN64, LITE0, TINY, Case
from scripts.benchmarks.direct import CORES, Run
from scripts.benchmarks.guest import Inference, guests
from wasi_nn.backend import Device, Graph, Objective
from wasi_nn.backends import all_backends
from wasi_nn.catalogue import StaticCatalogue, parse_preload
from wasi_nn.executor import Executor, Ticket
from wasi_nn.policy import Policy
from wasi_nn.registry import GraphReference, Registry


def catalogue() -> StaticCatalogue:
    """All cases whose files are there, by their keys."""
    cases = [case for case in (*TINY, *LITE0, CNN64) if all(f.is_file() for f in case.files)]
    return StaticCatalogue(
        [
            parse_preload(":".join([case.key, case.encoding, "cpu", *map(str, case.files)]))
            for case in cases
        ]
    )


class Rig:
    """Registry, plans, scheduler and guest engine.

    scheduler: as the box has it.   unbatched: the same, but every request runs alone; not to be
    used at the same time.
    """

    def __init__(self, folder: Path) -> None:
        self.plans = PlanBook(folder, CORES, Bench(CORES, lambda piece: piece()))
        threads = {Device.CPU: CORES}
        self.scheduler = Scheduler(threads, self.plans.plan_of)
        self.unbatched = Scheduler(threads, self._plan_alone)
        self.registry = Registry(all_backends(), catalogue(), self.plans)
        self.engine = GuestEngine()
        self._opened = ExitStack()

    def _plan_alone(self, graph: Graph) -> GraphPlan:
        return GraphPlan(self.plans.plan_of(graph).threads, BatchPolicy(max_batch_rows=1))

    def load(self, case: Case, objective: Objective = Objective.THROUGHPUT) -> Graph:
        """Load a model as planned; it stays until the rig is closed."""
        reference: GraphReference = self.registry.load_named(
            case.key, policy=Policy(objective=objective)
        )
        self._opened.callback(reference.release)
        return reference.graph

    def plan(self, graph: Graph) -> Plan:
        """Tell how a graph is run."""
        plan = self.plans.find(graph)
        assert plan is not None, "it was loaded through the plan book"
        return plan

    def run(self, graph: Graph, owner: str = "bench", executor: Executor | None = None) -> Run:
        """Make what computes in process, through the scheduler."""
        chosen, ticket = executor or self.scheduler, Ticket(owner)
        return lambda x: chosen.run(graph, [x], ticket)

    def guests(
        self, case: Case, count: int = 1, objective: Objective = Objective.THROUGHPUT,
        executor: Executor | None = None,
    ) -> list[Inference]:  # fmt: skip
        """Make guests; they stay until the rig is closed."""
        return self._opened.enter_context(
            guests(self.engine, self.registry, executor or self.scheduler, case, count, objective)
        )

    def start(self) -> None:
        # As `appliance serve` does: a collector that looks through everything stops all threads.
        gc.freeze()
        self.engine.start()

    def close(self) -> None:
        self._opened.close()
        self.scheduler.close()
        self.unbatched.close()
        self.engine.stop()


@contextmanager
def rig() -> Iterator[Rig]:
    """A started rig; its plans are measured here and now."""
    with tempfile.TemporaryDirectory(prefix="bench-plans-") as folder:
        made = Rig(Path(folder))
        made.start()
        try:
            yield made
        finally:
            made.close()
