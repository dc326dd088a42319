import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from appliance.errors import BadRequest
from appliance.oip.datatypes import Datatype
from appliance.oip.jsondata import data_of, tensor_from
from appliance.oip.messages import Tensor

JSONABLE = [
    each for each in Datatype
    if each not in (Datatype.BYTES, Datatype.FP16, Datatype.BF16)
]  # fmt: skip


@pytest.mark.parametrize("data", [[1, 2, 3, 4], [[1, 2], [3, 4]]], ids=["flat", "nested"])
def test_data_is_flat_or_nested_as_the_shape(data: object) -> None:
    """Both forms mean the same."""
    tensor = tensor_from("t", Datatype.INT32, [2, 2], data)

    assert [[1, 2], [3, 4]] == tensor.values.tolist()  # type: ignore[union-attr]


@given(st.data(), st.sampled_from(JSONABLE))
def test_numbers_come_back(data: st.DataObject, datatype: Datatype) -> None:
    """Every finite value survives its JSON, nested and flat."""
    storage = datatype.tensor_type.storage
    finite = {"allow_nan": False, "allow_infinity": False} if storage.kind == "f" else {}
    elements = hnp.from_dtype(storage, **finite)  # type: ignore[call-overload]
    shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
    array = data.draw(hnp.arrays(storage, shapes, elements=elements))
    tensor = Tensor("t", datatype, array.shape, np.array(array, order="C"))

    flat = tensor_from("t", datatype, array.shape, json.loads(data_of(tensor)))

    assert array.tobytes() == flat.values.tobytes()  # type: ignore[union-attr]


def test_texts_come_back() -> None:
    """BYTES are texts in JSON, in UTF-8 inside."""
    tensor = tensor_from("t", Datatype.BYTES, [2], ["ü", ""])

    assert ("ü".encode(), b"") == tensor.values
    assert ["ü", ""] == json.loads(data_of(tensor))


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "words"),
    [
        pytest.param("INT8", [1], [128], "out of INT8's range -128..127", id="above"),
        pytest.param("UINT8", [1], [-1], "out of UINT8's range", id="below"),
        pytest.param("INT64", [1], [10**400], "out of INT64's range", id="enormous"),
        pytest.param("INT32", [1], [1.0], "got a number, wanted integers", id="float for int"),
        pytest.param("INT32", [1], [True], "got true or false", id="bool for int"),
        pytest.param("FP32", [1], [False], "got true or false, wanted numbers", id="bool"),
        pytest.param("FP32", [1], [1e300], "out of FP32's range", id="beyond float32"),
        pytest.param("FP64", [1], [float("inf")], "out of FP64's range", id="1e999"),
        pytest.param("FP32", [1], [10**400], "out of FP32's range", id="integer for float"),
        pytest.param("FP32", [1], ["1"], "got text, wanted numbers", id="text for number"),
        pytest.param("FP32", [1], [None], "got null", id="null"),
        pytest.param("BOOL", [1], [1], "got an integer, wanted true or false", id="1 for true"),
        pytest.param("BYTES", [1], [1], "got an integer, wanted texts", id="number for text"),
        pytest.param("BYTES", [1], ["\ud800"], "half a surrogate pair", id="no Unicode"),
        pytest.param("FP16", [1], [1], "FP16 has no JSON form", id="FP16"),
        pytest.param("BF16", [1], [1], "BF16 has no JSON form", id="BF16"),
        pytest.param("FP32", [3], [1, 2], "got 2 elements, wanted 3 for [3]", id="too few"),
        pytest.param("FP32", [2, 2], [[1, 2, 3], [4]], "nested otherwise", id="ragged"),
        pytest.param("FP32", [4], [[1, 2], [3, 4]], "nested otherwise", id="other rank"),
        pytest.param("FP32", [2, 1], [[1], 2], "nested otherwise", id="half nested"),
        pytest.param("FP32", [1], [[1]], "nested otherwise", id="too deep"),
        pytest.param("FP32", [], [[1]], "nested otherwise", id="scalar nested"),
        pytest.param("FP32", [1], {"0": 1}, "data is an object, wanted a list", id="object"),
    ],
)
def test_elements_are_taken_strictly(
    datatype: str, shape: list[int], data: object, words: str
) -> None:
    """A value that would be changed is refused."""
    with pytest.raises(BadRequest) as caught:
        tensor_from("t", Datatype(datatype), shape, data)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        pytest.param(
            Tensor("y", Datatype.FP32, (1,), np.array([np.nan], np.float32)), "NaN", id="NaN"
        ),
        pytest.param(
            Tensor("y", Datatype.FP16, (1,), np.array([1], np.float16)), "FP16", id="FP16"
        ),
        pytest.param(Tensor("y", Datatype.BYTES, (1,), (b"\xff",)), "no UTF-8", id="bytes"),
    ],
)
def test_what_json_cannot_hold_is_to_be_asked_for_in_binary(tensor: Tensor, words: str) -> None:
    """Never NaN in JSON, never bytes made up."""
    with pytest.raises(BadRequest, match=f"holds .*{words}.* ask for it with binary_data"):
        data_of(tensor)
