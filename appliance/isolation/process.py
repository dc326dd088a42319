"""A worker as the box sees it: started, asked, and ended whatever it does."""

import contextlib
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from appliance.isolation import wire
from appliance.isolation.arena import Arena, Place
from appliance.isolation.blobs import write_blobs
from wasi_nn.backend import Buffer, Device, Encoding, GraphOptions
from wasi_nn.errors import NNError, RuntimeFailure
from wasi_nn.tensor import Array, TensorSpec

log = logging.getLogger(__name__)

# Importing a runtime takes up to a second here, loading a large model tens of them.
LOAD_TIMEOUT_S = 120.0
_END_S = 5.0


class WorkerDied(RuntimeFailure):
    """The process ended or had to be ended; what it was doing is lost."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a worker may use. run_s: of one run.   memory_bytes: of its own, besides tensors."""

    run_s: float = 30.0
    memory_bytes: int = 2 * 1024**3


@dataclass(frozen=True, slots=True)
class Described:
    """A graph, as its worker describes it."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    batch_axis: int | None
    device: Device


class Model:
    """A model's bytes in memory that a worker can read; kept, so that another can be started."""

    def __init__(
        self, backend: str, builders: Sequence[Buffer], encoding: Encoding, options: GraphOptions
    ) -> None:
        self.backend = backend
        self.fd = os.memfd_create("appliance-model", os.MFD_CLOEXEC)
        try:
            write_blobs(self.fd, builders)
        except OSError as exc:
            os.close(self.fd)
            raise RuntimeFailure(f"no memory for the model: {exc}") from exc
        self.request = {
            "load": wire.options_to_json(options),
            "encoding": encoding.value,
            "sizes": [len(builder) for builder in builders],
        }

    def close(self) -> None:
        os.close(self.fd)


class Channel:
    """One run at a time, on a socket and an arena of its own."""

    def __init__(self, control: socket.socket, timeout_s: float) -> None:
        self._end, theirs = wire.pair()
        self._arena = Arena.create()
        self._end.settimeout(timeout_s)
        with theirs:
            wire.send(control, {"open": True}, [theirs.fileno(), self._arena.fd])

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Compute in the worker. Raises: what the graph raised; OSError, EOFError, ValueError."""
        places = self._arena.put(inputs)
        wire.send(self._end, {"run": [place.to_json() for place in places]})
        answer, fds = wire.receive(self._end)
        _close_all(fds)
        if "outputs" not in answer:
            raise wire.error_from_json(answer.get("error"))
        if not isinstance(answer["outputs"], list):
            raise ValueError("outputs that are no list")
        views = self._arena.views([Place.from_json(value) for value in answer["outputs"]])
        # A copy: the next run overwrites the arena, and a worker could change it any time.
        return [view.copy() for view in views]

    def close(self) -> None:
        self._end.close()
        self._arena.close()


class Worker:
    """A process that holds one graph; `described` says which.

    Raises: what the load raised; WorkerDied if the process ended or took too long.
    """

    def __init__(self, model: Model, bounds: Bounds) -> None:
        self._bounds = bounds
        self._lock = threading.Lock()
        self._idle: list[Channel] = []
        self._is_over = False
        self._control, theirs = wire.pair()
        with theirs:
            self._process = subprocess.Popen(
                [
                    sys.executable, "-m", "appliance.isolation.worker", model.backend,
                    str(theirs.fileno()), str(bounds.memory_bytes),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )  # fmt: skip
        try:
            self.described = self._load(model)
        except BaseException:
            self.end()
            raise

    def _load(self, model: Model) -> Described:
        self._control.settimeout(LOAD_TIMEOUT_S)
        try:
            wire.send(self._control, model.request, [model.fd])
            answer, fds = wire.receive(self._control)
            _close_all(fds)
            if "graph" not in answer:
                raise wire.error_from_json(answer.get("error"))
            return _described(answer["graph"])
        except (OSError, EOFError, ValueError) as exc:
            raise self._died("loading the model", exc) from exc

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone, for whatever reason."""
        return self._process.poll() is not None

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Compute. Raises: what the graph raised; WorkerDied, and then this worker is over."""
        try:
            channel = self._take()
        except OSError as exc:
            raise self._died("computing", exc) from exc
        try:
            outputs = channel.run(inputs)
        except NNError:
            self._give_back(channel)
            raise
        except (OSError, EOFError, ValueError) as exc:
            channel.close()
            raise self._died("computing", exc) from exc
        self._give_back(channel)
        return outputs

    def _take(self) -> Channel:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return Channel(self._control, self._bounds.run_s)

    def _give_back(self, channel: Channel) -> None:
        with self._lock:
            if not self._is_over:
                self._idle.append(channel)
                return
        channel.close()

    def _died(self, doing: str, cause: BaseException) -> WorkerDied:
        """Say how it ended; one that hangs or talks nonsense is ended here."""
        if isinstance(cause, TimeoutError):
            how = "did not answer in time and was stopped"
        elif isinstance(cause, ValueError):
            how = "gave an answer that is none and was stopped"
        else:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_S)
            status = self._process.returncode
            how = "was stopped" if status is None else f"ended with status {status}"
            if status is not None and status < 0:
                how = f"was ended by signal {-status}"
        self.end()
        log.warning("model's process lost while=%s how=%s", doing, how)
        return WorkerDied(f"the model's own process {how} while {doing}")

    def end(self) -> None:
        """End the process, at once."""
        self._process.kill()
        self._process.wait()
        self._control.close()
        with self._lock:
            self._is_over = True
            channels, self._idle = self._idle, []
        for channel in channels:
            channel.close()


def _described(value: Any) -> Described:
    match value:
        case {
            "inputs": list() as inputs, "outputs": list() as outputs,
            "batch_axis": 0 | None as batch_axis, "device": str() as device,
        }:  # fmt: skip
            return Described(
                tuple(map(wire.spec_from_json, inputs)), tuple(map(wire.spec_from_json, outputs)),
                batch_axis, Device(device),
            )  # fmt: skip
    raise ValueError("not a graph")


def _close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
