"""The ONNX Runtime backend, beyond what every backend promises."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from wasi_nn.backend import Device, Encoding, Graph, GraphOptions
from wasi_nn.backends import onnx as onnx_backend
from wasi_nn.backends.onnx import OnnxBackend
from wasi_nn.errors import InvalidEncoding, RuntimeFailure, UnsupportedOperation

Read = Callable[[str], bytes]


def load(model: bytes, **options: object) -> Graph:
    """Load with one thread."""
    return OnnxBackend().load([model], Encoding.ONNX, GraphOptions(num_threads=1, **options))


def test_every_element_type(read: Read) -> None:
    """Every type that WASI-NN and numpy share goes through unchanged."""
    graph = load(read("types.onnx"))
    inputs = [np.arange(4).reshape(2, 2).astype(spec.type.storage) for spec in graph.inputs]
    outputs = graph.run(inputs)

    assert [f"in_{spec.type.value}" for spec in graph.inputs] == [s.name for s in graph.inputs]
    for wanted, got in zip(inputs, outputs, strict=True):
        assert wanted.dtype == got.dtype
        np.testing.assert_array_equal(wanted, got)


def test_bfloat16(read: Read) -> None:
    """A bf16 tensor travels as its raw 16 bits."""
    bits = np.array([[0x3F80, 0xBF80], [0x7F80, 0x0001]], np.uint16)

    np.testing.assert_array_equal(bits, load(read("bf16.onnx")).run([bits])[0])


@pytest.mark.parametrize(
    ("file", "name"), [("strings.onnx", "words"), ("sequence.onnx", "pile")], ids=lambda v: v
)
def test_inputs_that_are_no_tensors(read: Read, file: str, name: str) -> None:
    """An input that WASI-NN has no tensor for is refused by name."""
    with pytest.raises(UnsupportedOperation, match=f"input {name} is"):
        load(read(file))


def test_custom_operator(read: Read) -> None:
    """An operator that no library registered is refused, naming it."""
    with pytest.raises(RuntimeFailure, match="nobody:Mystery"):
        load(read("custom_op.onnx"))


def test_mixed_rows_are_no_batch(read: Read) -> None:
    """A free input axis whose rows the model adds up is no batch."""
    assert load(read("fixed_output.onnx")).batch_axis is None


@pytest.mark.parametrize("place", ["initializer", "attribute", "subgraph", "function", "sparse"])
def test_external_data(
    read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """A model cannot read a host's file, although the file is there and the runtime would."""
    (tmp_path / "stolen.bin").write_bytes(np.ones(4, np.float32).tobytes())
    monkeypatch.chdir(tmp_path)

    with pytest.raises(UnsupportedOperation, match="weights in another file"):
        load(read(f"external_{place}.onnx"))


def test_ort_format() -> None:
    """ONNX Runtime's own format, which it would recognise by itself, is refused."""
    with pytest.raises(InvalidEncoding, match=r"\.ort"):
        load(b"\x0a\x02\x00\x00ORTM" + bytes(64))


def test_provider_that_is_not_really_there(
    read: Read, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A provider that the runtime lists but silently does not use is a refusal, not a CPU run."""
    provider = (Device.NPU, "AzureExecutionProvider", {})
    monkeypatch.setattr(onnx_backend, "_PROVIDERS", (provider,))
    monkeypatch.setattr(onnx_backend, "_session", session_on_cpu)

    with pytest.raises(UnsupportedOperation, match="AzureExecutionProvider: not taken"):
        load(read("scale.onnx"), device=Device.NPU)
    assert Device.CPU == load(read("scale.onnx"), device=Device.NPU, allow_fallback=True).device


def session_on_cpu(model: bytes, *_: object) -> object:
    """Make a session as onnxruntime does when a provider's driver is missing."""
    import onnxruntime as ort

    return ort.InferenceSession(model, providers=["CPUExecutionProvider"])


def test_missing_package(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    """A box without the package can ask and is told what to install."""
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)

    info = OnnxBackend().probe()

    assert info.version is None
    assert "pip install onnxruntime" in info.reason
    with pytest.raises(UnsupportedOperation, match="pip install onnxruntime"):
        load(read("scale.onnx"))


@pytest.mark.skipif(os.cpu_count() == 1, reason="needs two cores")
def test_threads_are_bounded(read: Read) -> None:
    """One thread means that the runtime starts none of its own."""
    before = len(os.listdir("/proc/self/task"))
    graph = load(read("scale.onnx"))
    graph.run([np.ones((1, 4), np.float32)])

    assert before == len(os.listdir("/proc/self/task"))
