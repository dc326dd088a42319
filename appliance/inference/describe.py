"""What a client is told about a model: metadata, configuration, and how pictures become inputs."""

from collections.abc import Sequence

from appliance.calls import GraphPlan
from appliance.inference.graphs import LoadedModel
from appliance.inference.inputs import MAX_BATCH_ROWS
from appliance.oip.datatypes import Datatype
from appliance.oip.messages import ModelConfig, ModelMetadata, TensorMetadata
from wasi_nn.backend import Encoding
from wasi_nn.tensor import TensorSpec

# Source: Open Inference Protocol v2, "Platforms".
_PLATFORMS = {Encoding.ONNX: "onnx_onnxv1", Encoding.TENSORFLOWLITE: "tensorflow_lite"}


def platform_of(encoding: Encoding) -> str:
    """Name a model format as the protocol does."""
    return _PLATFORMS.get(encoding, encoding.value)


def metadata_of(model: LoadedModel, versions: tuple[str, ...]) -> ModelMetadata:
    """Describe a model's tensors."""
    return ModelMetadata(
        name=model.name,
        versions=versions,
        platform=platform_of(model.reference.encoding),
        inputs=_tensors(model.graph.inputs),
        outputs=_tensors(model.graph.outputs),
        properties=properties_of(model),
    )


def config_of(model: LoadedModel, backend: str, plan: GraphPlan) -> ModelConfig:
    """Describe how a model is run."""
    graph, policy = model.graph, plan.policy
    is_batched = graph.batch_axis is not None
    labelled = {
        spec.name: output.labels
        for spec, output in zip(graph.outputs, model.package.manifest.outputs, strict=False)
        if output.labels is not None
    }
    layouts = {
        spec.name: picture.layout.value
        for spec, picture in zip(graph.inputs, model.pictures, strict=True)
        if picture is not None
    }
    return ModelConfig(
        name=model.name,
        platform=platform_of(model.reference.encoding),
        backend=backend,
        max_batch_size=MAX_BATCH_ROWS if is_batched else 0,
        inputs=_tensors(graph.inputs, skip=int(is_batched)),
        outputs=_tensors(graph.outputs, skip=int(is_batched)),
        labels=labelled,
        preferred_batch_size=policy.preferred_batch_rows or _largest(policy.max_batch_rows),
        max_queue_delay_us=policy.max_queue_delay_us,
        priority_levels=policy.priority_levels,
        default_priority_level=policy.default_priority_level,
        max_queue_size=policy.max_queue_size,
        default_timeout_us=policy.default_timeout_us,
        timeout_action=policy.timeout_action.name,
        image_layout=layouts,
        properties=properties_of(model),
    )


def properties_of(model: LoadedModel) -> dict[str, str]:
    """Say how pictures become inputs and what outputs mean, as model.toml does."""
    said: dict[str, str] = {}
    for spec, picture in zip(model.graph.inputs, model.pictures, strict=True):
        if picture is None:
            continue
        image = picture.spec
        said[f"{spec.name}.encoded"] = "BYTES [N]: JPEG, PNG or WebP"
        said[f"{spec.name}.size_wh"] = "x".join(map(str, image.size_wh))
        said[f"{spec.name}.layout"] = picture.layout.value
        said[f"{spec.name}.color"] = image.color.value
        said[f"{spec.name}.resize"] = image.resize.value
        said[f"{spec.name}.crop_fraction"] = str(image.crop_fraction)
        said[f"{spec.name}.mean"] = _numbers(image.mean)
        said[f"{spec.name}.std"] = _numbers(image.std)
    outputs = zip(model.graph.outputs, model.package.manifest.outputs, strict=False)
    for index, (spec, output) in enumerate(outputs):
        said[f"{spec.name}.kind"] = output.kind.value
        if labels := model.labels_of(index):
            said[f"{spec.name}.labels"] = str(len(labels))
    return said


def _tensors(specs: Sequence[TensorSpec], skip: int = 0) -> tuple[TensorMetadata, ...]:
    return tuple(
        TensorMetadata(
            spec.name,
            Datatype.of(spec.type),
            tuple(-1 if dim is None else dim for dim in spec.shape[skip:]),
        )
        for spec in specs
    )


def _largest(max_batch_rows: int) -> tuple[int, ...]:
    """Name the size that was measured to pay, if it is one of several rows."""
    return (max_batch_rows,) if max_batch_rows > 1 else ()


def _numbers(values: Sequence[float]) -> str:
    return ",".join(f"{value:g}" for value in values)
