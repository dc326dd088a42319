"""Recognising a model by its bytes, and refusing those that reach for files."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasi_nn.backend import Encoding
from wasi_nn.errors import InvalidEncoding, NNError, RuntimeFailure, UnsupportedOperation
from wasi_nn.formats import check_onnx, check_openvino_xml, detect_encoding

DATA = Path(__file__).parent / "backends" / "data"
SCALE = (DATA / "scale.onnx").read_bytes()
EXTERNAL = (DATA / "external_subgraph.onnx").read_bytes()


@pytest.mark.parametrize(
    ("files", "encoding"),
    [
        pytest.param(["scale.onnx"], Encoding.ONNX, id="onnx"),
        pytest.param(["types.onnx"], Encoding.ONNX, id="onnx-types"),
        pytest.param(["external_function.onnx"], Encoding.ONNX, id="onnx-functions"),
        pytest.param(["scale.tflite"], Encoding.TENSORFLOWLITE, id="tflite"),
        pytest.param(["scale.xml", "scale.bin"], Encoding.OPENVINO, id="openvino"),
        pytest.param(["two.xml", "two.bin"], Encoding.OPENVINO, id="openvino-no-weights"),
    ],
)
def test_detects(files: list[str], encoding: Encoding) -> None:
    """A model of each format is recognised by its content."""
    assert encoding == detect_encoding([(DATA / name).read_bytes() for name in files])


def test_detects_gguf() -> None:
    """A language model is recognised, so that the refusal can say what it is."""
    assert Encoding.GGML == detect_encoding([b"GGUF\x03\0\0\0"])


@pytest.mark.parametrize(
    ("parts", "seen"),
    [
        pytest.param([], "no model bytes", id="none"),
        pytest.param([b""], "1 part starting with nothing", id="empty"),
        pytest.param([b"\x80\x02ctorch"], "80 02 63 74", id="pickle"),
        pytest.param([b"PK\x03\x04" + bytes(40)], "50 4b 03 04", id="zip"),
        pytest.param([b"<?xml version='1.0'?><net/>"], "1 part starting with 3c", id="xml-alone"),
        pytest.param([SCALE, SCALE], "2 parts starting with 08", id="two-onnx"),
        pytest.param([SCALE[:-20]], "1 part starting with 08", id="cut-off"),
        pytest.param([b"\x08\x08"], "1 part starting with 08 08", id="no-graph"),
    ],
)
def test_does_not_guess(parts: list[bytes], seen: str) -> None:
    """What is not recognised is refused with what was seen."""
    with pytest.raises(InvalidEncoding, match=seen):
        detect_encoding(parts)


def test_accepts_memoryviews() -> None:
    """A guest's memory is looked at where it is."""
    assert Encoding.ONNX == detect_encoding([memoryview(bytearray(SCALE))])


@pytest.mark.parametrize("place", ["initializer", "attribute", "subgraph", "function", "sparse"])
def test_external_data(place: str) -> None:
    """A tensor kept in a file is found wherever it hides."""
    with pytest.raises(UnsupportedOperation, match="weights in another file"):
        check_onnx((DATA / f"external_{place}.onnx").read_bytes())


def field(number: int, content: bytes) -> bytes:
    """Encode one protobuf field of bytes."""
    size, tag = len(content), number << 3 | 2
    head = [tag] if tag < 0x80 else [tag & 0x7F | 0x80, tag >> 7]
    return bytes([*head, size & 0x7F | 0x80, size >> 7]) + content


@pytest.mark.parametrize(
    "tensor",
    [
        pytest.param(b"\x70\x01", id="location-only"),
        pytest.param(b"\x70\x81\x80\x80\x80\x10", id="location-beyond-32-bits"),
        pytest.param(b"\xf0\x00\x01", id="overlong-tag"),
        pytest.param(field(13, b""), id="external-data-only"),
        pytest.param(b"\x70\x01\x70\x00", id="location-taken-back"),
    ],
)
def test_ways_to_say_external(tensor: bytes) -> None:
    """Every way in which a parser could read a location is refused."""
    with pytest.raises(UnsupportedOperation, match="weights in another file"):
        check_onnx(b"\x08\x08" + field(7, field(5, tensor)))


def test_training_graph_is_looked_at() -> None:
    """A graph that is there for training is looked at too."""
    with pytest.raises(UnsupportedOperation, match="weights in another file"):
        check_onnx(field(20, field(1, field(5, b"\x70\x01"))))


def test_compiled_blob() -> None:
    """A node that may name a compiled file is refused."""
    with pytest.raises(UnsupportedOperation, match="EPContext"):
        check_onnx(field(7, field(1, field(4, b"EPContext"))))


def test_deep_nesting() -> None:
    """How deep a model nests does not matter: nothing recurses."""
    graph = field(5, b"\x70\x01")
    for _ in range(400):
        graph = field(1, field(5, field(6, graph)))

    with pytest.raises(UnsupportedOperation, match="weights in another file"):
        check_onnx(field(7, graph))


@pytest.mark.parametrize("end", range(10, len(EXTERNAL), 31))
def test_truncated(end: int) -> None:
    """A model that is cut off never passes for a shorter one with a clean end inside a field."""
    with pytest.raises((RuntimeFailure, UnsupportedOperation), match="onnx model"):
        check_onnx(EXTERNAL[:end])


@given(st.binary(max_size=200), st.integers(0, len(SCALE)))
def test_any_bytes(noise: bytes, at: int) -> None:
    """Whatever the bytes are, the look ends, and with our own error if with any."""
    for content in (noise, SCALE[:at] + noise + SCALE[at:], SCALE[:at] + noise):
        with contextlib.suppress(NNError):
            check_onnx(content)


def test_openvino_xml() -> None:
    """An IR passes, with a byte order mark or without."""
    xml = (DATA / "scale.xml").read_bytes()
    check_openvino_xml(xml)
    check_openvino_xml(b"\xef\xbb\xbf" + xml)


def test_openvino_document_type() -> None:
    """An IR with a document type of its own is refused."""
    with pytest.raises(RuntimeFailure, match="document type"):
        check_openvino_xml(b"<?xml version='1.0'?><!DOCTYPE net [<!ENTITY a 'b'>]><net/>")
