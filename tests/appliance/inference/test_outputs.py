"""What a client gets: the outputs it names, as tensors or as the best classes by label."""

import numpy as np
import pytest

from appliance.errors import BadRequest, ModelFailed
from appliance.inference.outputs import output_of
from appliance.oip.datatypes import Datatype
from appliance.oip.messages import WantedOutput
from tests.appliance.inference.rig import Rig, image, request
from wasi_nn.tensor import Array, TensorSpec, TensorType

LABELS = ("cat", "dog", "eel")


def classes(
    array: Array, count: int, *, is_batched: bool = True, type: TensorType = TensorType.F32
) -> tuple[tuple[int, ...], object]:
    spec = TensorSpec("y", type, tuple(array.shape))
    tensor = output_of(array, spec, WantedOutput("y", count), LABELS, is_batched=is_batched)
    assert Datatype.BYTES is tensor.datatype
    return tensor.shape, tensor.values


def test_the_best_classes_are_named() -> None:
    """value:index:label, best first, each row by itself; the value as the model gave it."""
    rows = np.array([[0.25, 0.5, -1], [3, 1, 2]], np.float32)

    assert (
        (2, 2), (b"0.5:1:dog", b"0.25:0:cat", b"3.0:0:cat", b"2.0:2:eel")
    ) == classes(rows, 2)  # fmt: skip


def test_without_a_batch_dimension_there_is_one_row() -> None:
    """The shape is [k] then."""
    assert ((1,), (b"2.0:1:dog",)) == classes(np.array([[1, 2]], np.float32), 1, is_batched=False)


def test_more_classes_than_there_are_gives_all() -> None:
    """And a class that no label names has none."""
    row = np.array([[1, 2, 3, 4]], np.uint8)

    assert (
        (1, 4), (b"4:3", b"3:2:eel", b"2:1:dog", b"1:0:cat")
    ) == classes(row, 2**60, type=TensorType.U8)  # fmt: skip


def test_equal_classes_are_in_their_own_order() -> None:
    """The answer to the same request is the same."""
    assert ((1, 3), (b"1.0:0:cat", b"1.0:1:dog", b"1.0:2:eel")) == classes(
        np.ones((1, 3), np.float32), 3
    )


def test_no_number_is_never_the_best() -> None:
    """NaN comes last."""
    row = np.array([[np.nan, 1, -np.inf]], np.float32)

    assert ((1, 3), (b"1.0:1:dog", b"-inf:2:eel", b"nan:0:cat")) == classes(row, 3)


def test_bfloat16_is_understood() -> None:
    """numpy has no such type; its bits are the upper half of a float32."""
    bits = (np.array([[1, 2]], np.float32).view(np.uint32) >> 16).astype(np.uint16)

    assert ((1, 1), (b"2.0:1:dog",)) == classes(bits, 1, type=TensorType.BF16)


def test_a_million_classes_are_too_many_to_write() -> None:
    """A picture's worth of strings is asked for as a tensor."""
    with pytest.raises(BadRequest, match="wanted at most 10000 in all"):
        classes(np.zeros((1, 20_000), np.float32), 20_000)


def test_a_model_that_lies_about_its_type_is_caught() -> None:
    """The client is told that it is the model's fault."""
    spec = TensorSpec("y", TensorType.F32, (1,))

    with pytest.raises(ModelFailed, match="gave uint8, it promised f32"):
        output_of(np.zeros(1, np.uint8), spec, WantedOutput("y"), (), is_batched=False)


def test_only_outputs_that_are_asked_for_are_given(rig: Rig) -> None:
    """By name, in the client's order."""
    asked = request(outputs=(WantedOutput("scores"),))

    assert ["scores"] == [each.name for each in rig.inference.infer(asked).outputs]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        pytest.param(["y"], "model tiny has none such; it has scores", id="unknown"),
        pytest.param(["scores", "scores"], "got it twice", id="twice"),
    ],
)
def test_outputs_that_are_wrong_are_refused_before_computing(
    rig: Rig, names: list[str], words: str
) -> None:
    """Nothing is computed for nobody."""
    with pytest.raises(BadRequest, match=words):
        rig.inference.infer(request(image(1), outputs=tuple(map(WantedOutput, names))))
    assert 0 == rig.inference.statistics("tiny")[0].execution_count
