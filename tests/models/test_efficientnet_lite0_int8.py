"""The shipped int8 EfficientNet-Lite0: its two files against the float32 model of the other one.

The reference is efficientnet-lite0's own: one source, two ways of storing it. Nor is any code of
the repository needed: this test says whether the data is right.
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
FOLDER = MODELS / "efficientnet-lite0-int8" / "1"
FLOAT_FOLDER = MODELS / "efficientnet-lite0" / "1"
MANIFEST = tomllib.loads((FOLDER / "model.toml").read_text(encoding="utf-8"))
FLOAT_MANIFEST = tomllib.loads((FLOAT_FOLDER / "model.toml").read_text(encoding="utf-8"))
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


LOADERS = {"onnx": load_onnx, "tensorflowlite": load_tflite}


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


def test_encodings_are_those_that_qualified() -> None:
    """Both formats are shipped, in this order; a file that is dropped is dropped here too."""
    assert ENCODINGS == ["onnx", "tensorflowlite"]


@pytest.mark.parametrize("part", ["inputs", "outputs"])
def test_preprocessing_and_outputs_are_those_of_the_float_model(part: str) -> None:
    """A guest that works with efficientnet-lite0 works with this one."""
    assert FLOAT_MANIFEST[part] == MANIFEST[part]


def test_labels_are_those_of_the_float_model() -> None:
    """Both variants call a class by the same name."""
    expected = (FLOAT_FOLDER / FLOAT_MANIFEST["outputs"][0]["labels"]).read_bytes()

    assert expected == (FOLDER / MANIFEST["outputs"][0]["labels"]).read_bytes()


def test_probabilities_agree_with_the_source(run: Run, images: Floats) -> None:
    """No probability is further from the float32 source than model.toml promises."""
    actual = compute_softmax(run(images))

    expected = compute_softmax(REFERENCE["logits"])
    np.testing.assert_allclose(actual, expected, rtol=0, atol=MANIFEST["tolerance"])


@pytest.mark.parametrize("sample", ["rocket", "astronaut", "coffee"])
def test_first_classes_agree_with_the_source(run: Run, images: Floats, sample: str) -> None:
    """The most probable class is the float32 source's.

    Not so for chelsea: to the source she is an Egyptian cat by 0.378 and a tiger cat by 0.365.
    """
    index = SAMPLES.index(sample)

    first = int(run(images[index : index + 1]).argmax())

    assert int(REFERENCE["logits"][index].argmax()) == first


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
    # The first layers are float32: another order of adding may flip a rounding after them. None
    # did here, with either runtime.
    np.testing.assert_allclose(batch, singles, rtol=0, atol=0.1)


@pytest.mark.parametrize(("path", "sha256"), list(zip(PATHS, SHA256, strict=True)), ids=PATHS)
def test_files_are_those_of_the_manifest(path: str, sha256: str) -> None:
    """Every file has the hash that model.toml states."""
    assert sha256 == hashlib.sha256((FOLDER / path).read_bytes()).hexdigest()


@pytest.mark.parametrize("path", PATHS)
def test_files_are_smaller_than_the_float_ones(path: str) -> None:
    """A file takes at most 60 % of the float one's, which holds 16 bits per weight."""
    size_bytes = (FOLDER / path).stat().st_size

    assert size_bytes < 0.6 * (FLOAT_FOLDER / path).stat().st_size
