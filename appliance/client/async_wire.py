"""The asynchronous I/O of a client: `wire.py`, for an event loop (asyncio or trio)."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from types import TracebackType
from typing import BinaryIO, Self, TypeVar

import anyio
import httpx

from appliance.client import routes
from appliance.client.address import Address, Patience
from appliance.client.errors import unanswered
from appliance.client.following import Event, Following, OnBreak
from appliance.client.routes import Call, Watched
from appliance.errors import ApplianceError, Unavailable

T = TypeVar("T")

# Each is a hop to a thread.
_PIECE_BYTES = 1024 * 1024


class AsyncWire:
    """Connections to one box. Tasks of one loop may share it."""

    def __init__(self, address: Address, patience: Patience) -> None:
        self.patience = patience
        self._shown = address.shown
        self._http = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=address.socket_path, verify=address.trust()),
            base_url=address.base_url,
            headers=address.headers,
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def ask(self, call: Call[T]) -> T:
        """Send a request and read its answer. Raises: Refused, Unavailable."""
        bounds = self.patience.bounds_of(call)
        request = call.request
        if call.content is not None and not isinstance(call.content, bytes):
            request["content"] = _pieces(call.content)
        try:
            response = await self._http.request(**request, timeout=bounds)
        except httpx.HTTPError as exc:
            raise unanswered(exc, self._shown) from exc
        return routes.answer_of(call, response)

    @asynccontextmanager
    async def opened(self, call: Call[None]) -> AsyncIterator[httpx.Response]:
        """Send a request whose answer is read as it comes, inside the block."""
        try:
            bounds = self.patience.bounds(self.patience.silence_s)
            async with self._http.stream(**call.request, timeout=bounds) as response:
                if not response.is_success:
                    await response.aread()
                routes.answer_of(call, response)
                yield response
        except httpx.HTTPError as exc:
            raise unanswered(exc, self._shown) from exc


async def _pieces(file: BinaryIO) -> AsyncIterator[bytes]:
    """Read a file beside the loop."""
    while piece := await anyio.to_thread.run_sync(file.read, _PIECE_BYTES):
        yield piece


class AsyncStream:
    """Predictions as they come; iterate in an `async with`.

    One task iterates. Any task may close, which ends the iteration.
    """

    def __init__(
        self, wire: AsyncWire, filters: Watched, following: Following, on_break: OnBreak | None
    ) -> None:
        self._wire = wire
        self._filters = filters
        self._following = following
        self._on_break = on_break
        self._is_closed = False
        self._step: anyio.CancelScope | None = None
        self._events = self._mended()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        if not self._is_closed:
            with anyio.CancelScope() as self._step:
                await self._begin()
                return await anext(self._events)
        raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        await self._begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()
        await self._events.aclose()

    def close(self) -> None:
        """End the iteration, also one that waits in another task."""
        self._is_closed = True
        if self._step is not None:
            self._step.cancel()

    async def _begin(self) -> None:
        """Find out what is the newest prediction, so that even a break right now loses none."""
        if self._following.after is None:
            self._following.after = await self._wire.ask(routes.newest())

    async def _mended(self) -> AsyncGenerator[Event, None]:
        while True:
            try:
                async with aclosing(self._connection()) as events:
                    async for event in events:
                        yield event
                raise Unavailable("the appliance ended the stream")
            except ApplianceError as exc:
                pause_s = self._following.pause_s(exc)
                if self._on_break is not None:
                    self._on_break(exc)
                await anyio.sleep(pause_s)

    async def _connection(self) -> AsyncGenerator[Event, None]:
        call = routes.stream(self._filters, self._following.after)
        async with self._wire.opened(call) as response:
            self._following.open()
            async for chunk in response.aiter_bytes():
                for event in self._following.feed(chunk):
                    yield event
