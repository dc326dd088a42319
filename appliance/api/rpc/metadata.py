"""What the box says of itself and its models, as protobuf's messages."""

from collections.abc import Iterable

from appliance.api.rpc.descriptors import INFERENCE, Proto
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


def server_metadata(known: ServerMetadata) -> Proto:
    """Write a ServerMetadataResponse."""
    return INFERENCE["ServerMetadataResponse"](
        name=known.name, version=known.version, extensions=known.extensions
    )


def model_metadata(known: ModelMetadata) -> Proto:
    """Write a ModelMetadataResponse."""
    return INFERENCE["ModelMetadataResponse"](
        name=known.name,
        versions=known.versions,
        platform=known.platform,
        inputs=map(_tensor, known.inputs),
        outputs=map(_tensor, known.outputs),
        properties=known.properties,
    )


def model_config(known: ModelConfig) -> Proto:
    """Write a ModelConfigResponse."""
    config = INFERENCE["ModelConfig"](
        name=known.name,
        platform=known.platform,
        backend=known.backend,
        max_batch_size=known.max_batch_size,
    )
    for put in known.inputs:
        config.input.add(
            name=put.name, data_type=_type_of(put.datatype), dims=put.shape,
            format=f"FORMAT_{known.image_layout.get(put.name, 'NONE')}",
        )  # fmt: skip
    for got in known.outputs:
        config.output.add(
            name=got.name, data_type=_type_of(got.datatype), dims=got.shape,
            label_filename=known.labels.get(got.name, ""),
        )  # fmt: skip
    for name, text in known.properties.items():
        config.parameters[name].string_value = text
    # Its presence says that requests are batched, whatever it holds.
    if known.max_batch_size > 1:
        batching = config.dynamic_batching
        batching.SetInParent()
        batching.preferred_batch_size.extend(known.preferred_batch_size)
        batching.max_queue_delay_microseconds = known.max_queue_delay_us
        batching.priority_levels = known.priority_levels
        batching.default_priority_level = known.default_priority_level
        batching.default_queue_policy.max_queue_size = known.max_queue_size
    return INFERENCE["ModelConfigResponse"](config=config)


def statistics(models: Iterable[ModelStatistics]) -> Proto:
    """Write a ModelStatisticsResponse."""
    return INFERENCE["ModelStatisticsResponse"](model_stats=map(_statistics, models))


def index(entries: Iterable[IndexEntry]) -> Proto:
    """Write a RepositoryIndexResponse."""
    response = INFERENCE["RepositoryIndexResponse"]()
    for entry in entries:
        response.models.add(
            name=entry.name, version=entry.version, state=entry.state, reason=entry.reason
        )
    return response


def _tensor(known: TensorMetadata) -> Proto:
    return INFERENCE["TensorMetadata"](
        name=known.name, datatype=known.datatype.value, shape=known.shape
    )


def _type_of(datatype: Datatype) -> str:
    """Name a datatype as ModelConfig does, where BYTES is a string."""
    return "TYPE_STRING" if datatype is Datatype.BYTES else f"TYPE_{datatype.value}"


def _statistics(known: ModelStatistics) -> Proto:
    return INFERENCE["ModelStatistics"](
        name=known.name,
        version=known.version,
        last_inference=known.last_inference_ms,
        inference_count=known.inference_count,
        execution_count=known.execution_count,
        inference_stats=INFERENCE["InferStatistics"](
            success=_duration(known.success),
            fail=_duration(known.fail),
            queue=_duration(known.queue),
            compute_input=_duration(known.compute_input),
            compute_infer=_duration(known.compute_infer),
            compute_output=_duration(known.compute_output),
        ),
        batch_stats=[
            INFERENCE["InferBatchStatistics"](batch_size=rows, compute_infer=_duration(spent))
            for rows, spent in sorted(known.batches.items())
        ],
    )


def _duration(known: Duration) -> Proto:
    return INFERENCE["StatisticDuration"](count=known.count, ns=known.ns)
