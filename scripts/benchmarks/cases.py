"""The models that are measured, in each of their formats."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from appliance.shipped import models_folder
from scripts.benchmarks.direct import Floats

_TINY = Path(__file__).parents[2] / "tests" / "wasi_nn" / "backends" / "data"
_LITE0 = models_folder() / "efficientnet-lite0" / "1"


@dataclass(frozen=True, slots=True)
class Case:
    """One model in one format. shape: of one row of its input, float32."""

    model: str
    encoding: str
    files: tuple[Path, ...]
    shape: tuple[int, ...]

    @property
    def name(self) -> str:
        return f"{self.model}, {self.encoding}"

    @property
    def key(self) -> str:
        """Its name in the catalogue."""
        return f"{self.model}-{self.encoding}"

    def values(self, rows: int = 1) -> Floats:
        """Make an input, the same one every time."""
        shape = (rows, *self.shape[1:])
        return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


TINY = (
    Case("tiny", "onnx", (_TINY / "scale.onnx",), (1, 4)),
    Case("tiny", "openvino", (_TINY / "scale.xml", _TINY / "scale.bin"), (1, 4)),
    Case("tiny", "tensorflowlite", (_TINY / "scale.tflite",), (1, 4)),
)
LITE0 = (
    Case("lite0", "onnx", (_LITE0 / "model.onnx",), (1, 3, 224, 224)),
    Case("lite0", "openvino", (_LITE0 / "model.xml", _LITE0 / "model.bin"), (1, 3, 224, 224)),
    Case("lite0", "tensorflowlite", (_LITE0 / "model.tflite",), (1, 224, 224, 3)),
)
# Made by make_cnn64.py: a small network whose rows are stacked gladly.
CNN64 = Case("cnn64", "onnx", (Path(__file__).parent / "data" / "cnn64.onnx",), (1, 3, 64, 64))


def lite0(formats: tuple[str, ...]) -> tuple[Case, ...]:
    """EfficientNet-Lite0 in these formats."""
    return tuple(case for case in LITE0 if case.encoding in formats)
