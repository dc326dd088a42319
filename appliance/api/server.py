"""Serving: uvicorn over our listeners and protocol, from the first answer to an orderly stop.

The box starts while the server answers already, with 503: a client that comes early is told so
instead of waiting. The stop: /readyz says 503 and lasting streams are told; for the settle time all
else goes on; then nobody new is let in and what is under way may finish, up to the grace period;
what is left is cut off, which ends its guests.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol as Interface

import anyio.to_thread
import uvicorn
from starlette.types import ASGIApp

from appliance.api.listeners import Listener
from appliance.api.protocol import Protocol
from appliance.api.shell import VITAL
from appliance.api.warm import WarmThreads
from appliance.readiness import Readiness
from appliance.settings import Settings

log = logging.getLogger(__name__)

_TLS_HANDSHAKE_S = 10.0
# After the grace period, for guests to notice that nobody waits for them: an epoch is 10 ms.
_CUT_S = 2.0


class Serveable(Interface):
    """A box, as it is started and stopped here."""

    @property
    def readiness(self) -> Readiness: ...
    @property
    def settings(self) -> Settings: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Serving:
    """What is served where.

    on_ready: called once, when the box has come up.
    on_beat: called every second in the loop's thread until the stop begins.
    on_closed: called when nobody new is let in any more.
    """

    api: ASGIApp
    listeners: tuple[Listener, ...]
    on_ready: Callable[[], None]
    on_beat: Callable[[], None] = lambda: None
    on_closed: Callable[[], None] = lambda: None


class Server(uvicorn.Server):
    """Serves one box; `run` returns when it has been stopped, in order."""

    def __init__(self, box: Serveable, serving: Serving) -> None:
        settings = box.settings
        config = uvicorn.Config(
            serving.api, loop="uvloop", http=Protocol, log_config=None, access_log=False,
            lifespan="off", server_header=False, ws="none", proxy_headers=False,
            timeout_keep_alive=max(1, round(settings.http.keep_alive_s)),
        )  # fmt: skip
        super().__init__(config)
        self._box = box
        self._serving = serving
        self._has_to_stop = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._failure: BaseException | None = None
        self._is_up = False

    def serve_until_stopped(self) -> None:
        """Start the box, serve it, stop it. Raises: whatever its start raised."""
        try:
            self.run()
        finally:
            if self._is_up:
                self._box.stop()
        if self._failure is not None:
            raise self._failure

    def stop_soon(self) -> None:
        """Begin the stop; from any thread and from a signal handler, at any time."""
        self.should_exit = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # closed: it has stopped
                self._loop.call_soon_threadsafe(self._has_to_stop.set)

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
        """Leave signals to whoever runs us: they count before and after serving, too."""
        return contextlib.nullcontext()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        http = self._box.settings.http
        # Each request under way may hold one, and the vital questions some more.
        limiter = anyio.to_thread.current_default_thread_limiter()
        limiter.total_tokens = http.max_requests + len(VITAL)
        # Of hot routes; threads are started when needed.
        self._loop.set_default_executor(WarmThreads(http.max_requests, "request"))

        def connect() -> Protocol:
            return Protocol(self.config, self.server_state, http)

        self.servers = []
        await self.on_tick(0)
        for listener in self._serving.listeners:
            if listener.is_local:
                server = await self._loop.create_unix_server(connect, sock=listener.socket)
            elif listener.tls is None:
                server = await self._loop.create_server(connect, sock=listener.socket)
            else:
                server = await self._loop.create_server(
                    connect, sock=listener.socket, ssl=listener.tls,
                    ssl_handshake_timeout=_TLS_HANDSHAKE_S,
                )  # fmt: skip
            self.servers.append(server)
        self.started = True

    async def main_loop(self) -> None:
        starting = asyncio.create_task(asyncio.to_thread(self._start), name="start")
        counter = 0
        while not self.should_exit:
            self._serving.on_beat()
            # Every second, for the date in the answers.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._has_to_stop.wait(), 1.0)
            counter += 10
            await self.on_tick(counter)
        # A start is not torn in half.
        while not starting.done():
            self._serving.on_beat()
            await asyncio.wait({starting}, timeout=1.0)
        await starting
        self._box.readiness.stop()
        if self._is_up and self._failure is None:
            await asyncio.sleep(self._box.settings.stop_settle_s)

    def _start(self) -> None:
        try:
            if not self.should_exit:
                self._box.start()
                self._is_up = True
                self._serving.on_ready()
        except BaseException as exc:
            self._failure = exc
            self.stop_soon()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        self._serving.on_closed()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        if await self._end(self._box.settings.stop_grace_s):
            return
        log.warning("requests cut off at the stop count=%d", len(self.server_state.tasks))
        for connection in list(self.server_state.connections):
            # The routes see that the client has gone, and end the guest.
            connection.transport.abort()
        await self._end(_CUT_S)

    async def _end(self, within_s: float) -> bool:
        """Wait for what is under way. Returns: whether it has ended."""
        if not self.server_state.tasks:
            return True
        _, left = await asyncio.wait(self.server_state.tasks, timeout=within_s)
        return not left
