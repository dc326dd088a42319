"""Bodies that nobody would write: each is a request or a refusal of 4xx, and nothing else."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ApplianceError
from appliance.oip.inflate import inflated
from appliance.oip.restrequest import RestRequest, decode_request

KEYS = st.sampled_from([
    "id", "inputs", "outputs", "name", "shape", "datatype", "data", "parameters",
    "binary_data_size", "binary_data", "binary_data_output", "classification", "priority",
    "timeout", "shared_memory_region", "shared_memory_byte_size", "shared_memory_offset",
])  # fmt: skip
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 9), st.integers(), st.floats(), st.text(max_size=4),
    st.sampled_from(["x", "FP32", "BYTES", "BOOL", "INT8", "BF16"]),
)  # fmt: skip
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6)
)
INPUT = st.fixed_dictionaries(
    {
        "name": st.just("x"),
        "shape": st.lists(st.integers(-1, 4), max_size=4) | JSON,
        "datatype": st.sampled_from(["FP32", "BYTES", "BOOL", "INT64"]) | JSON,
    },
    optional={"data": JSON, "parameters": st.dictionaries(KEYS, st.integers(-1, 20) | JSON)},
)
REQUEST = st.fixed_dictionaries(
    {"inputs": st.lists(INPUT, max_size=3) | JSON},
    optional={"outputs": JSON, "parameters": JSON, "id": JSON},
)
HEADER = st.none() | st.integers(-2, 200).map(str) | st.text(max_size=5)


def outcome(body: bytes, header: str | None) -> Any:
    """Decode; refusals are outcomes, too."""
    try:
        return decode_request(body, header, model="m")
    except ApplianceError as exc:
        return exc.status


def is_orderly(outcome: Any) -> bool:
    return isinstance(outcome, RestRequest) or 400 <= outcome < 500


@given(st.binary(max_size=200), HEADER)
def test_any_bytes(body: bytes, header: str | None) -> None:
    """Nothing is assumed of a body."""
    assert is_orderly(outcome(body, header))


@given(JSON | REQUEST, st.binary(max_size=60), HEADER)
def test_any_json_with_anything_behind_it(said: Any, rest: bytes, header: str | None) -> None:
    """Nothing is assumed of what the header says, either."""
    assert is_orderly(outcome(json.dumps(said).encode() + rest, header))


@given(REQUEST, st.binary(max_size=60))
def test_any_request_with_the_right_header(said: Any, rest: bytes) -> None:
    """Right lengths lead deeper, to sizes, shapes and elements."""
    text = json.dumps(said).encode()

    assert is_orderly(outcome(text + rest, str(len(text))))


@given(st.binary(max_size=200), st.sampled_from(["gzip", "deflate", "", "br"]) | st.text())
def test_any_bytes_under_any_encoding(body: bytes, encoding: str) -> None:
    """Unpacked, or refused."""
    try:
        unpacked: Any = len(inflated(body, encoding, 1000)) <= 1000
    except ApplianceError as exc:
        unpacked = 400 <= exc.status < 500

    assert unpacked
