"""What a model takes: its own tensors, encoded pictures, and nothing that is nearly right."""

import math

import numpy as np
import pytest

from appliance.errors import ApplianceError, BadPicture, BadRequest
from appliance.inference.inputs import MAX_BATCH_ROWS
from appliance.oip.datatypes import Datatype
from appliance.oip.messages import InferRequest, Tensor
from tests.appliance.inference.rig import Rig, image, request, values
from tests.appliance.workshop import png
from wasi_nn.backends.fake import model
from wasi_nn.tensor import TensorSpec, TensorType


def pictures(*encoded: bytes, shape: tuple[int, ...] | None = None) -> Tensor:
    return Tensor("image", Datatype.BYTES, shape or (len(encoded),), encoded)


def tensor(datatype: Datatype, *shape: int) -> Tensor:
    storage = datatype.tensor_type.storage
    return Tensor("image", datatype, shape, np.zeros(shape, storage))


def answer(rig: Rig, *inputs: Tensor) -> np.ndarray:  # type: ignore[type-arg]
    (output,) = rig.inference.infer(request(*inputs)).outputs
    assert isinstance(output.values, np.ndarray)
    return output.values


def test_a_batch_goes_through_the_model(rig: Rig) -> None:
    """The fake gives back what it got, row by row."""
    np.testing.assert_array_equal(image(1, 2, 3).values, answer(rig, image(1, 2, 3)))  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(2,), (2, 1)], ids=["N", "N by 1"])
def test_pictures_are_prepared_by_the_manifest(rig: Rig, shape: tuple[int, ...]) -> None:
    """Decoded, fitted and normalised: mean and std of model.toml, channels first."""
    got = answer(rig, pictures(png(4, 2), png(8, 6), shape=shape))

    assert (2, 3, 2, 4) == got.shape
    # The first pixel of a picture that needs no resizing: 0, 7, 14 less the mean, by the std.
    np.testing.assert_allclose([(0 - 1) / 4, (7 - 2) / 5, (14 - 3) / 6], got[0, :, 0, 0])


def test_a_view_at_an_odd_address_is_taken(rig: Rig) -> None:
    """Runtimes get their loads aligned, whatever lies before the tensor in a body."""
    row = image(2.0).values
    assert isinstance(row, np.ndarray)
    body = memoryview(b"x" + row.tobytes())
    odd = np.frombuffer(body[1:], np.float32).reshape(row.shape)

    assert not odd.flags.aligned
    np.testing.assert_array_equal(row, answer(rig, Tensor("image", Datatype.FP32, row.shape, odd)))


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        pytest.param((), "input image: missing; model tiny wants 1: image", id="none"),
        pytest.param((image(1), image(2)), "got it twice", id="twice"),
        pytest.param((image(1), image(1, name="x")), "has none such; it has image", id="another"),
        pytest.param(
            (tensor(Datatype.FP64, 1, 3, 2, 4),),
            "got FP64 [1,3,2,4], wanted FP32 [-1,3,2,4] or BYTES [N]", id="datatype",
        ),
        pytest.param((tensor(Datatype.FP32, 1, 3, 2, 5),), "got FP32 [1,3,2,5]", id="dimension"),
        pytest.param((tensor(Datatype.FP32, 3, 2, 4),), "got FP32 [3,2,4]", id="rank"),
        pytest.param((tensor(Datatype.FP32, 0, 3, 2, 4),), "got 0 rows", id="no rows"),
        pytest.param(
            (tensor(Datatype.FP32, MAX_BATCH_ROWS + 1, 3, 2, 4),), "got 129 rows, wanted 1..128",
            id="too many rows",
        ),
        pytest.param((pictures(shape=(0,)),), "got 0 pictures", id="no pictures"),
        pytest.param((pictures(*[b""] * 129),), "got 129 pictures", id="too many pictures"),
        pytest.param((pictures(b"", b"", shape=(1, 2)),), "got BYTES [1,2]", id="rows of two"),
        pytest.param((pictures(*[png()] * 120),), "make a tensor of 11520 bytes", id="too large"),
    ],
)  # fmt: skip
def test_inputs_that_are_wrong_are_refused(
    rig: Rig, inputs: tuple[Tensor, ...], words: str
) -> None:
    """The sentence names the input, what came and what is wanted."""
    with pytest.raises(BadRequest) as caught:
        rig.inference.infer(InferRequest("tiny", inputs))
    assert words in str(caught.value)


def test_the_picture_that_is_damaged_is_named(rig: Rig) -> None:
    """One of a batch spoils the batch, and the client must know which."""
    with pytest.raises(BadPicture, match=r"^picture: got .* \(element 1 of 2\)$"):
        rig.inference.infer(request(pictures(png(), png()[:40])))


def test_a_picture_of_too_many_pixels_is_refused(rig: Rig) -> None:
    """By its header, before it is unpacked."""
    with pytest.raises(BadPicture, match="wanted at most 1000000 pixels"):
        rig.inference.infer(request(pictures(png(1001, 1000))))


@pytest.mark.parametrize(
    ("raw", "shape"),
    [
        pytest.param(png(4, 2), [1, 3, 2, 4], id="a picture"),
        pytest.param(np.zeros(24, np.float32).tobytes(), [1, 3, 2, 4], id="a tensor"),
    ],
)
def test_a_raw_request_is_a_picture_or_a_tensor(rig: Rig, raw: bytes, shape: list[int]) -> None:
    """A batch of one, told apart by how pictures begin."""
    (output,) = rig.inference.infer(InferRequest("tiny", (), raw=memoryview(raw))).outputs

    assert tuple(shape) == output.shape


def test_a_raw_request_of_other_bytes_is_no_picture(rig: Rig) -> None:
    """What it is instead is said."""
    with pytest.raises(ApplianceError, match="unknown bytes, wanted a whole JPEG"):
        rig.inference.infer(InferRequest("tiny", (), raw=b"\1" * 50))


def put_plain(rig: Rig, *inputs: TensorSpec, name: str = "plain") -> None:
    """Put a model without a manifest: nothing says how pictures become its inputs."""
    folder = rig.workshop.models / name / "1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(model(inputs, inputs[:1], "identity"))


@pytest.mark.parametrize(
    ("dims", "count", "shape"),
    [
        pytest.param((None, 4), 4, (1, 4), id="batch of one"),
        pytest.param((None, None, 2), 6, (1, 3, 2), id="one free dimension"),
        pytest.param((2, 3), 6, (2, 3), id="fixed"),
        pytest.param((None,), 1, (1,), id="a scalar in a batch"),
    ],
)
def test_the_shape_of_a_raw_tensor_is_deduced(
    rig: Rig, dims: tuple[int | None, ...], count: int, shape: tuple[int, ...]
) -> None:
    """At most one dimension beside the batch is free."""
    put_plain(rig, TensorSpec("x", TensorType.F32, dims))
    raw = np.arange(count, dtype=np.float32).tobytes()

    (output,) = rig.inference.infer(InferRequest("plain", (), raw=raw)).outputs

    assert (shape, count) == (output.shape, math.prod(output.shape))


@pytest.mark.parametrize(
    ("specs", "words"),
    [
        pytest.param([(None, 4)], "got 10 bytes, wanted those of FP32 [-1,4]", id="size"),
        pytest.param([(None, None, None)], "got 10 bytes", id="two free dimensions"),
        pytest.param([(None, 4), (None, 4)], "has 2 inputs, wanted one of 1", id="two inputs"),
    ],
)
def test_raw_bytes_that_mean_nothing_are_refused(
    rig: Rig, specs: list[tuple[int | None, ...]], words: str
) -> None:
    """Nothing is guessed."""
    inputs = [TensorSpec(f"x{n}", TensorType.F32, dims) for n, dims in enumerate(specs)]
    put_plain(rig, *inputs)

    with pytest.raises(BadRequest) as caught:
        rig.inference.infer(InferRequest("plain", (), raw=bytes(10)))
    assert words in str(caught.value)


def test_a_model_without_preprocessing_takes_no_pictures(rig: Rig) -> None:
    """Nothing says how, so they are refused like any other datatype."""
    put_plain(rig, TensorSpec("image", TensorType.F32, (None, 3, 2, 4)))

    with pytest.raises(BadRequest, match=r"got BYTES \[1\], wanted FP32 \[-1,3,2,4\]$"):
        rig.inference.infer(request(pictures(png()), model="plain"))


def test_inputs_of_one_request_have_as_many_rows(rig: Rig) -> None:
    """A batch is a batch over all inputs."""
    spec = TensorSpec("a", TensorType.F32, (None, 3, 2, 4))
    put_plain(rig, spec, TensorSpec("b", TensorType.F32, (None, 3, 2, 4)))

    with pytest.raises(BadRequest, match=r"inputs of \[1, 2\] rows"):
        rig.inference.infer(request(image(1, name="a"), image(1, 2, name="b"), model="plain"))
    both = request(image(1, 2, name="a"), image(1, 2, name="b"), model="plain")
    assert values(image(1, 2)) == values(rig.inference.infer(both).outputs[0])
