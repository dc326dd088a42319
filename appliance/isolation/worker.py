"""The worker's process: loads one model and runs it for the box, until the box goes.

    python -m appliance.isolation.worker BACKEND SOCKET_FD MAX_MEMORY_BYTES

One thread for each channel the box opens, so that as many runs go side by side as the box wants.
"""

import logging
import os
import resource
import signal
import socket
import sys
import threading
from typing import Any

from appliance.isolation import wire
from appliance.isolation.arena import MAX_ARENA_BYTES, Arena, Place
from appliance.isolation.blobs import read_blobs
from wasi_nn.backend import Backend, Graph
from wasi_nn.backends import all_backends
from wasi_nn.backends.fake import FakeBackend
from wasi_nn.errors import NNError, RuntimeFailure

log = logging.getLogger(__name__)


def main(arguments: list[str]) -> None:
    """Serve one box."""
    name, fd, max_memory_bytes = arguments[0], int(arguments[1]), int(arguments[2])
    _bound(max_memory_bytes)
    # Ctrl-C goes to every process of a terminal; ours ends with its box, by the socket.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = socket.socket(fileno=fd)
    graph: Graph | None = None
    while True:
        try:
            message, fds = wire.receive(control)
        except (EOFError, OSError):
            # At once: runs under way are for nobody, and a runtime's own clean-up may hang.
            os._exit(0)
        if "load" in message:
            graph = _load(name, message, fds, control)
        else:
            assert graph is not None, "the box loads first"
            channel, arena = socket.socket(fileno=fds[0]), Arena(fds[1])
            threading.Thread(target=_serve, args=(graph, channel, arena), daemon=True).start()


def _bound(max_memory_bytes: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        max_memory_bytes = min(max_memory_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (max_memory_bytes, max_memory_bytes))
    # Also what it may make of an arena, which counts for nobody's data.
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_ARENA_BYTES, MAX_ARENA_BYTES))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    # A crash is expected here; its core would fill the box's disk.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _backend(name: str) -> Backend:
    backends: tuple[Backend, ...] = (*all_backends(), FakeBackend())
    return next(backend for backend in backends if backend.name == name)


def _load(name: str, message: dict[str, Any], fds: list[int], control: socket.socket) -> Graph:
    """Load the model and tell; a process that could not has nothing left to do."""
    try:
        # The runtimes copy what they keep.
        parts = read_blobs(fds[0], message["sizes"])
        graph = _backend(name).load(
            parts, wire.encoding_of(message["encoding"]), wire.options_from_json(message["load"])
        )
    except NNError as exc:
        wire.send(control, {"error": wire.error_to_json(exc)})
        os._exit(0)
    wire.send(
        control,
        {
            "graph": {
                "inputs": [wire.spec_to_json(spec) for spec in graph.inputs],
                "outputs": [wire.spec_to_json(spec) for spec in graph.outputs],
                "batch_axis": graph.batch_axis,
                "device": graph.device.value,
            }
        },
    )
    return graph


def _serve(graph: Graph, channel: socket.socket, arena: Arena) -> None:
    """Run for one channel until the box closes it."""
    while True:
        try:
            message, _ = wire.receive(channel)
        except (EOFError, OSError):
            channel.close()
            arena.close()
            return
        wire.send(channel, _run(graph, arena, message))


def _run(graph: Graph, arena: Arena, message: dict[str, Any]) -> dict[str, Any]:
    try:
        places = [Place.from_json(value) for value in message["run"]]
        outputs = graph.run(arena.views(places))
        end = max((place.offset + place.size_bytes for place in places), default=0)
        return {"outputs": [place.to_json() for place in arena.put(outputs, end)]}
    except NNError as exc:
        return {"error": wire.error_to_json(exc)}
    except Exception as exc:
        # The channel's outermost frame.
        log.exception("run failed")
        return {"error": wire.error_to_json(RuntimeFailure(f"compute: {type(exc).__name__}"))}


if __name__ == "__main__":
    main(sys.argv[1:])
