"""Looking through a TensorFlow Lite model before a runtime does."""

import contextlib
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasi_nn.backends.tflite_check import check_tflite
from wasi_nn.errors import InvalidEncoding, NNError, RuntimeFailure

DATA = Path(__file__).parent / "data"
SCALE = (DATA / "scale.tflite").read_bytes()
INT8 = (DATA / "int8.tflite").read_bytes()


@pytest.mark.parametrize(
    "file", ["scale", "two", "int8", "uint8", "fixed_batch", "strings"], ids=lambda f: f
)
def test_good_models(file: str) -> None:
    """A model that a converter could have written passes."""
    check_tflite((DATA / f"{file}.tflite").read_bytes())


def test_other_format() -> None:
    """Bytes without the identifier are of another encoding."""
    with pytest.raises(InvalidEncoding, match="wanted TFL3 at byte 4"):
        check_tflite(b"\x1c\0\0\0TFL2" + bytes(40))


@pytest.mark.parametrize("root", [0xFFFF_FFFF, 0x7FFF_FFFF, len(SCALE), len(SCALE) - 1, 0], ids=hex)
def test_root_outside(root: int) -> None:
    """A model whose first offset leads nowhere is damaged."""
    with pytest.raises(RuntimeFailure, match="damaged"):
        check_tflite(struct.pack("<I", root) + SCALE[4:])


@pytest.mark.parametrize("file", ["scale", "int8"])
def test_every_word_overwritten(file: str) -> None:
    """Whatever one 32-bit word is replaced by, the look ends with our own error or none."""
    model = (DATA / f"{file}.tflite").read_bytes()
    for at in range(0, len(model) - 4, 4):
        for word in (0, 1, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF):
            look(model[:at] + struct.pack("<I", word) + model[at + 4 :])


@given(st.binary(max_size=200), st.integers(8, len(INT8)))
def test_any_bytes(noise: bytes, at: int) -> None:
    """Whatever the bytes are, the look ends with our own error or none."""
    look(INT8[:at] + noise + INT8[at:])
    look(INT8[:at] + noise)
    look(INT8[:8] + noise)


def look(model: bytes) -> None:
    """Check a model that may be bad."""
    with contextlib.suppress(NNError):
        check_tflite(model)
