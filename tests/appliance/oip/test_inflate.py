import gzip
import zlib

import pytest

from appliance.errors import BadRequest, TooBig
from appliance.oip.inflate import inflated


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        pytest.param("gzip", gzip.compress(b"abc"), id="gzip"),
        pytest.param(" GZIP ", gzip.compress(b"abc"), id="any case"),
        pytest.param("deflate", zlib.compress(b"abc"), id="deflate"),
        pytest.param("identity", b"abc", id="identity"),
        pytest.param("", b"abc", id="none"),
    ],
)
def test_encodings_are_undone(encoding: str, body: bytes) -> None:
    """Those that HTTP clients of the protocol send."""
    assert b"abc" == inflated(body, encoding, 3)


def test_a_bomb_is_refused_at_the_bound() -> None:
    """1000 times its size is not unpacked to be measured."""
    bomb = gzip.compress(bytes(10_000_000))

    with pytest.raises(TooBig, match="over 1000 bytes once unpacked"):
        inflated(bomb, "gzip", 1000)


@pytest.mark.parametrize(
    ("encoding", "body", "words"),
    [
        pytest.param("br", b"abc", "wanted gzip, deflate or identity", id="another"),
        pytest.param("gzip", b"abc", "not gzip", id="not packed"),
        pytest.param("gzip", gzip.compress(b"abc")[:-4], "ends early", id="cut"),
        pytest.param("gzip", gzip.compress(b"abc") + b"x", "something follows", id="more"),
        pytest.param("gzip, gzip", b"abc", "wanted gzip", id="twice"),
    ],
)
def test_what_is_damaged_is_refused(encoding: str, body: bytes, words: str) -> None:
    """Whole or not at all."""
    with pytest.raises(BadRequest, match=words):
        inflated(body, encoding, 1000)
