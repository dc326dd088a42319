"""The OpenVINO backend, beyond what every backend promises."""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from wasi_nn.backend import Encoding, Graph, GraphOptions
from wasi_nn.backends.openvino import OpenvinoBackend
from wasi_nn.errors import (
    InvalidArgument,
    InvalidEncoding,
    RuntimeFailure,
    UnsupportedOperation,
)

Read = Callable[[str], bytes]


def load(*parts: bytes, encoding: Encoding = Encoding.OPENVINO) -> Graph:
    """Load with one thread."""
    return OpenvinoBackend().load(parts, encoding, GraphOptions(num_threads=1))


def test_shapes_that_do_not_fit_inside(read: Read) -> None:
    """Dimensions that only clash inside the model are refused: OpenVINO reads past the end."""
    graph = load(read("broadcast.xml"), read("broadcast.bin"))

    with pytest.raises(InvalidArgument, match=r"cannot take shapes \(\(2,\),\)"):
        graph.run([np.ones(2, np.float32)])
    np.testing.assert_array_equal(np.full(4, 2), graph.run([np.ones(4, np.float32)])[0])


@pytest.mark.parametrize("offset", ["1600", "18446744073709551608", "-1"])
def test_constant_outside_of_the_bin(read: Read, offset: str) -> None:
    """A constant that points outside the .bin is refused."""
    xml = read("scale.xml").replace(b'offset="16"', f'offset="{offset}"'.encode())

    with pytest.raises(RuntimeFailure, match="openvino refused it"):
        load(xml, read("scale.bin"))


def test_short_bin(read: Read) -> None:
    """A .bin that is cut off is refused."""
    with pytest.raises(RuntimeFailure, match="openvino refused it"):
        load(read("scale.xml"), read("scale.bin")[:20])


@pytest.mark.parametrize("entity", ['"aaaa"', 'SYSTEM "file:///etc/passwd"'], ids=["bomb", "file"])
def test_entities(read: Read, entity: str) -> None:
    """An IR with entities of its own is refused before OpenVINO reads it."""
    head, _, rest = read("scale.xml").partition(b"\n")
    xml = head + f"\n<!DOCTYPE net [<!ENTITY a {entity}>]>\n".encode() + rest

    with pytest.raises(RuntimeFailure, match="document type"):
        load(xml, read("scale.bin"))


def test_path_instead_of_a_model(read: Read) -> None:
    """A builder that is a path is no model, even if there is a file."""
    with pytest.raises(InvalidEncoding, match=r"wanted the \.xml first"):
        load(b"/etc/hostname", b"")


def test_swapped_parts(read: Read) -> None:
    """Parts in the wrong order are told so."""
    with pytest.raises(InvalidEncoding, match=r"wanted the \.xml first and the \.bin second"):
        load(read("scale.bin"), read("scale.xml"))


def test_external_data(read: Read) -> None:
    """An ONNX model with weights in another file is refused, which OpenVINO would open."""
    with pytest.raises(UnsupportedOperation, match="weights in another file"):
        load(read("external_initializer.onnx"), encoding=Encoding.ONNX)


def test_temporary_file_is_removed(
    read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A .tflite, which OpenVINO reads from a file only, leaves none behind, good or bad."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    load(read("scale.tflite"), encoding=Encoding.TENSORFLOWLITE)
    with pytest.raises(UnsupportedOperation, match="words"):
        load(read("strings.tflite"), encoding=Encoding.TENSORFLOWLITE)

    assert [] == list(tmp_path.iterdir())


def test_every_element_type(read: Read) -> None:
    """Every type that WASI-NN and numpy share goes through unchanged."""
    graph = load(read("types.onnx"), encoding=Encoding.ONNX)
    inputs = [np.arange(4).reshape(2, 2).astype(spec.type.storage) for spec in graph.inputs]

    for wanted, got in zip(inputs, graph.run(inputs), strict=True):
        assert wanted.dtype == got.dtype
        np.testing.assert_array_equal(wanted, got)


def test_bfloat16(read: Read) -> None:
    """A bf16 tensor travels as its raw 16 bits."""
    bits = np.array([[0x3F80, 0xBF80], [0x4000, 0x4040]], np.uint16)
    graph = load(read("bf16.onnx"), encoding=Encoding.ONNX)

    np.testing.assert_array_equal(bits, graph.run([bits])[0])


def test_missing_package(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    """A box without the package can ask and is told what to install."""
    from wasi_nn.backends import openvino

    openvino._core.cache_clear()
    monkeypatch.setitem(sys.modules, "openvino", None)

    with pytest.raises(UnsupportedOperation, match="pip install openvino"):
        load(read("scale.xml"), read("scale.bin"))
