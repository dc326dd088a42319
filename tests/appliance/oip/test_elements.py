import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from appliance.errors import BadRequest
from appliance.oip.datatypes import Datatype
from appliance.oip.elements import MAX_STRINGS, count_of, raw_of, tensor_of
from appliance.oip.messages import Tensor

NUMBERS = [each for each in Datatype if each is not Datatype.BYTES]


def test_strings_have_their_length_before_them() -> None:
    """Four bytes, little-endian, then the bytes; the empty one is just its length."""
    tensor = Tensor("t", Datatype.BYTES, (2,), (b"ab", b""))

    assert b"\x02\0\0\0ab\0\0\0\0" == raw_of(tensor)


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_strings_come_back(strings: list[bytes]) -> None:
    """What is written is read."""
    raw = raw_of(Tensor("t", Datatype.BYTES, (len(strings),), tuple(strings)))

    assert tuple(strings) == tensor_of("t", Datatype.BYTES, [len(strings)], raw).values


@given(st.data(), st.sampled_from(NUMBERS))
def test_arrays_come_back(data: st.DataObject, datatype: Datatype) -> None:
    """Every datatype and shape, bit by bit, without a copy on the way in."""
    storage = datatype.tensor_type.storage
    array = data.draw(hnp.arrays(storage, hnp.array_shapes(min_dims=0, max_side=3)))
    raw = raw_of(Tensor("t", datatype, array.shape, np.array(array, order="C")))

    tensor = tensor_of("t", datatype, array.shape, raw)

    assert array.tobytes() == tensor.values.tobytes()  # type: ignore[union-attr]
    assert np.shares_memory(np.frombuffer(raw, np.uint8), tensor.values)  # type: ignore[arg-type]


def test_a_tensor_may_lie_at_any_address() -> None:
    """Behind a JSON of odd length, elements are not aligned; they are viewed all the same."""
    body = memoryview(b"x" + np.arange(3, dtype=np.float32).tobytes())

    values = tensor_of("t", Datatype.FP32, [3], body[1:]).values

    assert [0.0, 1.0, 2.0] == values.tolist()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("datatype", "shape", "raw", "words"),
    [
        pytest.param("FP32", [2], b"1234", "got 4 bytes, wanted 8 for FP32 [2]", id="too few"),
        pytest.param("FP32", [1], b"12345678", "got 8 bytes, wanted 4", id="too many"),
        pytest.param("FP32", [-1], b"", "no dimension below 0", id="negative"),
        pytest.param("FP32", [2**62, 4], b"", "too large", id="product overflows"),
        pytest.param("FP32", [0, 2**62], b"", "too large", id="overflow behind a zero"),
        pytest.param("UINT8", [1] * 17, b"1", "17 dimensions", id="rank"),
        pytest.param("BOOL", [2], b"\0\2", "neither 0 nor 1", id="BOOL of 2"),
        pytest.param("BYTES", [1], b"\1\0", "end within string 0", id="half a length"),
        pytest.param("BYTES", [2], b"\0\0\0\0", "end within string 1", id="one missing"),
        pytest.param("BYTES", [1], struct.pack("<I", 2**32 - 1), "says 4294967295", id="length"),
        pytest.param("BYTES", [1], b"\0\0\0\0x", "got 5 bytes, wanted 4", id="behind the last"),
        pytest.param("BYTES", [MAX_STRINGS + 1], b"", "at most 4096", id="too many strings"),
    ],
)
def test_sizes_that_disagree_are_refused(
    datatype: str, shape: list[int], raw: bytes, words: str
) -> None:
    """Nothing is guessed and nothing is read beyond what was sent."""
    with pytest.raises(BadRequest) as caught:
        tensor_of("t", Datatype(datatype), shape, raw)
    assert words in str(caught.value)


@given(
    st.sampled_from(list(Datatype)),
    st.lists(st.integers(-2, 2**64), max_size=20),
    st.binary(max_size=64),
)
def test_whatever_is_claimed_is_a_tensor_or_a_refusal(
    datatype: Datatype, shape: list[int], raw: bytes
) -> None:
    """No claim of a shape raises anything else, or allocates by it."""
    try:
        outcome: Any = tensor_of("t", datatype, shape, raw)
    except BadRequest as exc:
        outcome = exc

    assert isinstance(outcome, Tensor | BadRequest)


def test_an_empty_dimension_is_counted() -> None:
    """Nothing is a tensor, too."""
    assert 0 == count_of("t", Datatype.FP32, (0, 5))
    assert (0, 5) == tensor_of("t", Datatype.FP32, [0, 5], b"").shape
