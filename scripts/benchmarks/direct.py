"""The models called directly, as a careful user of each runtime would: the baseline."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Run = Callable[[Floats], Any]
CORES = os.cpu_count() or 1


def onnx(files: Sequence[Path], threads: int | None = None) -> Run:
    """ONNX Runtime: one session."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if threads is not None:
        options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        str(files[0]), options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    return lambda x: session.run(None, {name: x})[0]


def openvino(files: Sequence[Path], threads: int | None = None) -> Run:
    """OpenVINO: one compiled model and request, computing in float32 as we do."""
    import openvino as ov

    hints: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    if threads is not None:
        # Pinned, the threads of two models sit on the same core.
        hints |= {"INFERENCE_NUM_THREADS": threads, "ENABLE_CPU_PINNING": False}
    request = ov.Core().compile_model(str(files[0]), "CPU", hints).create_infer_request()
    return lambda x: request.infer([x], share_inputs=True, share_outputs=True)[0]


def tflite(files: Sequence[Path], threads: int | None = None) -> Run:
    """TensorFlow Lite: one interpreter, by default with as many threads as there are cores."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(files[0]), num_threads=threads or CORES)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    target = interpreter.get_output_details()[0]["index"]
    planned = tuple(interpreter.get_input_details()[0]["shape"])

    def run(x: Floats) -> Any:
        nonlocal planned
        if x.shape != planned:
            interpreter.resize_tensor_input(source, x.shape)
            interpreter.allocate_tensors()
            planned = x.shape
        interpreter.set_tensor(source, x)
        interpreter.invoke()
        return interpreter.get_tensor(target)

    return run


RUNTIMES: dict[str, Callable[[Sequence[Path], int | None], Run]] = {
    "onnx": onnx,
    "openvino": openvino,
    "tensorflowlite": tflite,
}


@dataclass(frozen=True, slots=True)
class Way:
    """One way in which a careful user would run a model.

    threads: of one run.   parallel: sessions side by side.   rows: of one run.
    """

    threads: int
    parallel: int
    rows: int

    def __str__(self) -> str:
        batch = f", batch {self.rows}" if self.rows > 1 else ""
        return f"{self.parallel} x {self.threads} thread{batch}"


ONE_THREAD, ALL_THREADS = Way(1, 1, 1), Way(CORES, 1, 1)
WAYS = (
    ONE_THREAD, ALL_THREADS, Way(1, CORES, 1), Way(CORES, 1, 8), Way(1, CORES, 8)
)  # fmt: skip
