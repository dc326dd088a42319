"""Depth of a JSON text, before anything recurses over it."""

import pytest

from appliance.errors import BadRequest
from appliance.nesting import check_nesting


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"[" * 10_000, id="arrays that never end"),
        pytest.param(b'{"a":' * 10_000, id="objects that never end"),
        pytest.param(b"[[],[" + b"[" * 3 + b"]" * 3 + b"]]", id="one over"),
        pytest.param(rb'["\"]", [[[[]]]]]', id="an escaped quote ends no string"),
    ],
)
def test_what_nests_too_deep_is_refused(text: bytes) -> None:
    """Whether or not it is JSON."""
    with pytest.raises(BadRequest, match="nested deeper than 4"):
        check_nesting(text, 4)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"[[[[]]]]", id="the bound"),
        pytest.param(b"[" + b"[]," * 10_000 + b"[]]", id="wide"),
        pytest.param(b'{"a": "' + b"[" * 10_000 + b'"}', id="brackets in a string"),
        pytest.param(rb'["\\", "[[[[[[[["]', id="a backslash before the end of a string"),
        pytest.param(b'"' + b"[" * 100_000, id="a string without an end"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_what_does_not_passes(text: bytes) -> None:
    """Only depth counts."""
    check_nesting(text, 4)
