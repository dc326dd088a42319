"""Marks around everything that may end the process, and the refusal of what did so too often.

Guarantees:
1. A graph or a guest that is under way in this process has a mark (`marks`); one in a process of
   its own needs none (`isolation`).
2. What has a strike runs alone among the models, or the apps, that have one: if it happens again,
   it is clear who it was.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from appliance.errors import Conflict
from appliance.guests.runner import Answer, Runner
from appliance.marks import Doing, Mark, Marks, text_of
from appliance.quarantine import Quarantine
from appliance.records import Frame
from appliance.suspicion import Kind, Subject
from wasi_nn.backend import Backend, BackendInfo, Buffer, Encoding, Graph, GraphOptions
from wasi_nn.errors import RuntimeFailure
from wasi_nn.executor import Cancellation
from wasi_nn.registry import Loader, Origin
from wasi_nn.tensor import Array

_Turn = AbstractContextManager[object]


class Guard:
    """Marks and refuses for one box."""

    def __init__(self, marks: Marks, quarantine: Quarantine) -> None:
        self.marks = marks
        self.quarantine = quarantine
        # One for each kind: a guest waits for its graph while it has the other.
        self._turns = {kind: threading.Lock() for kind in Kind}
        self.fate = ""
        self._accused: frozenset[Subject] = frozenset()

    def open(self, run_dir: Path, fate: str) -> None:
        """Find out who was in flight when the service before us ended, and begin anew."""
        self.fate = fate
        self.quarantine.open()
        left = self.marks.open(run_dir / "inflight")
        self._accused = self.quarantine.judge(left, fate, time.monotonic())

    def has_ended_the_service(self, name: str, version: str) -> bool:
        """Tell whether an app's version is suspected of the last death of the service."""
        return Subject(Kind.APP, name, version) in self._accused

    def turn_of(self, subject: Subject) -> _Turn:
        """Give what to hold while a subject runs."""
        is_suspect = self.quarantine.is_suspect(subject)
        return self._turns[subject.kind] if is_suspect else nullcontext()

    @contextmanager
    def bringing_up(self, name: str, version: str) -> Iterator[None]:
        """Mark that an app is compiled and instantiated. Raises: Conflict if quarantined."""
        sentence = self.quarantine.sentence(Subject(Kind.APP, name, version))
        if sentence is not None:
            raise Conflict(sentence.reason)
        slot = self.marks.begin(Doing.APP, text_of(name, version))
        try:
            yield
        finally:
            self.marks.end(slot)

    def runner(self, runner: Runner, name: str, version: str) -> Runner:
        """Mark every frame that an app is shown."""
        return MarkedRunner(self, runner, Subject(Kind.APP, name, version))

    def loader(self, loader: Loader) -> Loader:
        """Mark every graph that is loaded in this process."""
        return MarkingLoader(self, loader)

    def stuck(self, max_run_s: float) -> Mark | None:
        """Find a graph that runs longer than any should."""
        now_s = time.monotonic()
        runs = (mark for mark in self.marks.under_way() if mark.doing is Doing.RUN)
        return next((mark for mark in runs if now_s - mark.began_s > max_run_s), None)


class MarkedRunner:
    """A runner whose frames are marked."""

    def __init__(self, guard: Guard, runner: Runner, subject: Subject) -> None:
        self._marks = guard.marks
        self._runner = runner
        self._text = text_of(subject.name, subject.version)
        self._turn = guard.turn_of(subject)

    def run(self, frame: Frame, cancellation: Cancellation | None = None) -> Answer:
        """See `Runner.run`."""
        with self._turn:
            slot = self._marks.begin(Doing.APP, self._text)
            try:
                return self._runner.run(frame, cancellation)
            finally:
                self._marks.end(slot)

    def forget(self, source: str) -> None:
        """See `Runner.forget`."""
        self._runner.forget(source)

    def close(self) -> None:
        """See `Runner.close`."""
        self._runner.close()


class MarkingLoader:
    """Loads models through another loader, marking what they do. A `wasi_nn.registry.Loader`."""

    def __init__(self, guard: Guard, loader: Loader) -> None:
        self._guard = guard
        self._loader = loader

    def __call__(
        self, backend: Backend, builders: Sequence[Buffer], encoding: Encoding,
        options: GraphOptions, origin: Origin,
    ) -> Graph:  # fmt: skip
        """Load a model. Raises: also RuntimeFailure if it is quarantined."""
        name = origin.name or f"of a guest {origin.digest[:12]}"
        subject = Subject(Kind.MODEL, name, origin.digest[:64])
        sentence = self._guard.quarantine.sentence(subject)
        if sentence is not None:
            raise RuntimeFailure(sentence.reason)
        marked = MarkedBackend(self._guard, backend, subject)
        return self._loader(marked, builders, encoding, options, origin)


class MarkedBackend:
    """A backend whose graphs are marked; else just as it is."""

    def __init__(self, guard: Guard, backend: Backend, subject: Subject) -> None:
        self._guard = guard
        self._backend = backend
        self._subject = subject
        self.name = backend.name
        self.encodings = backend.encodings

    def probe(self) -> BackendInfo:
        """See `Backend.probe`."""
        return self._backend.probe()

    def load(self, builders: Sequence[Buffer], encoding: Encoding, options: GraphOptions) -> Graph:
        """See `Backend.load`."""
        text = text_of(self._subject.name, self._subject.version)
        turn = self._guard.turn_of(self._subject)
        with turn:
            slot = self._guard.marks.begin(Doing.LOAD, text)
            try:
                graph = self._backend.load(builders, encoding, options)
            finally:
                self._guard.marks.end(slot)
        return MarkedGraph(graph, self._guard.marks, text, turn)


class MarkedGraph:
    """A graph whose runs are marked."""

    def __init__(self, graph: Graph, marks: Marks, text: bytes, turn: _Turn) -> None:
        # Plain attributes: they are asked for a dozen times about every frame.
        self.inputs = graph.inputs
        self.outputs = graph.outputs
        self.batch_axis = graph.batch_axis
        self.device = graph.device
        self._graph = graph
        self._marks = marks
        self._text = text
        self._turn = turn

    def __repr__(self) -> str:
        return repr(self._graph)

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """See `Graph.run`."""
        with self._turn:
            slot = self._marks.begin(Doing.RUN, self._text)
            try:
                return self._graph.run(inputs)
            finally:
                self._marks.end(slot)

    def close(self) -> None:
        """See `Graph.close`."""
        self._graph.close()
