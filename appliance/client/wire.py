"""The blocking I/O of a client: one request and its answer, and a stream that mends itself."""

import contextlib
import socket
import threading
from collections.abc import Generator, Iterator
from types import TracebackType
from typing import Self, TypeVar

import httpx

from appliance.client import routes
from appliance.client.address import Address, Patience
from appliance.client.errors import unanswered
from appliance.client.following import Event, Following, OnBreak
from appliance.client.routes import Call, Watched
from appliance.errors import ApplianceError, Unavailable

T = TypeVar("T")


class Wire:
    """Connections to one box. Threads may share it."""

    def __init__(self, address: Address, patience: Patience) -> None:
        self.patience = patience
        self._shown = address.shown
        self._http = httpx.Client(
            transport=httpx.HTTPTransport(uds=address.socket_path, verify=address.trust()),
            base_url=address.base_url,
            headers=address.headers,
        )

    def close(self) -> None:
        self._http.close()

    def ask(self, call: Call[T]) -> T:
        """Send a request and read its answer. Raises: Refused, Unavailable."""
        try:
            response = self._http.request(**call.request, timeout=self.patience.bounds_of(call))
        except httpx.HTTPError as exc:
            raise unanswered(exc, self._shown) from exc
        return routes.answer_of(call, response)

    @contextlib.contextmanager
    def opened(self, call: Call[None]) -> Iterator[httpx.Response]:
        """Send a request whose answer is read as it comes, inside the block."""
        try:
            bounds = self.patience.bounds(self.patience.silence_s)
            with self._http.stream(**call.request, timeout=bounds) as response:
                if not response.is_success:
                    response.read()
                routes.answer_of(call, response)
                yield response
        except httpx.HTTPError as exc:
            raise unanswered(exc, self._shown) from exc


class Stream:
    """Predictions as they come; iterate, and close it or use it in a `with`.

    One thread iterates. Any thread may close, which ends the iteration.
    """

    def __init__(
        self, wire: Wire, filters: Watched, following: Following, on_break: OnBreak | None
    ) -> None:
        self._wire = wire
        self._filters = filters
        self._following = following
        self._on_break = on_break
        self._closed = threading.Event()
        self._socket: socket.socket | None = None
        self._events = self._mended()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        return next(self._events)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()
        # Not in close(), where another thread may be inside.
        self._events.close()

    def close(self) -> None:
        """End the iteration, also one that waits in another thread."""
        self._closed.set()
        connected = self._socket
        if connected is not None:
            # Closing would leave a thread that reads it waiting. OSError: the box was faster.
            with contextlib.suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)

    def _mended(self) -> Generator[Event, None, None]:
        while not self._closed.is_set():
            try:
                yield from self._connection()
                raise Unavailable("the appliance ended the stream")
            except ApplianceError as exc:
                if self._closed.is_set():
                    return
                pause_s = self._following.pause_s(exc)
                if self._on_break is not None:
                    self._on_break(exc)
                self._closed.wait(pause_s)

    def _connection(self) -> Iterator[Event]:
        call = routes.stream(self._filters, self._following.after)
        with self._wire.opened(call) as response:
            self._socket = response.extensions["network_stream"].get_extra_info("socket")
            if self._closed.is_set():  # before there was a socket to shut down
                return
            self._following.open()
            for chunk in response.iter_bytes():
                yield from self._following.feed(chunk)
