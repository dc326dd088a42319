"""The fake does what its model tells it, wrong things too."""

import numpy as np
import pytest

from wasi_nn.backend import Device, Encoding, Graph, GraphOptions
from wasi_nn.backends.fake import FakeBackend, model
from wasi_nn.errors import RuntimeFailure, UnsupportedOperation
from wasi_nn.tensor import TensorSpec, TensorType

X = TensorSpec("x", TensorType.F32, (None, 2))
Y = TensorSpec("y", TensorType.F32, (None, 2))
ROWS = np.array([[1, 2], [3, 4]], np.float32)


def load(op: str, *, backend: FakeBackend | None = None, **rest: object) -> Graph:
    """Load a model with one input and one output."""
    content = model([X], [Y], op, **rest)
    return (backend or FakeBackend()).load([content], Encoding.ONNX, GraphOptions())


@pytest.mark.parametrize(
    ("op", "wanted"),
    [
        ("identity", [[1, 2], [3, 4]]),
        ("scale", [[4, 7], [10, 13]]),
        ("sum", [[1, 2], [3, 4]]),
        ("rows", [[3, 3], [7, 7]]),
    ],
)
def test_operations(op: str, wanted: list[list[float]]) -> None:
    """Each operation gives what the module says."""
    np.testing.assert_array_equal(wanted, load(op, factor=3.0, offset=1.0).run([ROWS])[0])


def test_slow() -> None:
    """A slow model sleeps on the function it was given, longer for more rows."""
    slept: list[float] = []
    backend = FakeBackend(sleep=slept.append)
    load("identity", backend=backend, delay_s=0.5, delay_per_row_s=0.25).run([ROWS])

    assert [1.0] == slept


def test_fails_on_a_run() -> None:
    """Only the told run fails."""
    graph = load("identity", fail_on_run=2)
    graph.run([ROWS])
    with pytest.raises(RuntimeFailure, match="run 2, as told"):
        graph.run([ROWS])

    np.testing.assert_array_equal(ROWS, graph.run([ROWS])[0])


def test_fails_on_a_value() -> None:
    """A poisonous value fails its run."""
    graph = load("identity", fail_on_value=4)

    with pytest.raises(RuntimeFailure, match="on 4, as told"):
        graph.run([ROWS])
    np.testing.assert_array_equal(ROWS[:1], graph.run([ROWS[:1]])[0])


def test_slow_on_a_value() -> None:
    """A model may be slow with one value only."""
    slept: list[float] = []
    backend = FakeBackend(sleep=slept.append)
    graph = load("identity", backend=backend, delay_s=0.5, delay_on_value=4)
    graph.run([ROWS[:1]])
    graph.run([ROWS])

    assert [0.5] == slept


def test_lies_about_the_shape() -> None:
    """An output has another shape than promised."""
    assert load("identity", lie="shape").run([ROWS])[0].shape == (1, 2, 2)


def test_lies_about_the_type() -> None:
    """An output has another type than promised."""
    assert load("identity", lie="type").run([ROWS])[0].dtype == np.uint8


def test_batch_can_be_refused() -> None:
    """A model may say that it cannot be batched."""
    assert load("identity").batch_axis == 0
    assert load("identity", batch=False).batch_axis is None


def test_devices() -> None:
    """A graph computes on a pretended device, and an absent one is refused."""
    backend = FakeBackend(devices=[Device.CPU, Device.NPU])
    content = model([X], [Y], "identity")
    graph = backend.load([content], Encoding.ONNX, GraphOptions(device=Device.NPU))

    assert Device.NPU == graph.device
    with pytest.raises(UnsupportedOperation, match="present: cpu, npu"):
        backend.load([content], Encoding.ONNX, GraphOptions(device=Device.GPU))


def test_counts_open_graphs() -> None:
    """A test can see whether every graph was closed."""
    backend = FakeBackend()
    graph = load("identity", backend=backend)
    load("identity", backend=backend)
    graph.close()
    graph.close()

    assert (2, 1) == (backend.loads, backend.open_graphs)


def test_openvino_takes_two_parts() -> None:
    """As openvino, part 0 is the fake model."""
    parts = [model([X], [Y], "identity"), b""]

    graph = FakeBackend().load(parts, Encoding.OPENVINO, GraphOptions())

    np.testing.assert_array_equal(ROWS, graph.run([ROWS])[0])


@pytest.mark.parametrize(
    ("rest", "told"),
    [
        pytest.param({"op": "guess"}, "op guess is none of", id="op"),
        pytest.param({"op": "identity", "lie": "often"}, "lie often", id="lie"),
        pytest.param({"op": "identity", "speed": 1}, "speed", id="unknown-entry"),
        pytest.param({"op": ["sum", "sum"]}, "2 op for 1 outputs", id="outputs"),
    ],
)
def test_damaged(rest: dict[str, object], told: str) -> None:
    """A fake model that makes no sense is damaged, and the message says where."""
    with pytest.raises(RuntimeFailure, match=told):
        load(**rest)
