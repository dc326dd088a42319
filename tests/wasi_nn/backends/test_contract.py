"""What every backend promises, asked of the fake and of every real runtime alike."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from wasi_nn.backend import Backend, Device, Encoding, Graph, GraphOptions
from wasi_nn.backends import fake
from wasi_nn.backends.onnx import OnnxBackend
from wasi_nn.backends.openvino import OpenvinoBackend
from wasi_nn.backends.tflite import TfliteBackend
from wasi_nn.errors import (
    InvalidArgument,
    InvalidEncoding,
    RuntimeFailure,
    UnsupportedOperation,
)
from wasi_nn.tensor import TensorSpec, TensorType

DATA = Path(__file__).parent / "data"
F32 = TensorType.F32


@dataclass(frozen=True)
class Case:
    """A backend with the shared nets: scale is y = 2x + 1, two is a sum and a difference."""

    name: str
    make: Callable[[], Backend]
    encoding: Encoding
    scale: list[bytes]
    two: list[bytes]

    def load(self, parts: list[bytes], **options: object) -> Graph:
        """Load with one thread."""
        wanted = GraphOptions(num_threads=1, **options)
        return self.make().load(parts, self.encoding, wanted)


def files(*names: str) -> list[bytes]:
    """Read a model's parts."""
    return [(DATA / name).read_bytes() for name in names]


def fake_nets() -> tuple[list[bytes], list[bytes]]:
    """Write the shared nets for the fake."""
    x, y = TensorSpec("x", F32, (None, 4)), TensorSpec("y", F32, (None, 4))
    right, left, total, difference = (
        TensorSpec(name, F32, (2, 3)) for name in ("right", "left", "total", "difference")
    )
    scale = fake.model([x], [y], "scale", factor=2.0, offset=1.0)
    return [scale], [fake.model([right, left], [total, difference], ["sum", "difference"])]


CASES = [
    Case("fake", fake.FakeBackend, Encoding.ONNX, *fake_nets()),
    Case("onnx", OnnxBackend, Encoding.ONNX, files("scale.onnx"), files("two.onnx")),
    Case(
        "openvino",
        OpenvinoBackend,
        Encoding.OPENVINO,
        files("scale.xml", "scale.bin"),
        files("two.xml", "two.bin"),
    ),
    Case("openvino-onnx", OpenvinoBackend, Encoding.ONNX, files("scale.onnx"), files("two.onnx")),
    Case(
        "openvino-tflite",
        OpenvinoBackend,
        Encoding.TENSORFLOWLITE,
        files("scale.tflite"),
        files("two.tflite"),
    ),
    Case(
        "tflite",
        TfliteBackend,
        Encoding.TENSORFLOWLITE,
        files("scale.tflite"),
        files("two.tflite"),
    ),
]

pytestmark = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def rows(count: int) -> np.ndarray:
    """Make an input of the scale net."""
    return np.arange(count * 4, dtype=np.float32).reshape(count, 4)


def test_specs(case: Case) -> None:
    """A graph tells its inputs and outputs, a free dimension as None, and the device."""
    graph = case.load(case.scale)

    assert (TensorSpec("x", F32, (None, 4)),) == graph.inputs
    assert (TensorSpec("y", F32, (None, 4)),) == graph.outputs
    assert Device.CPU == graph.device


def test_computes(case: Case) -> None:
    """The answer is right."""
    (output,) = case.load(case.scale).run([rows(1)])

    np.testing.assert_array_equal(2 * rows(1) + 1, output)


@pytest.mark.parametrize("count", [1, 3, 2, 0], ids=lambda n: f"{n}-rows")
def test_batch(case: Case, count: int) -> None:
    """A free batch takes any number of rows, none too."""
    graph = case.load(case.scale)

    assert graph.batch_axis == 0
    np.testing.assert_array_equal(2 * rows(count) + 1, graph.run([rows(count)])[0])


def test_alternating_batches(case: Case) -> None:
    """Batches of different sizes do not disturb one another, however many sizes there are."""
    graph = case.load(case.scale)

    for count in [*range(1, 20), *range(1, 20)]:
        np.testing.assert_array_equal(2 * rows(count) + 1, graph.run([rows(count)])[0])


def test_order_of_inputs_and_outputs(case: Case) -> None:
    """Inputs and outputs are in the model's own order."""
    graph = case.load(case.two)
    right, left = np.full((2, 3), 5, np.float32), np.full((2, 3), 2, np.float32)
    total, difference = graph.run([right, left])

    assert [spec.name for spec in graph.inputs] == ["right", "left"]
    assert [spec.name for spec in graph.outputs] == ["total", "difference"]
    np.testing.assert_array_equal(right + left, total)
    np.testing.assert_array_equal(right - left, difference)


def test_no_free_axis_is_no_batch(case: Case) -> None:
    """A model of fixed shape that is not one row cannot be batched."""
    assert case.load(case.two).batch_axis is None


def test_outputs_belong_to_the_caller(case: Case) -> None:
    """An output is a contiguous array of its own, which later runs and close leave alone."""
    graph = case.load(case.scale)
    (output,) = graph.run([rows(2)])
    graph.run([rows(2) + 7])
    graph.close()

    assert output.flags.c_contiguous
    assert output.flags.writeable
    np.testing.assert_array_equal(2 * rows(2) + 1, output)


def test_inputs_are_left_alone(case: Case) -> None:
    """An input may be read-only, is not changed, and is let go of."""
    graph = case.load(case.scale)
    content = bytearray(rows(2).tobytes())
    frozen = np.frombuffer(bytes(content), np.float32).reshape(2, 4)
    (output,) = graph.run([frozen])
    graph.run([np.frombuffer(content, np.float32).reshape(2, 4)])
    # Raises BufferError if anyone still holds on to the memory.
    content.extend(b"more")

    np.testing.assert_array_equal(rows(2), frozen)
    np.testing.assert_array_equal(2 * rows(2) + 1, output)


def test_inputs_of_any_alignment(case: Case) -> None:
    """An input may stand at any address, as guests' tensors do."""
    graph = case.load(case.scale)
    crooked = np.frombuffer(b"\0" + rows(2).tobytes(), np.uint8)[1:].view(np.float32)

    np.testing.assert_array_equal(2 * rows(2) + 1, graph.run([crooked.reshape(2, 4)])[0])


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        pytest.param([], "got 0, wanted 1", id="too-few"),
        pytest.param([rows(1), rows(1)], "got 2, wanted 1", id="too-many"),
        pytest.param([rows(1)[0]], r"got float32 \(4,\), wanted f32 \(\?, 4\)", id="rank"),
        pytest.param([rows(2).reshape(1, 8)], r"got float32 \(1, 8\), wanted", id="shape"),
        pytest.param([rows(1).astype(np.float64)], "got float64", id="type"),
        pytest.param([rows(2)[:, ::-1]], "wanted a C-contiguous", id="strides"),
    ],
)
def test_wrong_inputs(case: Case, inputs: list[np.ndarray], told: str) -> None:
    """Inputs that do not fit are refused with what came and what was wanted."""
    graph = case.load(case.scale)

    with pytest.raises(InvalidArgument, match=told):
        graph.run(inputs)


def test_usable_after_refusal(case: Case) -> None:
    """A refused run leaves the graph as it was."""
    graph = case.load(case.scale)
    with pytest.raises(InvalidArgument, match="input 0"):
        graph.run([rows(1)[0]])

    np.testing.assert_array_equal(2 * rows(1) + 1, graph.run([rows(1)])[0])


@pytest.mark.parametrize("change", [-1, 1], ids=["one-less", "one-more"])
def test_number_of_builders(case: Case, change: int) -> None:
    """A wrong number of parts is an invalid argument."""
    parts = (case.scale * 3)[: len(case.scale) + change]

    with pytest.raises(InvalidArgument, match=f"got {len(parts)} parts"):
        case.load(parts)


@pytest.mark.parametrize("content", [b"", b"\0", b"meaningless binary" * 9], ids=["0", "1", "n"])
def test_garbage(case: Case, content: bytes) -> None:
    """Bytes of no format at all are an invalid encoding."""
    with pytest.raises(InvalidEncoding, match="starts with"):
        case.load([content] * len(case.scale))


def test_truncated(case: Case) -> None:
    """A model that is cut off is a runtime failure wherever the cut is."""
    for end in range(len(case.scale[0]) // 4, len(case.scale[0]) - 4, 37):
        with pytest.raises(RuntimeFailure, match="model: "):
            case.load([case.scale[0][:end], *case.scale[1:]])


def test_foreign_encoding(case: Case) -> None:
    """An encoding that is not the backend's own is refused."""
    backend = fake.FakeBackend([Encoding.ONNX]) if case.name == "fake" else case.make()

    with pytest.raises(InvalidEncoding, match="pytorch"):
        backend.load(case.scale, Encoding.PYTORCH, GraphOptions())


def test_builders_are_borrowed(case: Case) -> None:
    """A model's bytes may change as soon as load returns."""
    parts = [bytearray(part) for part in case.scale]
    graph = case.load([memoryview(part) for part in parts])
    for part in parts:
        part[:] = b"\xff" * len(part)

    np.testing.assert_array_equal(2 * rows(3) + 1, graph.run([rows(3)])[0])


def test_threads(case: Case) -> None:
    """Runs on several threads at once give each its own answer."""
    graph = case.load(case.scale)
    wrong: list[int] = []

    def work(number: int) -> None:
        for turn in range(200):
            array = rows(1 + (number + turn) % 3) + number
            if not np.array_equal(2 * array + 1, graph.run([array])[0]):
                wrong.append(turn)

    threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [] == wrong


def test_close_twice(case: Case) -> None:
    """A second close does nothing; a run after it fails without a crash."""
    graph = case.load(case.scale)
    graph.close()
    graph.close()

    with pytest.raises(RuntimeFailure, match="closed"):
        graph.run([rows(1)])


@pytest.mark.parametrize("device", [Device.GPU, Device.NPU], ids=lambda d: d.value)
def test_absent_device(case: Case, device: Device) -> None:
    """A device that is not there is refused, and the message names what is and what to do."""
    if device in present_devices(case):
        pytest.skip(f"this machine has a {device.value} for {case.name}")

    with pytest.raises(UnsupportedOperation, match=r"present: .*cpu.*; load for one of these"):
        case.load(case.scale, device=device)


@pytest.mark.parametrize("device", [Device.GPU, Device.NPU], ids=lambda d: d.value)
def test_fallback_is_visible(case: Case, device: Device) -> None:
    """With the operator's leave the CPU computes instead, and the graph says so."""
    if device in present_devices(case):
        pytest.skip(f"this machine has a {device.value} for {case.name}")
    graph = case.load(case.scale, device=device, allow_fallback=True)

    assert Device.CPU == graph.device
    np.testing.assert_array_equal(2 * rows(1) + 1, graph.run([rows(1)])[0])


def present_devices(case: Case) -> list[Device]:
    """List what the backend has on this machine."""
    return [d.device for d in case.make().probe().devices if d.present]


def test_probe(case: Case) -> None:
    """A runtime that is installed tells its version and that it has a CPU."""
    info = case.make().probe()

    assert info.version, info.reason
    assert Device.CPU in present_devices(case)
    assert set(info.encodings) == case.make().encodings
    assert set(Device) == {d.device for d in info.devices}
