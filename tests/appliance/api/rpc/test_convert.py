"""Requests and answers of an inference against what the official client writes and reads."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tritonclient.grpc import InferInput, InferResult, service_pb2

from appliance.api.rpc.convert import request_of, response_of
from appliance.api.rpc.descriptors import INFERENCE
from appliance.errors import BadRequest
from appliance.oip.datatypes import Datatype
from appliance.oip.messages import InferAnswer, SharedSlice, Tensor

_NUMBERS = [d for d in Datatype if d not in (Datatype.BYTES, Datatype.BF16)]


def arrays(datatypes: list[Datatype]) -> st.SearchStrategy[tuple[Datatype, np.ndarray]]:
    shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
    return st.sampled_from(datatypes).flatmap(
        lambda datatype: st.tuples(
            st.just(datatype), hnp.arrays(datatype.tensor_type.storage, shapes)
        )
    )


def message(**fields: Any) -> Any:
    return INFERENCE["ModelInferRequest"](model_name="m", **fields)


def typed(datatype: str, shape: list[int], **contents: Any) -> Any:
    return message(
        inputs=[{"name": "in", "datatype": datatype, "shape": shape, "contents": contents}]
    )


def raw(datatype: str, shape: list[int], *entries: bytes) -> Any:
    return message(
        inputs=[{"name": "in", "datatype": datatype, "shape": shape}], raw_input_contents=entries
    )


def with_parameter(name: str, **value: Any) -> Any:
    sent = message()
    for field, what in value.items():
        setattr(sent.parameters[name], field, what)
    return sent


@given(arrays(_NUMBERS))
def test_what_the_official_client_packs_is_read(sent: tuple[Datatype, np.ndarray]) -> None:
    """Every number type and shape, empty ones, too, bit for bit."""
    datatype, array = sent
    put = InferInput("in", list(array.shape), datatype.value)
    put.set_data_from_numpy(array)
    official = service_pb2.ModelInferRequest(
        model_name="m", inputs=[put._get_tensor()], raw_input_contents=[put._get_content()]
    )

    (read,) = request_of(
        INFERENCE["ModelInferRequest"].FromString(official.SerializeToString())
    ).inputs

    assert (datatype, array.shape) == (read.datatype, read.shape)
    assert array.tobytes() == read.values.tobytes()


@given(arrays(_NUMBERS))
def test_what_we_write_the_official_client_unpacks(sent: tuple[Datatype, np.ndarray]) -> None:
    """Answers carry raw contents, the only ones that it reads."""
    datatype, array = sent
    answer = InferAnswer("m", "1", (Tensor("out", datatype, array.shape, array),), id="7")
    official = service_pb2.ModelInferResponse.FromString(response_of(answer).SerializeToString())

    result = InferResult(official)

    assert array.tobytes() == result.as_numpy("out").tobytes()
    assert (array.shape, "7") == (result.as_numpy("out").shape, result.get_response().id)


@given(st.lists(st.binary(max_size=9), max_size=5))
def test_strings_come_and_go_as_they_are(elements: list[bytes]) -> None:
    """BYTES both ways, of any length, empty ones, too."""
    put = InferInput("in", [len(elements)], "BYTES")
    put.set_data_from_numpy(np.array(elements, dtype=np.object_))
    (read,) = request_of(
        message(
            inputs=[{"name": "in", "datatype": "BYTES", "shape": [len(elements)]}],
            raw_input_contents=[put._get_content()],
        )
    ).inputs
    official = service_pb2.ModelInferResponse.FromString(
        response_of(InferAnswer("m", "1", (read,))).SerializeToString()
    )

    assert tuple(elements) == read.values
    assert elements == list(InferResult(official).as_numpy("in"))


@pytest.mark.parametrize(
    ("datatype", "field", "values"),
    [
        pytest.param("BOOL", "bool_contents", [True, False], id="BOOL"),
        pytest.param("INT8", "int_contents", [-128, 127], id="INT8"),
        pytest.param("INT16", "int_contents", [-32768, 32767], id="INT16"),
        pytest.param("INT32", "int_contents", [-(2**31), 2**31 - 1], id="INT32"),
        pytest.param("INT64", "int64_contents", [-(2**63), 2**63 - 1], id="INT64"),
        pytest.param("UINT8", "uint_contents", [0, 255], id="UINT8"),
        pytest.param("UINT16", "uint_contents", [0, 65535], id="UINT16"),
        pytest.param("UINT32", "uint_contents", [0, 2**32 - 1], id="UINT32"),
        pytest.param("UINT64", "uint64_contents", [0, 2**64 - 1], id="UINT64"),
        pytest.param("FP32", "fp32_contents", [-0.5, float("inf")], id="FP32"),
        pytest.param("FP64", "fp64_contents", [1e-300, 1.0], id="FP64"),
    ],
)
def test_typed_contents_are_read(datatype: str, field: str, values: list[Any]) -> None:
    """Each datatype from the field of its kind, up to both ends of its range."""
    (read,) = request_of(typed(datatype, [1, 2], **{field: values})).inputs

    assert isinstance(read.values, np.ndarray)
    assert [values] == read.values.tolist()
    assert Datatype(datatype).tensor_type.storage == read.values.dtype


def test_typed_strings_are_read() -> None:
    """The way to send a picture without counting its bytes."""
    (read,) = request_of(typed("BYTES", [2], bytes_contents=[b"a", b""])).inputs

    assert (b"a", b"") == read.values


def test_raw_inputs_are_viewed() -> None:
    """A picture of 600 KB is not copied once more to be looked at."""
    (read,) = request_of(raw("UINT8", [4], b"abcd")).inputs

    assert isinstance(read.values, np.ndarray)
    assert not read.values.flags.owndata


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        pytest.param(raw("FP32", [2], b"1234"), "got 4 bytes, wanted 8", id="too few bytes"),
        pytest.param(raw("FP32", [1], b"12345"), "got 5 bytes, wanted 4", id="too many bytes"),
        pytest.param(raw("FP32", [-1], b"1234"), "below 0", id="negative"),
        pytest.param(raw("FP32", [-1, -1], b"1234"), "below 0", id="negative twice"),
        pytest.param(raw("FP32", [2**62, 2**62], b""), "too large", id="overflow"),
        pytest.param(raw("FP32", [0, 2**62], b""), "too large", id="empty and huge"),
        pytest.param(raw("FP32", [1] * 17, b"1234"), "17 dimensions", id="rank"),
        pytest.param(raw("FP33", [1], b"1234"), "'FP33', wanted one of BOOL", id="datatype"),
        pytest.param(raw("BOOL", [2], b"\0\2"), "neither 0 nor 1", id="BOOL"),
        pytest.param(raw("BYTES", [1], b"\5\0\0\0ab"), "5 bytes, 2 are left", id="string ends"),
        pytest.param(raw("BYTES", [1], b"\0\0\0\0ab"), "got 6 bytes, wanted 4", id="rest"),
        pytest.param(raw("BYTES", [2**40], b""), "strings|too large", id="strings"),
        pytest.param(raw("FP32", [1], b"1234", b"1234"), "got 2, wanted 1", id="entries"),
        pytest.param(typed("FP32", [2], fp32_contents=[1]), "got 1 elements", id="few elements"),
        pytest.param(typed("INT8", [1], int_contents=[128]), "-128 to 127", id="INT8 range"),
        pytest.param(typed("INT16", [1], int_contents=[-32769]), "to 32767", id="INT16 range"),
        pytest.param(typed("UINT8", [1], uint_contents=[256]), "0 to 255", id="UINT8 range"),
        pytest.param(typed("UINT16", [1], uint_contents=[65536]), "0 to 65535", id="UINT16"),
        pytest.param(typed("INT8", [1], int64_contents=[1]), "wanted int_contents", id="field"),
        pytest.param(
            typed("FP32", [1], fp32_contents=[1], int_contents=[1]), "got int_contents", id="two"
        ),
        pytest.param(typed("FP16", [1]), "FP16 has no typed contents", id="FP16"),
        pytest.param(typed("BF16", [1]), "BF16 has no typed contents", id="BF16"),
        pytest.param(typed("BYTES", [5000], bytes_contents=[b""] * 5000), "at most", id="many"),
        pytest.param(
            message(
                inputs=[{"name": "in", "datatype": "UINT8", "shape": [1], "contents": {}}],
                raw_input_contents=[b"1"],
            ),
            "typed contents beside raw_input_contents",
            id="mixed",
        ),
        pytest.param(with_parameter("priority", int64_param=-1), "priority: got -1", id="priority"),
        pytest.param(with_parameter("timeout", string_param="1"), "timeout: got 1", id="timeout"),
        pytest.param(with_parameter("timeout", bool_param=True), "timeout: got True", id="bool"),
        pytest.param(with_parameter("timeout", double_param=1.5), "timeout: got 1.5", id="part"),
        pytest.param(
            with_parameter("priority", uint64_param=2**63), "priority: got 9223", id="too high"
        ),
        pytest.param(message(parameters={"x": {}}), "parameter x: got no value", id="no value"),
        pytest.param(
            message(outputs=[{"parameters": {"classification": {"int64_param": -3}}}]),
            "classification: got -3",
            id="classes",
        ),
        pytest.param(
            message(outputs=[{"parameters": {"shared_memory_region": {"int64_param": 3}}}]),
            "shared_memory_region: got 3, wanted a name",
            id="region",
        ),
    ],
)
def test_what_is_wrong_is_named(sent: Any, reason: str) -> None:
    """Sizes, shapes, ranges and fields are checked before anything is computed."""
    with pytest.raises(BadRequest, match=reason):
        request_of(sent)


def test_reserved_parameters_are_read() -> None:
    """Priority and timeout as the client types them, and what is not reserved as it is."""
    sent = message(id="9", model_version="2")
    sent.parameters["priority"].uint64_param = 1
    sent.parameters["timeout"].int64_param = 500
    sent.parameters["note"].string_param = "x"

    read = request_of(sent)

    assert ("m", "2", "9", 1, 500) == (
        read.model, read.version, read.id, read.priority, read.timeout_us,
    )  # fmt: skip
    assert "x" == read.parameters["note"]


def test_an_input_in_shared_memory_has_no_raw_entry() -> None:
    """The others' entries keep their order."""
    sent = message(
        inputs=[
            {"name": "a", "datatype": "UINT8", "shape": [1]},
            {"name": "b", "datatype": "UINT8", "shape": [4]},
            {"name": "c", "datatype": "UINT8", "shape": [1]},
        ],
        raw_input_contents=[b"\1", b"\3"],
    )
    for name, value in (("byte_size", 4), ("offset", 8)):
        sent.inputs[1].parameters[f"shared_memory_{name}"].int64_param = value
    sent.inputs[1].parameters["shared_memory_region"].string_param = "r"

    a, b, c = request_of(sent).inputs

    assert SharedSlice("r", 8, 4) == b.values
    assert [b"\1", b"\3"] == [bytes(a.values), bytes(c.values)]


def test_an_output_in_shared_memory_says_where() -> None:
    """Its bytes are not in the answer."""
    written = Tensor("out", Datatype.UINT8, (4,), SharedSlice("r", 8, 4))

    response = response_of(InferAnswer("m", "1", (written,)))

    parameters = response.outputs[0].parameters
    assert ("r", 8, 4) == (
        parameters["shared_memory_region"].string_param,
        parameters["shared_memory_offset"].int64_param,
        parameters["shared_memory_byte_size"].int64_param,
    )
    assert [] == list(response.raw_output_contents)


@pytest.mark.parametrize(
    ("value", "field"),
    [
        pytest.param(True, "bool_param", id="bool"),
        pytest.param(-3, "int64_param", id="int"),
        pytest.param(2**63, "uint64_param", id="large int"),
        pytest.param("x", "string_param", id="string"),
        pytest.param(0.5, "double_param", id="float"),
    ],
)
def test_parameters_of_an_answer_keep_their_type(value: Any, field: str) -> None:
    """A bool is not sent as the number it is to Python."""
    response = response_of(InferAnswer("m", "1", (), parameters={"p": value}))

    assert (field, value) == (
        response.parameters["p"].WhichOneof("parameter_choice"),
        getattr(response.parameters["p"], field),
    )


@given(st.binary(max_size=64), st.lists(st.integers(-2, 9), max_size=4), st.sampled_from(Datatype))
def test_any_bytes_are_a_tensor_or_refused(
    content: bytes, shape: list[int], datatype: Datatype
) -> None:
    """Nothing but BadRequest comes out, and what is read has the size it says."""
    sent = raw(datatype.value, shape, content)

    assert outcome(lambda: request_of(sent)) in ("read", "refused")


def outcome(read: Callable[[], object]) -> str:
    try:
        read()
    except BadRequest:
        return "refused"
    return "read"
