"""Run the three files on their own runtimes and refuse those that stray from the source."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import openvino
from ai_edge_litert.interpreter import Interpreter

from convert_models.manifest import TOLERANCE
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


RUNS: dict[str, Run] = {"onnx": run_onnx, "openvino": run_openvino, "tflite": run_tflite}


def measure(folder: Path, images: Floats, source_logits: Floats) -> list[str]:
    """Compare every file with the source on all samples and say how far apart they are.

    images: float32 (samples, 3, 224, 224).      source_logits: float32 (samples, 1000).
    Returns: one line per file.
    Raises: MeasureError if a probability or a first class differs.
    """
    expected = compute_softmax(source_logits)
    _check_classes(expected)
    lines = []
    for name, run in RUNS.items():
        actual = compute_softmax(run(folder, images))
        differences = np.abs(actual - expected).max(axis=1)
        if differences.max() > TOLERANCE:
            raise MeasureError(
                f"{name}: a probability is {differences.max():.4f} from the source, wanted at "
                f"most {TOLERANCE}; compare the layers one by one"
            )
        if (actual.argmax(axis=1) != expected.argmax(axis=1)).any():
            raise MeasureError(
                f"{name}: first classes are {actual.argmax(axis=1).tolist()}, the source says "
                f"{expected.argmax(axis=1).tolist()}"
            )
        each = " ".join(
            f"{sample.name}={difference:.5f}"
            for sample, difference in zip(SAMPLES, differences, strict=True)
        )
        lines.append(f"{name}: largest difference of a probability: {each}")
    return lines


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
