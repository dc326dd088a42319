import json

import numpy as np
import pytest

from appliance.oip.datatypes import Datatype
from appliance.oip.messages import InferAnswer, SharedSlice, Tensor
from appliance.oip.restrequest import Form, decode_request
from appliance.oip.restresponse import encode_answer

Y = Tensor("y", Datatype.FP32, (1, 2), np.array([[0.5, -2]], np.float32))
S = Tensor("s", Datatype.BYTES, (2,), (b"a:1:\xc3\xbc", b""))
SHARED = Tensor("z", Datatype.FP32, (2,), SharedSlice("r", 4, 8))


def answer(*outputs: Tensor, id: str = "7") -> InferAnswer:
    return InferAnswer("m", "1", outputs, id)


def test_an_answer_in_json_has_no_header() -> None:
    """Flat data, the id echoed, one part."""
    encoded = encode_answer(answer(Y, S), Form())

    assert encoded.json_length is None
    (text,) = encoded.parts
    assert {
        "model_name": "m", "model_version": "1", "id": "7",
        "outputs": [
            {"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [0.5, -2.0]},
            {"name": "s", "datatype": "BYTES", "shape": [2], "data": ["a:1:ü", ""]},
        ],
    } == json.loads(bytes(text))  # fmt: skip


def test_a_binary_answer_is_in_parts_and_not_copied() -> None:
    """JSON with the sizes, then the tensors themselves in its order."""
    encoded = encode_answer(answer(S, Y, id=""), Form(is_binary=True))

    text, strings, array = encoded.parts
    assert len(text) == encoded.json_length
    said = json.loads(bytes(text))
    assert "id" not in said
    assert [14, 8] == [each["parameters"]["binary_data_size"] for each in said["outputs"]]
    assert b"\x06\0\0\0a:1:\xc3\xbc\0\0\0\0" == bytes(strings)
    assert np.shares_memory(np.frombuffer(array, np.uint8), Y.values)  # type: ignore[arg-type]
    assert encoded.size_bytes == len(text) + len(strings) + len(array)


def test_each_output_may_differ_from_the_rest() -> None:
    """The request's own wish holds where an output has none."""
    encoded = encode_answer(answer(Y, S), Form(is_binary=True, outputs={"s": False}))

    said = json.loads(bytes(encoded.parts[0]))
    assert ["parameters", "data"] == [list(each)[-1] for each in said["outputs"]]
    assert 2 == len(encoded.parts)


def test_what_stands_in_shared_memory_is_only_named() -> None:
    """Region, size and offset; no data and no header."""
    encoded = encode_answer(answer(SHARED), Form(is_binary=True))

    (output,) = json.loads(bytes(encoded.parts[0]))["outputs"]
    assert {
        "shared_memory_region": "r", "shared_memory_byte_size": 8, "shared_memory_offset": 4
    } == output["parameters"]  # fmt: skip
    assert encoded.json_length is None


@pytest.mark.parametrize("is_binary", [True, False], ids=["binary", "json"])
def test_an_answer_can_be_sent_back_as_a_request(is_binary: bool) -> None:
    """Inputs and outputs are written alike, so what we write we can read."""
    encoded = encode_answer(answer(Y, S), Form(is_binary))
    text = bytes(encoded.parts[0]).replace(b'"outputs"', b'"inputs"')
    header = str(len(text)) if is_binary else None

    asked = decode_request(b"".join([text, *encoded.parts[1:]]), header, model="m")

    y, s = asked.request.inputs
    assert [[0.5, -2.0]] == y.values.tolist()  # type: ignore[union-attr]
    assert S.values == s.values
