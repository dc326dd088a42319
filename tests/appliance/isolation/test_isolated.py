"""Graphs in processes of their own: the same answers, and a death that stays over there."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from appliance.isolation import STRIKES, IsolatedBackend, IsolatedGraph, IsolatingLoader
from appliance.isolation.process import Bounds
from wasi_nn.backend import Backend, Encoding, Graph, GraphOptions
from wasi_nn.backends import all_backends
from wasi_nn.backends.fake import FakeBackend, model
from wasi_nn.errors import InvalidArgument, InvalidEncoding, RuntimeFailure
from wasi_nn.registry import Loader as LoaderSeam
from wasi_nn.registry import Origin
from wasi_nn.tensor import TensorSpec, TensorType

X = TensorSpec("x", TensorType.F32, (None, 2))
ROW = np.array([[1, 2]], np.float32)
POISON = np.array([[1, 666]], np.float32)
LITE0 = Path(__file__).parents[3] / "models" / "efficientnet-lite0" / "1"

Loader = Callable[..., IsolatedGraph]


@pytest.fixture
def load() -> Iterator[Loader]:
    """Load fake models in processes of their own, ended with the test."""
    with ExitStack() as opened:

        def make(bounds: Bounds | None = None, **rest: Any) -> Graph:
            backend = IsolatedBackend(FakeBackend(), bounds)
            content = model([X], [X], "scale", factor=2.0, **rest)
            graph = backend.load([content], Encoding.ONNX, GraphOptions())
            opened.callback(graph.close)
            return graph

        yield make  # type: ignore[misc]


def pid_of(graph: IsolatedGraph) -> int:
    assert graph._worker is not None
    return graph._worker._process.pid


def test_it_answers_like_the_real_one(load: Loader) -> None:
    """Specs, batch axis, device and outputs are those of the graph over there."""
    graph = load()

    assert ((X,), (X,), 0, "cpu") == (
        graph.inputs, graph.outputs, graph.batch_axis, graph.device.value,
    )  # fmt: skip
    np.testing.assert_array_equal(2 * ROW, graph.run([ROW])[0])
    assert os.getpid() != pid_of(graph)


@pytest.mark.parametrize("backend", all_backends(), ids=lambda b: b.name)
def test_a_real_runtime_gives_the_same_bytes(backend: Any) -> None:
    """What crosses is what the runtime gave."""
    encoding, names = {
        "onnx": (Encoding.ONNX, ["model.onnx"]),
        "openvino": (Encoding.OPENVINO, ["model.xml", "model.bin"]),
        "tflite": (Encoding.TENSORFLOWLITE, ["model.tflite"]),
    }[backend.name]
    parts = [(LITE0 / name).read_bytes() for name in names]
    options = GraphOptions(num_threads=1)
    here = backend.load(parts, encoding, options)
    there = IsolatedBackend(backend).load(parts, encoding, options)
    shape = [dim or 1 for dim in here.inputs[0].shape]
    x = np.random.default_rng(0).random(shape, np.float32)

    np.testing.assert_array_equal(here.run([x])[0], there.run([x])[0])
    here.close()
    there.close()


def test_runs_go_side_by_side(load: Loader) -> None:
    """Each thread has a channel of its own, and gets its own answer."""
    graph = load()
    values = [np.full((1, 2), number, np.float32) for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda x: graph.run([x])[0], values))

    np.testing.assert_array_equal(2 * np.concatenate(values), np.concatenate(answers))


def test_an_answer_is_the_callers_own(load: Loader) -> None:
    """The next run does not change it."""
    graph = load()
    (first,) = graph.run([ROW])
    graph.run([5 * ROW])

    np.testing.assert_array_equal(2 * ROW, first)


def test_errors_cross_with_their_kind(load: Loader) -> None:
    """Those of a run, of a load, and of a question that is not even asked."""
    graph = load(fail_on_value=666)

    with pytest.raises(RuntimeFailure, match="as told"):
        graph.run([POISON])
    with pytest.raises(InvalidArgument, match="wanted f32"):
        graph.run([ROW.astype(np.int32)])
    with pytest.raises(InvalidEncoding, match="wanted the line FAKE"):
        IsolatedBackend(FakeBackend()).load([b"junk"], Encoding.ONNX, GraphOptions())
    np.testing.assert_array_equal(2 * ROW, graph.run([ROW])[0])


def test_a_crash_ends_its_process_and_the_next_run_has_another(load: Loader) -> None:
    """The caller of the poison is told the signal; nobody else notices."""
    graph = load(abort_on_value=666)
    first = pid_of(graph)

    with pytest.raises(RuntimeFailure, match=rf"ended by signal {signal.SIGABRT:d} while comput"):
        graph.run([POISON])
    np.testing.assert_array_equal(2 * ROW, graph.run([ROW])[0])
    assert first != pid_of(graph)


def test_a_process_that_died_between_runs_costs_nobody_an_answer(load: Loader) -> None:
    """The next run finds it gone and starts another first."""
    graph = load()
    assert graph._worker is not None
    process = graph._worker._process
    process.kill()
    process.wait()

    np.testing.assert_array_equal(2 * ROW, graph.run([ROW])[0])
    assert "<IsolatedGraph fake [Strikes: 1 of 3]>" == repr(graph)


def test_after_some_strikes_the_model_is_given_up(load: Loader) -> None:
    """Each further run fails at once, without a process."""
    graph = load(abort_on_value=666)
    for _ in range(STRIKES):
        with pytest.raises(RuntimeFailure, match="ended by signal"):
            graph.run([POISON])

    with pytest.raises(RuntimeFailure, match=f"crashed its process {STRIKES} times"):
        graph.run([ROW])
    assert graph._worker is None


def test_a_run_that_hangs_is_stopped(load: Loader) -> None:
    """After its bound; the process is gone."""
    graph = load(Bounds(run_s=0.05), delay_s=3600)
    pid = pid_of(graph)

    with pytest.raises(RuntimeFailure, match="did not answer in time and was stopped"):
        graph.run([ROW])
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_crash_takes_only_its_own_runs(load: Loader) -> None:
    """Of two graphs one dies; a run of the other that is under way is finished."""
    poisoned, other = load(abort_on_value=666), load()
    answers: list[Any] = []
    runner = threading.Thread(target=lambda: answers.extend(other.run([ROW])))
    runner.start()
    with pytest.raises(RuntimeFailure, match="ended by signal"):
        poisoned.run([POISON])
    runner.join()

    np.testing.assert_array_equal(2 * ROW, answers[0])


def test_one_death_is_one_strike_however_many_it_takes_along(load: Loader) -> None:
    """Eight callers of one process are told; the model has its other lives left."""
    graph = load(delay_s=3600)
    pid = pid_of(graph)

    def run() -> str:
        with pytest.raises(RuntimeFailure) as caught:
            graph.run([ROW])
        return str(caught.value)

    with ThreadPoolExecutor(8) as pool:
        told = [pool.submit(run) for _ in range(8)]
        # One that waits for the box, and one for each caller.
        while len(list(Path(f"/proc/{pid}/task").iterdir())) < 9:
            os.sched_yield()
        os.kill(pid, signal.SIGKILL)
        sentences = {future.result() for future in told}

    assert {"the model's own process was ended by signal 9 while computing"} == sentences
    assert f"<IsolatedGraph fake [Strikes: 1 of {STRIKES}]>" == repr(graph)


def test_a_model_that_wants_too_much_memory_fails_alone(load: Loader) -> None:
    """Over its bound an allocation fails in its process; the next run is well."""
    graph = load(Bounds(memory_bytes=256 * 1024**2))
    huge = np.zeros((40_000_000, 2), np.float32)

    with pytest.raises(RuntimeFailure, match="MemoryError"):
        graph.run([huge])
    np.testing.assert_array_equal(2 * ROW, graph.run([ROW])[0])


def test_closing_ends_the_process(load: Loader) -> None:
    """Twice is once; a run afterwards is told."""
    graph = load()
    pid = pid_of(graph)
    graph.close()
    graph.close()

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(RuntimeFailure, match="closed"):
        graph.run([ROW])


def test_only_trusted_models_are_loaded_here() -> None:
    """A name is asked about; bytes without one are not trusted."""
    seen: list[str] = []

    def loader(
        backend: Backend, builders: Sequence[bytes], encoding: Encoding, options: GraphOptions,
        origin: Origin,
    ) -> Graph:  # fmt: skip
        seen.append(backend.name)
        return FakeBackend().load(builders, encoding, options)

    isolating: LoaderSeam = IsolatingLoader(loader, lambda name: name == "ours:1")
    for name in ("ours:1", "theirs:1", ""):
        content = model([X], [X], "scale")
        isolating(FakeBackend(), [content], Encoding.ONNX, GraphOptions(), Origin("digest", name))

    assert ["fake", "fake-isolated", "fake-isolated"] == seen
