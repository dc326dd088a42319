"""What is said about the server and its models, as JSON documents of the REST protocol.

Source: Open Inference Protocol v2 REST for metadata; Triton's extensions for the rest, with the
names of its ModelConfig and ModelStatistics.
"""

from collections.abc import Sequence
from typing import Any

from appliance.oip.datatypes import Datatype
from appliance.oip.messages import (
    Duration,
    IndexEntry,
    ModelConfig,
    ModelMetadata,
    ModelStatistics,
    ServerMetadata,
    TensorMetadata,
)

Document = dict[str, Any]


def server_document(server: ServerMetadata) -> Document:
    """Write GET /v2."""
    return {
        "name": server.name,
        "version": server.version,
        "extensions": list(server.extensions),
    }


def metadata_document(model: ModelMetadata) -> Document:
    """Write GET /v2/models/{model}."""
    document = {
        "name": model.name,
        "versions": list(model.versions),
        "platform": model.platform,
        "inputs": [_tensor(tensor) for tensor in model.inputs],
        "outputs": [_tensor(tensor) for tensor in model.outputs],
    }
    return {**document, "properties": dict(model.properties)} if model.properties else document


def config_document(config: ModelConfig) -> Document:
    """Write GET /v2/models/{model}/config."""
    document: Document = {
        "name": config.name,
        "platform": config.platform,
        "backend": config.backend,
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": config.max_batch_size,
        "input": [
            {**_config_tensor(tensor), "format": _format(config, tensor.name)}
            for tensor in config.inputs
        ],
        "output": [
            {**_config_tensor(tensor), "label_filename": config.labels.get(tensor.name, "")}
            for tensor in config.outputs
        ],
        "parameters": {key: {"string_value": text} for key, text in config.properties.items()},
    }
    if config.max_batch_size:
        document["dynamic_batching"] = {
            "preferred_batch_size": list(config.preferred_batch_size),
            "max_queue_delay_microseconds": config.max_queue_delay_us,
            "preserve_ordering": False,
            "priority_levels": config.priority_levels,
            "default_priority_level": config.default_priority_level,
            "default_queue_policy": {
                "timeout_action": config.timeout_action,
                "default_timeout_microseconds": config.default_timeout_us,
                "allow_timeout_override": True,
                "max_queue_size": config.max_queue_size,
            },
        }
    return document


def statistics_document(models: Sequence[ModelStatistics]) -> Document:
    """Write GET /v2/models/stats."""
    return {"model_stats": [_statistics(model) for model in models]}


def index_document(entries: Sequence[IndexEntry]) -> list[Document]:
    """Write POST /v2/repository/index."""
    return [
        {"name": e.name, "version": e.version, "state": e.state, "reason": e.reason}
        for e in entries
    ]


def _tensor(tensor: TensorMetadata) -> Document:
    return {
        "name": tensor.name,
        "datatype": tensor.datatype.value,
        "shape": list(tensor.shape),
    }


def _config_tensor(tensor: TensorMetadata) -> Document:
    is_text = tensor.datatype is Datatype.BYTES
    return {
        "name": tensor.name,
        "data_type": f"TYPE_{'STRING' if is_text else tensor.datatype.value}",
        "dims": list(tensor.shape),
    }


def _format(config: ModelConfig, name: str) -> str:
    layout = config.image_layout.get(name)
    return "FORMAT_NONE" if layout is None else f"FORMAT_{layout}"


def _statistics(model: ModelStatistics) -> Document:
    none = Duration()
    return {
        "name": model.name,
        "version": model.version,
        "last_inference": model.last_inference_ms,
        "inference_count": model.inference_count,
        "execution_count": model.execution_count,
        "inference_stats": {
            "success": _duration(model.success),
            "fail": _duration(model.fail),
            "queue": _duration(model.queue),
            "compute_input": _duration(model.compute_input),
            "compute_infer": _duration(model.compute_infer),
            "compute_output": _duration(model.compute_output),
            "cache_hit": _duration(none),
            "cache_miss": _duration(none),
        },
        "batch_stats": [
            {
                "batch_size": rows,
                "compute_input": _duration(none),
                "compute_infer": _duration(spent),
                "compute_output": _duration(none),
            }
            for rows, spent in model.batches.items()
        ],
        "memory_usage": [],
        "response_stats": {},
    }


def _duration(duration: Duration) -> Document:
    return {"count": duration.count, "ns": duration.ns}
