"""The gRPC server: its socket, its threads, its bounds, and how it ends.

Threads, not asyncio: an inference blocks, and on the thread that read it it begins at once.
Measured over a Unix socket, an empty method: p50 0.28 to 0.36 ms with threads, 0.32 to 0.57 ms
with grpc.aio and an executor.

The HTTP socket is bound first and is the lock of the state folder; this one is beside it.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Self

import grpc

from appliance.api.rpc.service import MAX_INFERS, Service
from appliance.api.rpc.streams import MAX_STREAMS
from appliance.api.server import Serveable
from appliance.api.socket import clear_way, closed_umask, set_rights
from appliance.api.warm import WarmThreads
from appliance.errors import Unavailable
from appliance.settings import Settings

log = logging.getLogger(__name__)

# Beside inferences and streams: what is answered at once, such as a probe of a box that is full.
_SPARE = 16
MAX_CALLS = MAX_INFERS + MAX_STREAMS + _SPARE


class RpcServer:
    """A server on the box's gRPC socket, in order: `bound`, and inside it `start` and `stop`."""

    def __init__(self, settings: Settings, service: Service) -> None:
        self._settings = settings
        self._service = service
        self._threads = WarmThreads(MAX_CALLS, "grpc")
        # What is over the bound is refused at once, with RESOURCE_EXHAUSTED.
        self._server = grpc.server(
            self._threads, options=_options(settings), maximum_concurrent_rpcs=MAX_CALLS
        )
        self._server.add_generic_rpc_handlers(tuple(
            grpc.method_handlers_generic_handler(name, methods)
            for name, methods in service.handlers().items()
        ))  # fmt: skip

    @contextmanager
    def bound(self) -> Iterator[Self]:
        """Open the socket with its rights; it is removed when the block ends.

        Enter it before other threads are started, as the umask is the whole process's. Who
        connects before `start` waits.
        Raises: Conflict if somebody answers there; Unavailable if the place or group is not to
        be had.
        """
        path = self._settings.grpc_socket_path
        clear_way(path)
        try:
            try:
                with closed_umask():
                    self._server.add_insecure_port(f"unix:{path}")
                set_rights(path, self._settings)
            except (OSError, KeyError, RuntimeError) as exc:
                raise Unavailable(f"socket {path.name}: cannot be opened: {exc}") from exc
            yield self
        finally:
            self._stop(0)
            # On a disk that has become read-only it stays, for the next start to remove.
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def start(self) -> None:
        """Answer calls."""
        self._server.start()
        log.info("grpc started socket=%s", self._settings.grpc_socket_path.name)

    def refuse(self) -> None:
        """Refuse new calls, with UNAVAILABLE; what is under way goes on. Does not wait."""
        self._server.stop(self._settings.stop_grace_s)

    def stop(self) -> None:
        """Refuse new calls and return when the others have ended, within the grace period."""
        self._stop(self._settings.stop_grace_s)

    def _stop(self, grace_s: float) -> None:
        # What is left after it is cancelled.
        self._server.stop(grace_s).wait()
        self._service.streams.close()
        self._threads.shutdown()


class BoxWithRpc:
    """A box and its gRPC, started and stopped as one."""

    def __init__(self, box: Serveable, rpc: RpcServer) -> None:
        self._box = box
        self._rpc = rpc
        self.readiness = box.readiness
        self.settings = box.settings

    def start(self) -> None:
        """Start the box, then answer."""
        self._box.start()
        self._rpc.start()
        # In the settle time nobody is refused; then gRPC ends after HTTP.
        if not self.settings.stop_settle_s:
            self.readiness.on_stopping(self._rpc.refuse)

    def stop(self) -> None:
        """Finish the calls, then stop the box that answers them."""
        self._rpc.stop()
        self._box.stop()


def _options(settings: Settings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.max_body_bytes),
        # A model's answer is as large as the model says.
        ("grpc.max_send_message_length", -1),
        # Clients that ask often whether the line stands are not sent away: it is a local socket.
        ("grpc.http2.max_ping_strikes", 0),
    ]
