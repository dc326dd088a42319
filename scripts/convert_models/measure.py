"""Run the files on their own runtimes and refuse those that stray from the source."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import openvino
from ai_edge_litert.interpreter import Interpreter
from convert_models.manifest import Variant
from convert_models.network import INPUT_NAME, OUTPUT_NAME
from convert_models.pictures import SAMPLES

Floats = npt.NDArray[np.float32]
# Takes the folder of the files, and images, float32 (rows, 3, 224, 224).
# Returns the logits, float32 (rows, 1000).
Run = Callable[[Path, Floats], Floats]


class MeasureError(Exception):
    """A file does not compute what the source computes."""


def run_onnx(folder: Path, images: Floats) -> Floats:
    """Run model.onnx; see Run."""
    session = onnxruntime.InferenceSession(
        folder / "model.onnx", providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run([OUTPUT_NAME], {INPUT_NAME: images})[0])


def run_openvino(folder: Path, images: Floats) -> Floats:
    """Run model.xml; see Run."""
    # Without the hint OpenVINO computes in bfloat16 or float16 on CPUs that are fast at it.
    hints = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(folder / "model.xml", "CPU", hints)
    # A copy: the array that comes back is memory of the inference request.
    return np.array(compiled({INPUT_NAME: images})[OUTPUT_NAME])


def run_tflite(folder: Path, images: Floats) -> Floats:
    """Run model.tflite, resized to as many rows as there are images; see Run."""
    interpreter = Interpreter(str(folder / "model.tflite"))
    image, logits = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    images_nhwc = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    interpreter.resize_tensor_input(image["index"], images_nhwc.shape, strict=True)
    interpreter.allocate_tensors()
    interpreter.set_tensor(image["index"], images_nhwc)
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(logits["index"]))


# By the name of the encoding.
RUNS: dict[str, Run] = {
    "onnx": run_onnx,
    "openvino": run_openvino,
    "tensorflowlite": run_tflite,
}
# Of the crops whose first class a file must leave as it was. Chosen: rounding to 8 bits swaps
# classes that are equally likely, and on many crops the two best are.
SMALLEST_AGREEMENT = 0.95
ROWS_AT_ONCE = 18  # chosen, not measured


def measure(folder: Path, variant: Variant, images: Floats, source_logits: Floats) -> list[str]:
    """Compare every file with the source on all samples and say how far apart they are.

    images: float32 (samples, 3, 224, 224).      source_logits: float32 (samples, 1000).
    Returns: one line per file.
    Raises: MeasureError if a probability or a first class differs.
    """
    _check_classes(compute_softmax(source_logits))
    lines = []
    for encoding in variant.encodings:
        logits = RUNS[encoding.name](folder, images)
        differences = _compare(encoding.name, logits, source_logits, variant=variant)
        _check_first_classes(encoding.name, logits, source_logits, variant=variant)
        each = " ".join(
            f"{sample.name}={difference:.5f}"
            for sample, difference in zip(SAMPLES, differences, strict=True)
        )
        lines.append(f"{encoding.name}: largest difference of a probability: {each}")
    return lines


def measure_crops(
    folder: Path, variant: Variant, images: Floats, source_logits: Floats
) -> list[str]:
    """Compare every file with the source on many crops, where a few first classes may differ.

    images: float32 (crops, 3, 224, 224).      source_logits: float32 (crops, 1000).
    Returns: one line per file.
    Raises: MeasureError if a probability differs, or more first classes than may.
    """
    lines = []
    for encoding in variant.encodings:
        run = RUNS[encoding.name]
        logits = np.concatenate([run(folder, part) for part in split(images)])
        differences = _compare(encoding.name, logits, source_logits, variant=variant)
        agreement = float((logits.argmax(axis=1) == source_logits.argmax(axis=1)).mean())
        if agreement < SMALLEST_AGREEMENT:
            raise MeasureError(
                f"{encoding.name}: the first class agrees on {agreement:.3f} of the crops, wanted "
                f"{SMALLEST_AGREEMENT}; see integers.py"
            )
        lines.append(
            f"{encoding.name}: {len(images)} crops: first class agrees on {agreement:.3f}, largest "
            f"difference of a probability {differences.max():.4f}"
        )
    return lines


def _check_first_classes(
    name: str, logits: Floats, source_logits: Floats, *, variant: Variant
) -> None:
    rows = zip(SAMPLES, logits.argmax(axis=1), source_logits.argmax(axis=1), strict=True)
    for sample, first, expected in rows:
        is_right = not variant.has_same_first_classes and first in sample.expected_classes
        if first != expected and not is_right:
            raise MeasureError(
                f"{name}: {sample.name}: first class is {first}, the source says {expected}"
            )


def _compare(
    name: str, logits: Floats, source_logits: Floats, *, variant: Variant
) -> npt.NDArray[np.float64]:
    """Find the largest difference of a probability in each row, and refuse too large ones."""
    differences = np.abs(compute_softmax(logits) - compute_softmax(source_logits)).max(axis=1)
    if differences.max() > variant.tolerance:
        raise MeasureError(
            f"{name}: a probability is {differences.max():.4f} from the source, wanted at most "
            f"{variant.tolerance}; compare the layers one by one"
        )
    return np.asarray(differences)


def split(images: Floats) -> list[Floats]:
    """Split images into batches that do not need gigabytes of memory."""
    return [images[start : start + ROWS_AT_ONCE] for start in range(0, len(images), ROWS_AT_ONCE)]


def compute_softmax(logits: Floats) -> npt.NDArray[np.float64]:
    """Turn logits (rows, classes) into probabilities, float64, each row summing to 1."""
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _check_classes(probabilities: npt.NDArray[np.float64]) -> None:
    # The source itself must be right: wrong preprocessing would spoil all files alike.
    for sample, row in zip(SAMPLES, probabilities, strict=True):
        first = int(row.argmax())
        if sample.expected_classes and first not in sample.expected_classes:
            raise MeasureError(
                f"{sample.name}: the source says class {first}, wanted one of "
                f"{sorted(sample.expected_classes)}; check the preprocessing in pictures.py"
            )
