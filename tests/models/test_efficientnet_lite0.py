"""The shipped EfficientNet-Lite0: its three files against the float32 model they were made from."""

import hashlib

import numpy as np
import pytest

from tests.models.lite0 import MODELS, REFERENCE, SAMPLES, Floats, Run, Shipped, softmax

SHIPPED = Shipped("efficientnet-lite0")


@pytest.fixture(scope="module", params=SHIPPED.encodings)
def run(request: pytest.FixtureRequest) -> Run:
    """Each of the model's files on its own runtime, loaded once."""
    return SHIPPED.load(request.param)


@pytest.fixture(scope="module")
def images() -> Floats:
    """All samples as the network wants them, in the reference's order: (samples, 3, 224, 224)."""
    return SHIPPED.images()


@pytest.mark.parametrize("sample", SAMPLES)
def test_samples_give_the_tensors_of_the_reference(sample: str, images: Floats) -> None:
    """A sample becomes, bit for bit, the tensor that the reference was computed from."""
    index = SAMPLES.index(sample)

    # If only this test fails, another Pillow decodes or resizes differently: the files are fine.
    assert REFERENCE["input_sha256"][index] == hashlib.sha256(images[index]).hexdigest()


def test_probabilities_agree_with_the_source(run: Run, images: Floats) -> None:
    """No probability is further from the float32 source than model.toml promises."""
    actual = softmax(run(images))

    expected = softmax(REFERENCE["logits"])
    np.testing.assert_allclose(actual, expected, rtol=0, atol=SHIPPED.manifest["tolerance"])


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


@pytest.mark.parametrize(
    ("path", "sha256"), list(zip(SHIPPED.paths, SHIPPED.sha256, strict=True)), ids=SHIPPED.paths
)
def test_files_are_those_of_the_manifest(path: str, sha256: str) -> None:
    """Every file has the hash that model.toml states."""
    assert sha256 == hashlib.sha256((SHIPPED.folder / path).read_bytes()).hexdigest()


def test_labels_name_every_class_once() -> None:
    """There is one label per class, and no two are equal, not even ignoring case."""
    labels = (
        (SHIPPED.folder / SHIPPED.manifest["outputs"][0]["labels"])
        .read_text(encoding="utf-8")
        .splitlines()
    )

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
    labels = (
        (SHIPPED.folder / SHIPPED.manifest["outputs"][0]["labels"])
        .read_text(encoding="utf-8")
        .splitlines()
    )

    assert label == labels[index]


def test_shipped_models_are_small() -> None:
    """All of models/ stays below 40 MB, since every clone carries it."""
    size_bytes = sum(path.stat().st_size for path in MODELS.rglob("*") if path.is_file())

    assert size_bytes < 40_000_000
