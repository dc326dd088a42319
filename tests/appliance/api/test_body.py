"""Bodies: read under a bound, and JSON looked at before anything recurses over it."""

import asyncio

import pytest
from fastapi import Request
from pydantic import BaseModel
from starlette.types import Message

from appliance.api.body import MAX_JSON_BYTES, read_json
from appliance.errors import BadRequest, TooBig


class Wanted(BaseModel):
    version: str


def read(body: bytes) -> Wanted:
    """Read a body as a route does."""

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    request = Request({"type": "http", "method": "POST", "headers": []}, receive)
    return asyncio.run(read_json(request, Wanted))


def test_json_becomes_its_shape() -> None:
    """The usual case."""
    assert Wanted(version="abc") == read(b'{"version": "abc"}')


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        pytest.param(b"[" * 10_000 + b"]" * 10_000, "nested deeper than 32", id="deep arrays"),
        pytest.param(b'{"a":' * 10_000, "nested deeper than 32", id="deep objects"),
        pytest.param(b"{", "body: invalid json", id="no JSON"),
        pytest.param(b'{"version": 5}', r"body\.version: input should be", id="type"),
        pytest.param(b"{}", r"body\.version: field required", id="missing"),
        pytest.param(b"\xff", "body: invalid json", id="no UTF-8"),
        pytest.param(b"", "body: empty, wanted a JSON object", id="nothing"),
    ],
)
def test_other_json_is_a_400(body: bytes, sentence: str) -> None:
    """With where it is wrong."""
    with pytest.raises(BadRequest, match=sentence):
        read(body)


def test_long_json_is_a_413() -> None:
    """Names and numbers are short."""
    with pytest.raises(TooBig, match="wanted at most 65536"):
        read(b'"' + b"a" * MAX_JSON_BYTES + b'"')
