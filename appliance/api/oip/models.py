"""Models and apps as the protocol describes and counts them."""

from typing import Any

from fastapi import APIRouter

from appliance.api.body import TheBox
from appliance.errors import Unavailable
from appliance.oip.restdocuments import config_document, metadata_document, statistics_document

router = APIRouter(prefix="/v2/models", tags=["inference"])


# Before the models: a model of the name "stats" can be reached by its version.
@router.get("/stats")
def all_statistics(box: TheBox) -> dict[str, Any]:
    """Count what every model computed since the box started."""
    return statistics_document(box.inference.statistics())


@router.get("/{model}")
@router.get("/{model}/versions/{version}")
def metadata(model: str, box: TheBox, version: str = "") -> dict[str, Any]:
    """Describe a model's tensors."""
    return metadata_document(box.inference.model_metadata(model, version))


@router.get("/{model}/ready")
@router.get("/{model}/versions/{version}/ready")
def ready(model: str, box: TheBox, version: str = "") -> dict[str, Any]:
    """Tell that a request for the model would be computed; 503 if it would not."""
    if not box.inference.is_model_ready(model, version):
        raise Unavailable(f"model {model}: not ready; POST /v2/repository/index says why")
    return {"name": model, "ready": True}


@router.get("/{model}/config")
@router.get("/{model}/versions/{version}/config")
def config(model: str, box: TheBox, version: str = "") -> dict[str, Any]:
    """Describe how a model is run, as Triton's ModelConfig."""
    return config_document(box.inference.model_config(model, version))


@router.get("/{model}/stats")
@router.get("/{model}/versions/{version}/stats")
def statistics(model: str, box: TheBox, version: str = "") -> dict[str, Any]:
    """Count what a model computed since the box started."""
    return statistics_document(box.inference.statistics(model, version))
