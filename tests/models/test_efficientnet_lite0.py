"""The shipped EfficientNet-Lite0: its three files against the float32 model they were made from.

The reference was written by scripts/convert-models from the torch model, which is not needed here.
Nor is any code of the repository: this test says whether the data is right.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]
MODELS = REPOSITORY / "models"
FOLDER = MODELS / "efficientnet-lite0" / "1"
MANIFEST = tomllib.loads((FOLDER / "model.toml").read_text(encoding="utf-8"))
REFERENCE = np.load(Path(__file__).with_name("efficientnet_lite0_reference.npz"))
SAMPLES = REFERENCE["names"].tolist()
ENCODINGS = [files["encoding"] for files in MANIFEST["files"]]
PATHS = [path for files in MANIFEST["files"] for path in files["paths"]]
SHA256 = [sha256 for files in MANIFEST["files"] for sha256 in files["sha256"]]

Floats = npt.NDArray[np.float32]
# Images, float32 (rows, 3, 224, 224), to logits, float32 (rows, 1000).
Run = Callable[[Floats], Floats]


def import_runtime(name: str) -> ModuleType:
    """Import a runtime; where it is absent, skip on a laptop and fail in CI."""
    if os.environ.get("CI"):
        return importlib.import_module(name)
    module: ModuleType = pytest.importorskip(name)
    return module


def load_onnx() -> Run:
    onnxruntime = import_runtime("onnxruntime")
    session = onnxruntime.InferenceSession(
        FOLDER / "model.onnx", providers=["CPUExecutionProvider"]
    )
    return lambda images: session.run(["logits"], {"image": images})[0]


def load_openvino() -> Run:
    openvino = import_runtime("openvino")
    # Without the hint OpenVINO computes in bfloat16 or float16 on CPUs that are fast at it.
    compiled = openvino.Core().compile_model(
        FOLDER / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    # A copy: the next run writes into the same memory.
    return lambda images: compiled({"image": images})["logits"].copy()


def load_tflite() -> Run:
    litert = import_runtime("ai_edge_litert.interpreter")
    interpreter = litert.Interpreter(str(FOLDER / "model.tflite"))
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


LOADERS = {"onnx": load_onnx, "openvino": load_openvino, "tensorflowlite": load_tflite}


@pytest.fixture(scope="module", params=ENCODINGS)
def run(request: pytest.FixtureRequest) -> Run:
    """Each of the model's files on its own runtime, loaded once."""
    return LOADERS[request.param]()


@pytest.fixture(scope="module")
def images() -> Floats:
    """All samples as the network wants them, in the reference's order: (samples, 3, 224, 224)."""
    return np.stack([read_image(MODELS / "samples" / f"{name}.jpg") for name in SAMPLES])


def read_image(path: Path) -> Floats:
    """Read a picture as model.toml says: float32 (3, 224, 224), RGB."""
    wanted = MANIFEST["inputs"][0]
    with Image.open(path) as picture:
        rgb = picture.convert("RGB")
    side = min(rgb.size) * wanted["crop_fraction"]
    left, top = ((length - side) / 2 for length in rgb.size)
    box = (left, top, left + side, top + side)
    resized = rgb.resize(tuple(wanted["size_wh"]), Image.Resampling.BICUBIC, box=box)
    pixels = np.asarray(resized, dtype=np.float32)
    tensor = (pixels - np.float32(wanted["mean"])) / np.float32(wanted["std"])
    return np.ascontiguousarray(tensor.transpose(2, 0, 1))


def compute_softmax(logits: Floats) -> npt.NDArray[np.float64]:
    """Turn logits (rows, classes) into probabilities, each row summing to 1."""
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("sample", SAMPLES)
def test_samples_give_the_tensors_of_the_reference(sample: str, images: Floats) -> None:
    """A sample becomes, bit for bit, the tensor that the reference was computed from."""
    index = SAMPLES.index(sample)

    # If only this test fails, another Pillow decodes or resizes differently: the files are fine.
    assert REFERENCE["input_sha256"][index] == hashlib.sha256(images[index]).hexdigest()


def test_probabilities_agree_with_the_source(run: Run, images: Floats) -> None:
    """No probability is further from the float32 source than model.toml promises."""
    actual = compute_softmax(run(images))

    expected = compute_softmax(REFERENCE["logits"])
    np.testing.assert_allclose(actual, expected, rtol=0, atol=MANIFEST["tolerance"])


def test_first_classes_agree_with_the_source(run: Run, images: Floats) -> None:
    """The most probable class of every sample is the float32 source's."""
    actual = run(images).argmax(axis=1)

    assert REFERENCE["logits"].argmax(axis=1).tolist() == actual.tolist()


@pytest.mark.parametrize(
    ("sample", "classes"),
    [
        pytest.param("chelsea", {281, 282, 285}, id="chelsea is a tabby, tiger or Egyptian cat"),
        pytest.param("coffee", {967, 968}, id="coffee is an espresso or a cup"),
    ],
)
def test_samples_are_recognised(run: Run, images: Floats, sample: str, classes: set[int]) -> None:
    """A plain picture of one thing is called by its name."""
    index = SAMPLES.index(sample)

    first = int(run(images[index : index + 1]).argmax())

    assert first in classes


def test_batch_gives_the_rows_of_single_runs(run: Run, images: Floats) -> None:
    """Three images in one run give what three runs of one image give."""
    singles = np.concatenate([run(images[row : row + 1]) for row in range(3)])

    batch = run(images[:3])

    assert singles.shape == batch.shape
    # A bigger batch may add up in another order: 6e-6 measured on logits of about 10.
    np.testing.assert_allclose(batch, singles, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("path", "sha256"), list(zip(PATHS, SHA256, strict=True)), ids=PATHS)
def test_files_are_those_of_the_manifest(path: str, sha256: str) -> None:
    """Every file has the hash that model.toml states."""
    assert sha256 == hashlib.sha256((FOLDER / path).read_bytes()).hexdigest()


def test_labels_name_every_class_once() -> None:
    """There is one label per class, and no two are equal, not even ignoring case."""
    labels = (FOLDER / MANIFEST["outputs"][0]["labels"]).read_text(encoding="utf-8").splitlines()

    distinct = {label.strip().casefold() for label in labels} - {""}
    expected = 1000
    assert expected == len(labels)
    assert expected == len(distinct)


@pytest.mark.parametrize(
    ("index", "label"),
    [(0, "tench"), (281, "tabby"), (285, "Egyptian cat"), (967, "espresso"), (968, "cup")],
    ids=str,
)
def test_labels_are_in_the_order_of_the_logits(index: int, label: str) -> None:
    """Line n of labels.txt, counted from 0, names class n."""
    labels = (FOLDER / MANIFEST["outputs"][0]["labels"]).read_text(encoding="utf-8").splitlines()

    assert label == labels[index]


def test_shipped_models_are_small() -> None:
    """All of models/ stays below 40 MB, since every clone carries it."""
    size_bytes = sum(path.stat().st_size for path in MODELS.rglob("*") if path.is_file())

    assert size_bytes < 40_000_000
