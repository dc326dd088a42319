"""The TensorFlow Lite backend, beyond what every backend promises."""

import sys
from collections.abc import Callable

import numpy as np
import pytest

from wasi_nn.backend import Device, Encoding, Graph, GraphOptions
from wasi_nn.backends.tflite import TfliteBackend
from wasi_nn.errors import RuntimeFailure, UnsupportedOperation
from wasi_nn.tensor import TensorType

Read = Callable[[str], bytes]


def load(model: bytes) -> Graph:
    """Load with one thread."""
    return TfliteBackend().load([model], Encoding.TENSORFLOWLITE, GraphOptions(num_threads=1))


@pytest.mark.parametrize(
    ("file", "kind", "zero"), [("int8", TensorType.I8, 0), ("uint8", TensorType.U8, 128)]
)
def test_quantised(read: Read, file: str, kind: TensorType, zero: int) -> None:
    """A quantised model takes and gives its raw integers."""
    graph = load(read(f"{file}.tflite"))
    a = np.array([[1, 2, 3, 4]], kind.storage) + kind.storage.type(zero)
    b = np.array([[10, 20, 30, -4 if zero == 0 else 4]]).astype(kind.storage)
    (output,) = graph.run([a, b + kind.storage.type(zero) if zero else b])

    assert [kind] * 3 == [spec.type for spec in (*graph.inputs, *graph.outputs)]
    last = 0 if zero == 0 else 8
    np.testing.assert_array_equal([[11 + zero, 22 + zero, 33 + zero, last + zero]], output)


def test_batch_of_a_fixed_model(read: Read) -> None:
    """A model saved for one row takes several, if every output follows."""
    graph = load(read("int8.tflite"))
    rows = np.arange(12, dtype=np.int8).reshape(3, 4)

    assert graph.batch_axis == 0
    assert [(None, 4)] * 3 == [spec.shape for spec in (*graph.inputs, *graph.outputs)]
    np.testing.assert_array_equal(rows * 2, graph.run([rows, rows])[0])


def test_model_that_cannot_be_resized(read: Read) -> None:
    """A model that reshapes to a fixed size keeps its shape and has no batch."""
    graph = load(read("fixed_batch.tflite"))

    assert graph.batch_axis is None
    assert graph.inputs[0].shape == (1, 4)
    assert graph.run([np.ones((1, 4), np.float32)])[0].shape == (2, 2)


def test_strings(read: Read) -> None:
    """A tensor of words is refused by name."""
    with pytest.raises(UnsupportedOperation, match="input words is"):
        load(read("strings.tflite"))


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("crash_absent_input", "tensor -1 of 3"),
        ("crash_mixed_types", "mixes element types"),
        ("crash_negative_scale", "not a positive number"),
        ("crash_no_scale", "has no scale"),
        ("crash_pool_window", "a window that are not positive"),
        ("crash_recursion", "calls itself"),
        ("crash_scale_huge", "scales too far apart"),
        ("crash_scales_apart", "scales too far apart"),
        ("crash_split_count", "counts its tensors wrong"),
        ("crash_split_options", "options of another"),
        ("unwritten_tensor", "nothing has written"),
    ],
    ids=lambda value: value.replace(" ", "-"),
)
def test_models_that_end_the_process(read: Read, file: str, told: str) -> None:
    """A model that crashes LiteRT 2.3, or has it read what nobody wrote, never gets there."""
    with pytest.raises(RuntimeFailure, match=f"damaged, .*{told}"):
        load(read(f"{file}.tflite"))


def test_external_buffer(read: Read) -> None:
    """A model that names a file is refused."""
    with pytest.raises(UnsupportedOperation, match="weights in another file"):
        load(read("external_buffer.tflite"))


def test_library_that_is_no_delegate(read: Read) -> None:
    """A library that is there but is no delegate is a refusal, not a crash."""
    backend = TfliteBackend({Device.NPU: ("libc.so.6",)})
    options = GraphOptions(device=Device.NPU)

    with pytest.raises(UnsupportedOperation, match=r"none of libc\.so\.6 found"):
        backend.load([read("scale.tflite")], Encoding.TENSORFLOWLITE, options)


def test_library_that_is_no_delegate_with_fallback(read: Read) -> None:
    """With the operator's leave the CPU computes instead."""
    backend = TfliteBackend({Device.NPU: ("libc.so.6",)})
    options = GraphOptions(device=Device.NPU, allow_fallback=True)

    graph = backend.load([read("scale.tflite")], Encoding.TENSORFLOWLITE, options)

    assert Device.CPU == graph.device


def test_missing_package(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    """A box without the package can ask and is told what to install."""
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    monkeypatch.setitem(sys.modules, "tflite_runtime", None)

    with pytest.raises(UnsupportedOperation, match="pip install ai-edge-litert"):
        load(read("scale.tflite"))
