"""The models called directly, as a careful user of each runtime would: the baseline."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Run = Callable[[Floats], Any]


def onnx(files: list[Path]) -> Run:
    """ONNX Runtime: one session, its default threads."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(files[0]), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})[0]


def openvino(files: list[Path]) -> Run:
    """OpenVINO: one compiled model and request, computing in float32 as we do."""
    import openvino as ov

    hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    request = ov.Core().compile_model(str(files[0]), "CPU", hints).create_infer_request()
    return lambda x: request.infer([x], share_inputs=True, share_outputs=True)[0]


def tflite(files: list[Path]) -> Run:
    """TensorFlow Lite: one interpreter with as many threads as there are cores."""
    import os

    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(files[0]), num_threads=os.cpu_count())
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    target = interpreter.get_output_details()[0]["index"]

    def run(x: Floats) -> Any:
        interpreter.set_tensor(source, x)
        interpreter.invoke()
        return interpreter.get_tensor(target)

    return run


RUNTIMES: dict[str, Callable[[list[Path]], Run]] = {
    "onnx": onnx,
    "openvino": openvino,
    "tensorflowlite": tflite,
}
