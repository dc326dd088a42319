"""Models over the socket: what the repository holds, and what is loaded where."""

from fastapi import APIRouter

from appliance.api import shapes
from appliance.api.body import TheBox
from appliance.api.rooms import Rooms
from appliance.lanestats import GraphStatistics
from appliance.models import ModelEntry
from appliance.planning import Plan
from wasi_nn.registry import GraphInfo

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get("")
def list_models(box: TheBox) -> shapes.Models:
    """List the models, the graphs that are loaded now, and how often loading was saved."""
    loaded = box.registry.statistics()
    return shapes.Models(
        models=[_model(entry) for entry in box.models.entries()],
        graphs=[_graph(box, info) for info in loaded.graphs],
        loads=loaded.loads,
        hits=loaded.hits,
        failures=loaded.failures,
    )


def _model(entry: ModelEntry) -> shapes.Model:
    manifest = None if entry.package is None else entry.package.manifest
    return shapes.Model(
        name=entry.name,
        version=entry.version,
        encodings=[] if manifest is None else [files.encoding.value for files in manifest.files],
        licence="" if manifest is None else manifest.licence,
        reason=entry.reason,
    )


def _graph(box: Rooms, info: GraphInfo) -> shapes.Graph:
    plan = box.plans.find(info.graph)
    counts = box.scheduler.counts_of(info.graph)
    return shapes.Graph(
        model=info.name or None,
        digest=info.digest,
        encoding=info.encoding.value,
        backend=info.backend,
        asked=info.asked.value,
        device=info.device.value,
        references=info.references,
        plan=None if plan is None else _plan(plan),
        counts=None if counts is None else _counts(counts),
    )


def _plan(plan: Plan) -> shapes.Plan:
    return shapes.Plan(
        threads=plan.threads,
        parallel=plan.parallel,
        max_batch_rows=plan.max_batch_rows,
        latency_ms=round(plan.latency_s * 1000, 3),
        rows_per_s=round(plan.rows_per_s, 1),
    )


def _counts(counts: GraphStatistics) -> shapes.Counts:
    return shapes.Counts(
        requests=counts.requests,
        rows=counts.rows,
        executions=counts.executions,
        failures=counts.failures,
        batch_rows=dict(counts.batch_rows),
        queue_ms=round(counts.queue_s * 1000, 3),
        compute_ms=round(counts.compute_s * 1000, 3),
        refusals=dict(counts.refusals),
        owner_rows=dict(counts.owner_rows),
    )
