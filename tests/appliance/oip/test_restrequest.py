import json
from typing import Any

import numpy as np
import pytest

from appliance.errors import ApplianceError, BadRequest, TooBig
from appliance.oip.datatypes import Datatype
from appliance.oip.jsontext import MAX_JSON_BYTES
from appliance.oip.messages import SharedSlice, WantedOutput
from appliance.oip.restrequest import RestRequest, decode_request

INPUT = {"name": "x", "shape": [2], "datatype": "FP32"}
TWO = np.array([1, 2], np.float32).tobytes()


def decode(said: Any, binary: bytes = b"", header: str | None = None) -> RestRequest:
    """Decode a JSON with what is behind it; the header is right unless given."""
    text = said if isinstance(said, bytes) else json.dumps(said).encode()
    if header is None and binary:
        header = str(len(text))
    return decode_request(text + binary, header, model="m", version="1")


def binary(size: int, **rest: Any) -> dict[str, Any]:
    """Describe an input whose elements are in the binary part."""
    return {**INPUT, **rest, "parameters": {"binary_data_size": size}}


def values(request: RestRequest, index: int = 0) -> Any:
    return request.request.inputs[index].values


def test_a_json_request_is_understood_whole() -> None:
    """Every word of the protocol has its place."""
    asked = decode(
        {
            "id": "7",
            "parameters": {"priority": 1, "timeout": 500, "binary_data_output": True, "mine": 2.5},
            "inputs": [{**INPUT, "data": [1, 2]}],
            "outputs": [
                {"name": "y", "parameters": {"classification": 3, "binary_data": False}},
                {"name": "z"},
            ],
        }
    )

    request = asked.request
    assert ("m", "1", "7", 1, 500) == (
        request.model, request.version, request.id, request.priority, request.timeout_us
    )  # fmt: skip
    assert {"mine": 2.5} == request.parameters
    assert (WantedOutput("y", 3), WantedOutput("z")) == request.outputs
    assert [1.0, 2.0] == values(asked).tolist()
    assert [False, True] == [asked.form.is_binary_of(name) for name in ("y", "z")]


def test_binary_tensors_lie_behind_the_json_in_its_order() -> None:
    """Only inputs with binary_data_size take bytes; others stand between them in JSON."""
    said = {
        "inputs": [
            binary(8),
            {**INPUT, "name": "j", "data": [5, 6]},
            binary(2, name="b", shape=[2], datatype="BOOL"),
            binary(6, name="s", shape=[1], datatype="BYTES"),
        ]
    }

    asked = decode(said, TWO + b"\1\0" + b"\2\0\0\0ab")

    assert [1.0, 2.0] == values(asked, 0).tolist()
    assert [5.0, 6.0] == values(asked, 1).tolist()
    assert [True, False] == values(asked, 2).tolist()
    assert (b"ab",) == values(asked, 3)


def test_binary_tensors_are_views_of_the_body() -> None:
    """A large tensor is not copied by being understood."""
    text = json.dumps({"inputs": [binary(8)]}).encode()
    body = text + TWO

    asked = decode_request(body, str(len(text)), model="m")

    assert np.shares_memory(np.frombuffer(body, np.uint8), values(asked))
    assert not values(asked).flags.writeable


def test_a_length_of_0_is_a_raw_request() -> None:
    """The whole body is the only input, and all outputs are wanted in binary."""
    asked = decode_request(b"\xff\xd8jpeg", "0", model="m")

    assert b"\xff\xd8jpeg" == asked.request.raw
    assert () == asked.request.inputs
    assert asked.form.is_binary_of("anything")


def test_tensors_may_be_said_to_stand_in_shared_memory() -> None:
    """Inputs and outputs name region, size and offset, which is 0 if left out."""
    shared = {"shared_memory_region": "r", "shared_memory_byte_size": 8}
    asked = decode(
        {
            "inputs": [{**INPUT, "parameters": shared}],
            "outputs": [{"name": "y", "parameters": {**shared, "shared_memory_offset": 4}}],
        }
    )

    assert SharedSlice("r", 0, 8) == values(asked)
    assert (WantedOutput("y", 0, SharedSlice("r", 4, 8)),) == asked.request.outputs


@pytest.mark.parametrize(
    ("header", "words"),
    [
        pytest.param("-1", "wanted the length", id="negative"),
        pytest.param("abc", "wanted the length", id="word"),
        pytest.param("1e3", "wanted the length", id="float"),
        pytest.param("\u0663", "wanted the length", id="digits of another script"),
        pytest.param("9" * 400, "wanted the length", id="enormous"),
        pytest.param("", "wanted the length", id="empty"),
        pytest.param("9999", "got 9999, the whole body has", id="beyond the body"),
        pytest.param("1", "not JSON", id="too short"),
    ],
)
def test_a_wrong_header_is_refused(header: str, words: str) -> None:
    """Before anything is read by it."""
    with pytest.raises(BadRequest, match=words):
        decode({"inputs": [binary(8)]}, TWO, header)


@pytest.mark.parametrize(
    ("said", "rest", "words"),
    [
        pytest.param({"inputs": [binary(8)]}, b"", "without the header", id="no header"),
        pytest.param({"inputs": [binary(12)]}, TWO, "is 12, 8 bytes are left", id="sum too large"),
        pytest.param({"inputs": [binary(8)]}, TWO + b"x", "1 bytes are left", id="sum too small"),
        pytest.param({"inputs": [binary(4)]}, TWO, "got 4 bytes, wanted 8", id="shape"),
        pytest.param({"inputs": [binary(-8)]}, TWO, "got -8", id="negative size"),
        pytest.param({"inputs": [binary(2**80)]}, TWO, "got an integer of over", id="huge size"),
        pytest.param({"inputs": [binary("8")]}, TWO, "got text", id="size as text"),  # type: ignore[arg-type]
        pytest.param({"inputs": [binary(True)]}, TWO, "got true or false", id="size as bool"),
        pytest.param({"inputs": [binary(8, shape=[-2])]}, TWO, "got -2", id="negative dim"),
        pytest.param({"inputs": [binary(8, shape=[2.0])]}, TWO, "got a number", id="float dim"),
        pytest.param({"inputs": [binary(8, shape=[2**62] * 3)]}, TWO, "too large", id="overflow"),
        pytest.param({"inputs": [binary(8, shape=[1] * 99)]}, TWO, "at most 16", id="rank"),
        pytest.param({"inputs": [binary(8, datatype="FP8")]}, TWO, "got datatype", id="datatype"),
        pytest.param({"inputs": [binary(8, datatype=[])]}, TWO, "got datatype", id="no datatype"),
        pytest.param({"inputs": [binary(8, data=[1, 2])]}, TWO, "wanted one of", id="both forms"),
        pytest.param({"inputs": [INPUT]}, b"", "no elements", id="no elements"),
        pytest.param({"inputs": [], "id": 7}, b"", "id: got an", id="id"),
        pytest.param({}, b"", "inputs: wanted a list", id="no inputs"),
        pytest.param({"inputs": [[]]}, b"", "inputs: wanted a list of objects", id="not objects"),
        pytest.param({"inputs": [INPUT] * 999}, b"", "at most 256", id="many inputs"),
        pytest.param([], b"", "wanted an object", id="a list"),
        pytest.param(b"\xff", b"", "not JSON", id="no UTF-8"),
        pytest.param(b"", b"", "not JSON", id="nothing"),
        pytest.param(b'{"inputs": NaN}', b"", "NaN is no JSON", id="NaN"),
        pytest.param(b'{"a": -Infinity}', b"", "-Infinity is no JSON", id="Infinity"),
        pytest.param(b'{"a":' + b"9" * 5000 + b"}", b"", "not JSON", id="5000 digits"),
        pytest.param({"id": "i" * 1025, "inputs": []}, b"", "over 1024 bytes", id="id length"),
        pytest.param({"id": "ü" * 600, "inputs": []}, b"", "over 1024 bytes", id="id bytes"),
        pytest.param({"id": "\ud800", "inputs": []}, b"", "half a surrogate", id="id unicode"),
        pytest.param({"parameters": [], "inputs": []}, b"", "parameters: got", id="parameters"),
        pytest.param({"parameters": {"a": []}, "inputs": []}, b"", "'a': got a list", id="list"),
        pytest.param({"parameters": {"a": None}, "inputs": []}, b"", "'a': got null", id="null"),
        pytest.param(
            b'{"parameters":{"a":1e999},"inputs":[]}', b"", "beyond float64", id="infinite"
        ),
        pytest.param({"parameters": {"a": 2**70}, "inputs": []}, b"", "wanted -92", id="int"),
        pytest.param(
            {"parameters": {"priority": -1}, "inputs": []}, b"", "priority: got -1", id="priority"
        ),
        pytest.param(
            {"parameters": {"timeout": 0.5}, "inputs": []}, b"", "timeout: got a", id="timeout"
        ),
        pytest.param(
            {"parameters": {"binary_data_output": 1}, "inputs": []}, b"", "got an integer",
            id="binary_data_output",
        ),
        pytest.param(
            {"inputs": [], "outputs": [{"name": "y", "parameters": {"classification": -1}}]}, b"",
            "classification: got -1", id="classification",
        ),
        pytest.param(
            {"inputs": [], "outputs": [{"name": 1}]}, b"", "output's name: got", id="output's name"
        ),
        pytest.param(
            {"inputs": [{**INPUT, "parameters": {"shared_memory_region": "r"}}]}, b"",
            "shared_memory_byte_size: got null", id="region without size",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(said: Any, rest: bytes, words: str) -> None:
    """One sentence, and never another exception."""
    with pytest.raises(BadRequest) as caught:
        decode(said, rest)
    assert words in str(caught.value)


def test_10000_levels_of_json_are_a_refusal() -> None:
    """The parser's own guard is met, not the stack's end."""
    with pytest.raises(BadRequest, match="nested too deeply"):
        decode(b'{"inputs":' + b"[" * 10_000 + b"]" * 10_000 + b"}")


def test_too_much_json_is_not_even_parsed() -> None:
    """Binary data has no such bound."""
    with pytest.raises(TooBig, match="send tensors as binary data"):
        decode(b" " * (MAX_JSON_BYTES + 1))


def test_every_refusal_is_the_clients_fault() -> None:
    """A status of 4xx."""
    with pytest.raises(ApplianceError, match="not JSON") as caught:
        decode(b"{")
    assert 400 == caught.value.status


def test_an_input_of_another_datatype_keeps_its_own() -> None:
    """What the model wants is decided later, where the model is."""
    asked = decode({"inputs": [{**INPUT, "datatype": "INT64", "data": [1, 2]}]})

    assert Datatype.INT64 is asked.request.inputs[0].datatype
