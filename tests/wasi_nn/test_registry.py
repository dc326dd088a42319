"""Graphs are shared by content, loaded once at a time, and closed with the last reference."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from wasi_nn import registry as registry_module
from wasi_nn.backend import Backend, Buffer, Device, Encoding, Graph, GraphOptions
from wasi_nn.backends.fake import FakeBackend, model
from wasi_nn.digests import digest_of
from wasi_nn.errors import (
    InvalidEncoding,
    RuntimeFailure,
)
from wasi_nn.registry import GraphReference, Origin, Registry
from wasi_nn.tensor import TensorSpec, TensorType

CPU = GraphOptions()
ONNX, TFLITE = Encoding.ONNX, Encoding.TENSORFLOWLITE


def content(size: int = 1) -> bytes:
    """Write a model; another size is another model."""
    x = TensorSpec("x", TensorType.F32, (1, size))
    return model([x], [x], "identity")


def load(registry: Registry, size: int = 1, options: GraphOptions = CPU) -> GraphReference:
    """Load a model from its bytes."""
    return registry.load([content(size)], ONNX, options)


def test_same_bytes_are_one_graph() -> None:
    """The same bytes, encoding and options give the same graph, whoever loads it."""
    backend = FakeBackend()
    registry = Registry([backend])
    first, second = load(registry), load(registry)

    assert first.graph is second.graph
    assert backend.loads == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r.load([content(2)], ONNX, CPU),
        lambda r: r.load([content()], TFLITE, CPU),
        lambda r: r.load([content()], ONNX, GraphOptions(num_threads=1)),
        lambda r: r.load([content()], ONNX, GraphOptions(allow_fallback=True)),
        lambda r: r.load([content()], ONNX, GraphOptions(Device.GPU)),
    ],
    ids=["bytes", "encoding", "threads", "fallback", "device"],
)
def test_anything_else_is_another_graph(change: Callable[[Registry], GraphReference]) -> None:
    """A difference in bytes, encoding or options is a difference."""
    registry = Registry([FakeBackend(devices=[Device.CPU, Device.GPU])])

    assert load(registry).graph is not change(registry).graph


def test_last_release_closes() -> None:
    """A graph lives as long as someone holds it, and no longer."""
    backend = FakeBackend()
    registry = Registry([backend])
    first = load(registry)
    second, third = load(registry), first.share()
    for reference in (first, third):
        reference.release()
    assert backend.open_graphs == 1
    second.release()

    assert backend.open_graphs == 0
    assert () == registry.statistics().graphs


def test_release_twice_is_once() -> None:
    """A reference that is released twice takes nobody else's share."""
    backend = FakeBackend()
    registry = Registry([backend])
    first, _second = load(registry), load(registry)
    first.release()
    first.release()

    assert backend.open_graphs == 1


def test_loads_again_after_close() -> None:
    """A model whose graph is closed is loaded anew."""
    backend = FakeBackend()
    registry = Registry([backend])
    load(registry).release()
    load(registry)

    assert (2, 1) == (backend.loads, backend.open_graphs)


def test_statistics() -> None:
    """The snapshot counts what was done and lists what is loaded."""
    registry = Registry([FakeBackend()])
    held = load(registry)
    load(registry).release()
    with pytest.raises(InvalidEncoding, match="fake model"):
        registry.load([b"no fake"], ONNX, CPU)
    (graph,) = registry.statistics().graphs

    assert (1, 1, 1) == counts(registry)
    assert (digest_of([content()]), ONNX, "fake", 1, "") == (
        graph.digest, graph.encoding, graph.backend, graph.references, graph.name,
    )  # fmt: skip
    assert held.graph is graph.graph


# ------------------------------------------------------------------------------- single flight


class Gate:
    """A loader that waits, and events that tell when somebody waits for it.

    began: the loader was entered.   waiting: released for everyone who waits for an entry.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.began, self.open = threading.Semaphore(0), threading.Event()
        self.waiting = waiting = threading.Semaphore(0)
        self.failure: BaseException | None = None

        class Told(threading.Event):
            def wait(self, timeout: float | None = None) -> bool:
                waiting.release()
                return super().wait(timeout)

        fake = SimpleNamespace(Event=Told, Lock=threading.Lock)
        monkeypatch.setattr(registry_module, "threading", fake)

    def load(
        self, backend: Backend, builders: Sequence[Buffer], encoding: Encoding,
        options: GraphOptions, _origin: Origin,
    ) -> Graph:  # fmt: skip
        """Load when the gate is open."""
        self.began.release()
        assert self.open.wait(30), "somebody opens the gate"
        if self.failure is not None:
            raise self.failure
        return backend.load(builders, encoding, options)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


def test_single_flight(gate: Gate) -> None:
    """Those that want a model which is being loaded wait for it, and it is loaded once."""
    backend = FakeBackend()
    registry = Registry([backend], loader=gate.load)
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(load, registry) for _ in range(4)]
        gate.began.acquire()
        for _ in range(3):
            gate.waiting.acquire()
        gate.open.set()
        graphs = {id(future.result().graph) for future in futures}

    assert len(graphs) == 1
    assert backend.loads == 1
    assert registry.statistics().graphs[0].references == 4
    assert registry.statistics().hits == 3


def test_other_models_are_not_held_up(gate: Gate) -> None:
    """While one model is loaded another is loaded beside it."""
    registry = Registry([FakeBackend()], loader=gate.load)
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(load, registry, size) for size in (1, 2)]
        for _ in futures:
            gate.began.acquire()
        assert () == registry.statistics().graphs
        gate.open.set()

    assert 2 == len({id(future.result().graph) for future in futures})


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (RuntimeFailure("damaged"), "damaged"),
        (ValueError("odd"), "failed unexpectedly, ValueError"),
    ],
    ids=["ours", "surprise"],
)
def test_failure_reaches_all_who_wait(gate: Gate, failure: Exception, told: str) -> None:
    """A load that fails fails for everyone, and leaves nothing behind."""
    registry = Registry([FakeBackend()], loader=gate.load)
    gate.failure = failure
    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(load, registry) for _ in range(3)]
        gate.began.acquire()
        for _ in range(2):
            gate.waiting.acquire()
        gate.open.set()
        errors = [future.exception() for future in futures]

    assert failure in errors
    assert 3 == len([e for e in errors if e is failure or told in str(e)])
    assert (0, 0, 1) == counts(registry)
    gate.failure = None
    assert load(registry).graph is not None


def counts(registry: Registry) -> tuple[int, int, int]:
    """Take hits, loads and failures."""
    statistics = registry.statistics()
    return statistics.hits, statistics.loads, statistics.failures


def test_failed_load_leaves_no_entry() -> None:
    """After a failure the same bytes are tried again."""
    tries: list[Origin] = []

    def loader(
        backend: Backend, builders: Sequence[Buffer], encoding: Encoding, options: GraphOptions,
        origin: Origin,
    ) -> Graph:  # fmt: skip
        tries.append(origin)
        if len(tries) == 1:
            raise RuntimeFailure("the first time")
        return backend.load(builders, encoding, options)

    registry = Registry([FakeBackend()], loader=loader)
    with pytest.raises(RuntimeFailure, match="the first time"):
        load(registry)
    load(registry)

    assert [Origin(digest_of([content()]))] * 2 == tries
    assert (0, 1, 1) == counts(registry)


def test_churn_on_many_threads() -> None:
    """Loads and releases on many threads leave exactly what is still held."""
    backend = FakeBackend()
    registry = Registry([backend])

    def work(seed: int) -> None:
        for turn in range(100):
            reference = load(registry, 1 + (seed + turn) % 3)
            assert not reference.graph._is_closed  # type: ignore[attr-defined]
            shared = reference.share()
            reference.release()
            shared.release()

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(work, seed) for seed in range(4)]:
            future.result()

    assert backend.open_graphs == 0
    assert () == registry.statistics().graphs
    hits, loads, failures = counts(registry)
    assert (400, 0) == (hits + loads, failures)
