"""Models over the socket: what the repository holds, and what is loaded where."""

from fastapi import APIRouter

from appliance.api import shapes
from appliance.api.body import TheBox
from appliance.models import ModelEntry
from wasi_nn.registry import GraphInfo

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get("")
def list_models(box: TheBox) -> shapes.Models:
    """List the models, the graphs that are loaded now, and how often loading was saved."""
    loaded = box.registry.statistics()
    return shapes.Models(
        models=[_model(entry) for entry in box.models.entries()],
        graphs=[_graph(info) for info in loaded.graphs],
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


def _graph(info: GraphInfo) -> shapes.Graph:
    return shapes.Graph(
        model=info.name or None,
        digest=info.digest,
        encoding=info.encoding.value,
        backend=info.backend,
        asked=info.asked.value,
        device=info.device.value,
        references=info.references,
    )
