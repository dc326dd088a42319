"""Show a picture to a model as its manifest says, and read its answer: labels with scores.

Also what a model must fulfil to be shown one: the graph takes what the manifest makes of a frame,
and has as many classes as there are labels.
"""

import math
import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from appliance.errors import ApplianceError, BadModel, NotFound, Unavailable
from appliance.manifests import ModelPackage, OutputKind
from appliance.preprocess import InputSpec, Layout, tensor_shape, to_tensor
from wasi_nn import errors as nn
from wasi_nn.backend import Encoding, Graph
from wasi_nn.executor import Executor, Spent, Ticket
from wasi_nn.tensor import Array, TensorSpec

TOP = 5


@dataclass(frozen=True, slots=True)
class Score:
    """One class. label: None if the model does not name it.   score: 0..1 if the kind is known."""

    index: int
    label: str | None
    score: float


@dataclass(frozen=True, slots=True)
class Sight:
    """What a model said about a picture.

    top: the best five, best first.   kind: of the output, None if the manifest does not say; the
    scores are then the output's numbers.   preprocess_s, queue_s, compute_s: seconds.
    """

    top: tuple[Score, ...]
    kind: OutputKind | None
    preprocess_s: float
    queue_s: float
    compute_s: float


def check_fit(package: ModelPackage, encoding: Encoding, graph: Graph) -> None:
    """Compare a manifest with the graph that was loaded for it.

    Raises: BadModel naming the input or output, got and wanted.
    """
    manifest = package.manifest
    layout = _layout(package, encoding)
    if len(manifest.inputs) > len(graph.inputs):
        raise BadModel(
            f"{encoding.value}: model.toml describes {len(manifest.inputs)} inputs, the model has "
            f"{len(graph.inputs)}"
        )
    for image, spec in zip(manifest.inputs, graph.inputs, strict=False):
        _check_input(image, layout, spec, encoding)
    if len(manifest.outputs) > len(graph.outputs):
        raise BadModel(
            f"{encoding.value}: model.toml describes {len(manifest.outputs)} outputs, the model "
            f"has {len(graph.outputs)}"
        )
    named = next((i for i, output in enumerate(manifest.outputs) if output.labels), None)
    if named is not None:
        spec = graph.outputs[named]
        dims = spec.shape[1:] if len(spec.shape) > 1 else spec.shape
        if None not in dims and math.prod(d or 1 for d in dims) != len(package.labels):
            raise BadModel(
                f"{encoding.value}: output {spec.name} is {spec}, and "
                f"{manifest.outputs[named].labels} has {len(package.labels)} labels; give one line "
                "for each class"
            )


def _layout(package: ModelPackage, encoding: Encoding) -> Layout:
    files = package.manifest.files_for(encoding)
    return Layout.NCHW if files is None else files.image_layout


def _check_input(image: InputSpec, layout: Layout, spec: TensorSpec, encoding: Encoding) -> None:
    dims = tensor_shape(image, layout)
    if image.type is not spec.type or not spec.accepts(dims):
        raise BadModel(
            f"{encoding.value}: input {spec.name}: model.toml makes {image.type.value} {dims} of a "
            f"frame, the model wants {spec}; correct size_wh, type or layout"
        )


@dataclass(frozen=True, slots=True)
class Subject:
    """A loaded model to be shown pictures."""

    package: ModelPackage
    encoding: Encoding
    graph: Graph


def look(pixels: NDArray[np.uint8], subject: Subject, executor: Executor, ticket: Ticket) -> Sight:
    """Show a picture to a model.

    pixels: uint8 (H, W, 3), RGB.
    Raises: BadModel if the manifest does not say how, or the graph fails; Unavailable if the
    box is too busy.
    """
    package, encoding, graph = subject.package, subject.encoding, subject.graph
    if len(package.manifest.inputs) != 1 or len(graph.inputs) != 1:
        raise BadModel(
            f"model {package.manifest.name}: nothing says how a picture becomes its "
            f"{len(graph.inputs)} inputs; a picture can be shown to a model whose model.toml has "
            "one [[inputs]]"
        )
    image, layout = package.manifest.inputs[0], _layout(package, encoding)
    _check_input(image, layout, graph.inputs[0], encoding)
    started_s = time.perf_counter()
    tensor = to_tensor(pixels, image, layout)
    prepared_s = time.perf_counter()
    spent = Spent()
    try:
        outputs = executor.run(graph, [tensor], replace(ticket, spent=spent))
    except nn.NNError as exc:
        raise refused(exc) from exc
    kind = package.manifest.outputs[0].kind if package.manifest.outputs else None
    top = _top(outputs[0], graph.outputs[0], package.labels, kind)
    return Sight(top, kind, prepared_s - started_s, spent.queue_s, spent.compute_s)


def _top(
    output: Array, spec: TensorSpec, labels: tuple[str, ...], kind: OutputKind | None
) -> tuple[Score, ...]:
    numbers = output.reshape(-1).astype(np.float64)
    if spec.quantization is not None:
        numbers = (numbers - spec.quantization.zero_point) * spec.quantization.scale
    if not np.isfinite(numbers).all():
        raise BadModel(f"output {spec.name}: got numbers that are none (NaN or infinite)")
    if kind is OutputKind.LOGITS and numbers.size:
        numbers = np.exp(numbers - numbers.max())
        numbers /= numbers.sum()
    # Stable: of equals the first class, as every argmax has it.
    best = np.argsort(-numbers, kind="stable")[:TOP]
    return tuple(
        Score(int(i), labels[i] if i < len(labels) else None, float(numbers[i])) for i in best
    )


def refused(error: nn.NNError) -> ApplianceError:
    """Say to a client what a runtime or the scheduler refused."""
    if isinstance(error, nn.NotFound):
        return NotFound(str(error))
    if isinstance(error, nn.Busy):
        return Unavailable(str(error))
    return BadModel(str(error))
