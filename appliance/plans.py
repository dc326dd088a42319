"""How a graph is best run on this machine: measured once, kept, and shown.

Threads per run, runs side by side and the batch size that pays cannot be guessed: two
single-thread runs in parallel beat one two-thread run on one box and lose on the next. So when a
model is first loaded here, it is timed on inputs of its own shape, for a few hundred milliseconds
in short pieces between which others compute, and the result is kept beside the box's caches.

    cache/plans/<digest>-<encoding>-<backend>-<device>-<threads>-<objective>.json

A plan of another machine, processor or runtime version is measured again. What the operator pins
(`[scheduler.models.NAME]`) beats the measurement.
"""

import dataclasses
import hashlib
import json
import logging
import platform
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from appliance.calls import GraphPlan
from appliance.errors import ApplianceError
from appliance.files import make_dirs, read_bounded, write_atomic
from appliance.planning import Bench, Measured, Plan, choose, samples_of
from appliance.requests import BatchPolicy, TimeoutAction
from appliance.settings import ModelScheduling, SchedulerSettings
from wasi_nn.backend import Backend, Buffer, Device, Encoding, Graph, GraphOptions
from wasi_nn.errors import Busy, NNError
from wasi_nn.registry import Origin

log = logging.getLogger(__name__)

_MAX_PLAN_BYTES = 64 * 1024
# More graphs than a box has memory for; chosen, not measured.
_KEPT = 64


@dataclass(frozen=True, slots=True)
class _Loaded:
    graph: Graph
    plan: Plan
    pinned: ModelScheduling


class PlanBook:
    """Loads graphs the way that was measured to be best, and knows how each is run.

    folder: where plans are kept.   threads: the CPU lane's budget.   bench: times a graph.
    settings: what the operator pins.
    A `wasi_nn.registry.Loader`.
    """

    def __init__(
        self, folder: Path, threads: int, bench: Bench,
        settings: SchedulerSettings | None = None,
    ) -> None:  # fmt: skip
        self._folder = folder
        self._threads = threads
        self._bench = bench
        self._settings = settings or SchedulerSettings()
        self._loaded: OrderedDict[int, _Loaded] = OrderedDict()

    def __call__(
        self, backend: Backend, builders: Sequence[Buffer], encoding: Encoding,
        options: GraphOptions, origin: Origin,
    ) -> Graph:  # fmt: skip
        """Load a model as planned; measure first if there is no plan."""
        pinned = self._settings.of_model(origin.name)
        if pinned.threads is not None:
            options = dataclasses.replace(options, num_threads=pinned.threads)
        file = self._folder / _file_name(origin.digest, encoding, backend.name, options)
        fingerprint = fingerprint_of(backend, self._threads)
        plan = _read(file, fingerprint)
        if plan is not None:
            graph = backend.load(
                builders, encoding, dataclasses.replace(options, num_threads=plan.threads)
            )
        else:
            graph, plan, is_lasting = self._measure(
                backend, builders, encoding, options, fingerprint
            )
            if is_lasting:
                _write(file, plan)
        self._remember(_Loaded(graph, plan, pinned))
        return graph

    def plan_of(self, graph: Graph) -> GraphPlan:
        """Tell the scheduler how to run a graph; one it does not know takes the whole lane."""
        loaded = self._find(graph)
        if loaded is None:
            return GraphPlan(threads=self._threads)
        policy = _policy(loaded.plan, loaded.pinned)
        piece_rows = policy.max_batch_rows if loaded.plan.has_rows_apart else None
        return GraphPlan(loaded.plan.threads, policy, piece_rows)

    def find(self, graph: Graph) -> Plan | None:
        """Find the plan of a loaded graph."""
        loaded = self._find(graph)
        return None if loaded is None else loaded.plan

    def _find(self, graph: Graph) -> _Loaded | None:
        loaded = self._loaded.get(id(graph))
        return loaded if loaded is not None and loaded.graph is graph else None

    def _remember(self, loaded: _Loaded) -> None:
        self._loaded[id(loaded.graph)] = loaded
        while len(self._loaded) > _KEPT:
            self._loaded.popitem(last=False)

    def _measure(
        self, backend: Backend, builders: Sequence[Buffer], encoding: Encoding,
        options: GraphOptions, fingerprint: str,
    ) -> tuple[Graph, Plan, bool]:  # fmt: skip
        """Load the model in each way that could be best, time them, and keep the best.

        Returns: also whether the plan is to be kept; one that is only for lack of time is not.
        """
        counts = [options.num_threads] if options.num_threads else sorted({self._threads, 1})
        loaded: dict[int, Graph] = {}
        figures: list[Measured] = []
        is_lasting = True
        try:
            for threads in counts:
                graph = loaded[threads] = backend.load(
                    builders, encoding, dataclasses.replace(options, num_threads=threads)
                )
                if graph.device is not Device.CPU:
                    break  # nothing to choose: its driver has threads of its own
            figures = self._bench.measure(loaded, samples_of(loaded[counts[0]]))
        except NNError as exc:
            if not loaded:
                raise
            # Inputs that we cannot invent, such as indices in a range: it runs, unmeasured.
            log.info("plan not measured backend=%s reason=%s", backend.name, exc)
            is_lasting = not isinstance(exc, Busy)
        except BaseException:
            for graph in loaded.values():
                graph.close()
            raise
        plan = choose(figures, tuple(loaded), options.objective, fingerprint)
        for threads, graph in loaded.items():
            if threads != plan.threads:
                graph.close()
        log.info(
            "plan measured backend=%s threads=%d batch_rows=%d rows_per_s=%.1f",
            backend.name, plan.threads, plan.max_batch_rows, plan.rows_per_s,
        )  # fmt: skip
        return loaded[plan.threads], plan, is_lasting


def _policy(plan: Plan, pinned: ModelScheduling) -> BatchPolicy:
    return BatchPolicy(
        max_batch_rows=pinned.max_batch_rows or plan.max_batch_rows,
        preferred_batch_rows=pinned.preferred_batch_rows,
        max_queue_delay_us=pinned.max_queue_delay_us,
        max_queue_size=pinned.max_queue_size,
        default_timeout_us=pinned.default_timeout_us,
        timeout_action=TimeoutAction(pinned.timeout_action),
    )


def fingerprint_of(backend: Backend, threads: int) -> str:
    """Name what a plan depends on besides the model: processor, budget and runtime."""
    return f"{processor()}, {threads} threads, {backend.name} {backend.probe().version}"


def processor() -> str:
    """Name the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _file_name(digest: str, encoding: Encoding, backend: str, options: GraphOptions) -> str:
    name = hashlib.sha256(digest.encode()).hexdigest()[:24]
    threads = options.num_threads or "auto"
    return (
        f"{name}-{encoding.value}-{backend}-{options.device.value}-{threads}"
        f"-{options.objective.value}.json"
    )


def _read(file: Path, fingerprint: str) -> Plan | None:
    """Read a plan; None if there is none for this machine, or it is damaged."""
    try:
        plan = Plan.from_json(json.loads(read_bounded(file, max_bytes=_MAX_PLAN_BYTES)))
    except (ApplianceError, ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return None
    return plan if plan.fingerprint == fingerprint else None


def _write(file: Path, plan: Plan) -> None:
    """Keep a plan; a full disk costs the next start a measurement."""
    try:
        make_dirs(file.parent)
        write_atomic(file, json.dumps(dataclasses.asdict(plan), indent=1).encode())
    except ApplianceError as exc:
        log.warning("plan not kept reason=%s", exc)
