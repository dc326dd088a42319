"""Models over the socket: what the repository holds, and what is loaded where."""

from fastapi import APIRouter

from appliance.api import shapes
from appliance.api.body import TheBox
from appliance.api.rooms import Rooms
from appliance.errors import Conflict
from appliance.lanestats import GraphStatistics
from appliance.manifests import ModelFiles, ModelPackage
from appliance.models import ModelEntry, named_model
from appliance.planning import Plan
from appliance.preprocess import InputSpec
from appliance.suspicion import Kind
from wasi_nn.registry import GraphInfo

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get("")
def list_models(box: TheBox) -> shapes.Models:
    """List the models, the graphs that are loaded now, and how often loading was saved."""
    loaded = box.registry.statistics()
    return shapes.Models(
        models=[_model(box, entry) for entry in box.models.entries()],
        graphs=[_graph(box, info) for info in loaded.graphs],
        loads=loaded.loads,
        hits=loaded.hits,
        failures=loaded.failures,
    )


@router.get("/{name}")
def show_model(name: str, box: TheBox) -> shapes.ModelVersions:
    """Say all about a model, version by version."""
    return shapes.ModelVersions(
        name=name, versions=[_detail(box, entry) for entry in box.models.require(name)]
    )


@router.post("/{name}/{version}/release")
def release(name: str, version: str, box: TheBox) -> shapes.Model:
    """Let a model be loaded again that was quarantined because the box crashed while it ran."""
    entry = box.models.pick(name, version)
    if not box.quarantine.release(Kind.MODEL, _label(entry)):
        raise Conflict(f"model {_label(entry)}: is not quarantined, there is nothing to release")
    box.inference.forgive(name)
    return _model(box, entry)


@router.get("/{name}/plan")
def show_plan(name: str, box: TheBox, version: str | None = None) -> shapes.ModelPlan:
    """Show what was measured of the loaded graphs of a version, the default unless one is said."""
    entry = box.models.pick(name, version)
    return shapes.ModelPlan(
        name=name,
        version=entry.version,
        graphs=[
            shapes.GraphPlan(
                encoding=info.encoding.value,
                backend=info.backend,
                device=info.device.value,
                plan=_measured(box.plans.find(info.graph)),
            )
            for info in _graphs_of(box, entry)
        ],
    )


def _measured(plan: Plan | None) -> shapes.MeasuredPlan | None:
    if plan is None:
        return None
    figures = [
        shapes.Figure(
            threads=figure.threads,
            parallel=figure.parallel,
            rows=figure.rows,
            latency_ms=round(figure.latency_s * 1000, 3),
            rows_per_s=round(figure.rows_per_s, 1),
        )
        for figure in plan.figures
    ]
    return shapes.MeasuredPlan(**_plan(plan).model_dump(), figures=figures)


def _graphs_of(box: Rooms, entry: ModelEntry) -> list[GraphInfo]:
    """Find the loaded graphs of a version, by name or by content: names share graphs."""
    package = entry.package
    files = () if package is None else named_model(entry.name, entry.version, package).files
    digests = {file.digest for file in files if file.digest is not None}
    label = f"{entry.name}:{entry.version}"
    loaded = box.registry.statistics().graphs
    return [info for info in loaded if info.name == label or info.digest in digests]


def _detail(box: Rooms, entry: ModelEntry) -> shapes.ModelDetail:
    package = entry.package
    manifest = None if package is None else package.manifest
    sample = None if manifest is None else manifest.sample
    return shapes.ModelDetail(
        **_model(box, entry).model_dump(),
        state=_state(box, entry),
        title="" if manifest is None else manifest.title,
        origin="" if manifest is None else manifest.origin,
        tolerance=0.0 if manifest is None else manifest.tolerance,
        is_shipped=entry.is_shipped,
        is_default=entry.is_default,
        size_bytes=entry.size_bytes(),
        inputs=[] if manifest is None else [_input(spec) for spec in manifest.inputs],
        outputs=[] if package is None else _outputs(package),
        files=[] if manifest is None else [_files(files) for files in manifest.files],
        sample=None if sample is None else sample.label,
        graphs=[_graph(box, info) for info in _graphs_of(box, entry)],
    )


def _input(spec: InputSpec) -> shapes.ModelInput:
    return shapes.ModelInput(
        name=spec.name, type=spec.type.value, size_wh=spec.size_wh, color=spec.color.value,
        resize=spec.resize.value, crop_fraction=spec.crop_fraction, mean=list(spec.mean),
        std=list(spec.std),
    )  # fmt: skip


def _outputs(package: ModelPackage) -> list[shapes.ModelOutput]:
    return [
        shapes.ModelOutput(
            name=output.name,
            kind=output.kind.value,
            labels=len(package.labels) if output.labels is not None else 0,
        )
        for output in package.manifest.outputs
    ]


def _files(files: ModelFiles) -> shapes.ModelFile:
    return shapes.ModelFile(
        encoding=files.encoding.value, layout=files.image_layout.value, paths=list(files.paths),
        is_verified=bool(files.sha256),
    )  # fmt: skip


def _state(box: Rooms, entry: ModelEntry) -> str:
    if entry.package is None:
        return "broken"
    return "ready" if box.quarantine.of_model(_label(entry)) is None else "quarantined"


def _label(entry: ModelEntry) -> str:
    return f"{entry.name}:{entry.version}"


def _model(box: Rooms, entry: ModelEntry) -> shapes.Model:
    sentence = box.quarantine.of_model(_label(entry))
    manifest = None if entry.package is None else entry.package.manifest
    return shapes.Model(
        name=entry.name,
        version=entry.version,
        encodings=[] if manifest is None else [files.encoding.value for files in manifest.files],
        licence="" if manifest is None else manifest.licence,
        reason=entry.reason or ("" if sentence is None else sentence.reason),
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
