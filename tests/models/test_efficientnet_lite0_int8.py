"""The shipped int8 EfficientNet-Lite0: its two files against the float32 model of the other one.

The reference is efficientnet-lite0's own: one source, two ways of storing it.
"""

import hashlib

import numpy as np
import pytest

from tests.models.lite0 import REFERENCE, SAMPLES, Floats, Run, Shipped, softmax

SHIPPED = Shipped("efficientnet-lite0-int8")
FLOAT = Shipped("efficientnet-lite0")


@pytest.fixture(scope="module", params=SHIPPED.encodings)
def run(request: pytest.FixtureRequest) -> Run:
    """Each of the model's files on its own runtime, loaded once."""
    return SHIPPED.load(request.param)


@pytest.fixture(scope="module")
def images() -> Floats:
    """All samples as the network wants them, in the reference's order: (samples, 3, 224, 224)."""
    return SHIPPED.images()


def test_encodings_are_those_that_qualified() -> None:
    """Both formats are shipped, in this order; a file that is dropped is dropped here too."""
    assert SHIPPED.encodings == ["onnx", "tensorflowlite"]


@pytest.mark.parametrize("part", ["inputs", "outputs"])
def test_preprocessing_and_outputs_are_those_of_the_float_model(part: str) -> None:
    """A guest that works with efficientnet-lite0 works with this one."""
    assert FLOAT.manifest[part] == SHIPPED.manifest[part]


def test_labels_are_those_of_the_float_model() -> None:
    """Both variants call a class by the same name."""
    expected = (FLOAT.folder / FLOAT.manifest["outputs"][0]["labels"]).read_bytes()

    assert expected == (SHIPPED.folder / SHIPPED.manifest["outputs"][0]["labels"]).read_bytes()


def test_probabilities_agree_with_the_source(run: Run, images: Floats) -> None:
    """No probability is further from the float32 source than model.toml promises."""
    actual = softmax(run(images))

    expected = softmax(REFERENCE["logits"])
    np.testing.assert_allclose(actual, expected, rtol=0, atol=SHIPPED.manifest["tolerance"])


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


@pytest.mark.parametrize(
    ("path", "sha256"), list(zip(SHIPPED.paths, SHIPPED.sha256, strict=True)), ids=SHIPPED.paths
)
def test_files_are_those_of_the_manifest(path: str, sha256: str) -> None:
    """Every file has the hash that model.toml states."""
    assert sha256 == hashlib.sha256((SHIPPED.folder / path).read_bytes()).hexdigest()


@pytest.mark.parametrize("path", SHIPPED.paths)
def test_files_are_smaller_than_the_float_ones(path: str) -> None:
    """A file takes at most 60 % of the float one's, which holds 16 bits per weight."""
    size_bytes = (SHIPPED.folder / path).stat().st_size

    assert size_bytes < 0.6 * (FLOAT.folder / path).stat().st_size
