"""The shipped variants of EfficientNet-Lite0 on their runtimes, without code of the repository.

The tests say whether the data is right, so they read, prepare and run it by themselves. The
reference was written by scripts/convert-models from the torch model, which is not needed here.
"""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

MODELS = Path(__file__).resolve().parents[2] / "models"
REFERENCE = np.load(Path(__file__).with_name("efficientnet_lite0_reference.npz"))
SAMPLES: list[str] = REFERENCE["names"].tolist()

Floats = npt.NDArray[np.float32]
# Images, float32 (rows, 3, 224, 224), to logits, float32 (rows, 1000).
Run = Callable[[Floats], Floats]


class Shipped:
    """One model folder: its manifest, and its files on their own runtimes."""

    def __init__(self, name: str) -> None:
        self.folder = MODELS / name / "1"
        self.manifest = tomllib.loads((self.folder / "model.toml").read_text(encoding="utf-8"))
        files = self.manifest["files"]
        self.encodings: list[str] = [f["encoding"] for f in files]
        self.paths: list[str] = [path for f in files for path in f["paths"]]
        self.sha256: list[str] = [sha256 for f in files for sha256 in f["sha256"]]

    def load(self, encoding: str) -> Run:
        """Load one of the files; a runtime that is missing is a failure."""
        return {"onnx": _onnx, "openvino": _openvino, "tensorflowlite": _tflite}[encoding](
            self.folder
        )

    def labels(self) -> list[str]:
        """Read the labels, line n for class n."""
        path = self.folder / self.manifest["outputs"][0]["labels"]
        return path.read_text(encoding="utf-8").splitlines()

    def images(self) -> Floats:
        """Read all samples as model.toml says: (samples, 3, 224, 224), in SAMPLES' order."""
        wanted = self.manifest["inputs"][0]
        return np.stack([_image(MODELS / "samples" / f"{name}.jpg", wanted) for name in SAMPLES])


def softmax(logits: Floats) -> npt.NDArray[np.float64]:
    """Turn logits (rows, classes) into probabilities, each row summing to 1."""
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _image(path: Path, wanted: dict[str, Any]) -> Floats:
    """Read a picture: float32 (3, 224, 224), RGB."""
    with Image.open(path) as picture:
        rgb = picture.convert("RGB")
    side = min(rgb.size) * wanted["crop_fraction"]
    left, top = ((length - side) / 2 for length in rgb.size)
    box = (left, top, left + side, top + side)
    resized = rgb.resize(tuple(wanted["size_wh"]), Image.Resampling.BICUBIC, box=box)
    pixels = np.asarray(resized, dtype=np.float32)
    tensor = (pixels - np.float32(wanted["mean"])) / np.float32(wanted["std"])
    return np.ascontiguousarray(tensor.transpose(2, 0, 1))


def _onnx(folder: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(
        folder / "model.onnx", providers=["CPUExecutionProvider"]
    )
    return lambda images: session.run(["logits"], {"image": images})[0]


def _openvino(folder: Path) -> Run:
    import openvino

    # Without the hint OpenVINO computes in bfloat16 or float16 on CPUs that are fast at it.
    compiled = openvino.Core().compile_model(
        folder / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    # A copy: the next run writes into the same memory.
    return lambda images: compiled({"image": images})["logits"].copy()


def _tflite(folder: Path) -> Run:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(folder / "model.tflite"))
    image = {tensor["name"]: tensor["index"] for tensor in interpreter.get_input_details()}["image"]
    logits = {tensor["name"]: tensor["index"] for tensor in interpreter.get_output_details()}

    def run(images: Floats) -> Floats:
        images_nhwc = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
        # strict: only the free axis may change, so this also tests that the batch is that axis.
        interpreter.resize_tensor_input(image, images_nhwc.shape, strict=True)
        interpreter.allocate_tensors()
        interpreter.set_tensor(image, images_nhwc)
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(logits["logits"]))

    return run
