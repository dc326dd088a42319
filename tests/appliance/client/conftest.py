"""The two clients as one, so that every test holds for both."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from appliance.client import AsyncClient, Client, Event, Patience
from tests.appliance.client.peer import Peer

Call = Callable[..., Any]
Take = Callable[..., list[Event]]

# Streams are resumed at once, and a peer that says nothing is dead soon.
HASTY = Patience(retry_first_s=0.01, retry_max_s=0.05)


@pytest.fixture(params=["blocking", "asynchronous"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which client."""
    return str(request.param)


@pytest.fixture
def call(kind: str) -> Call:
    """Open a client, call one method by name, close it."""

    def blocking(where: Path | str, method: str, *arguments: Any, **named: Any) -> Any:
        with Client(where, patience=named.pop("patience", HASTY)) as box:
            return getattr(box, method)(*arguments, **named)

    async def asynchronous(where: Path | str, method: str, *arguments: Any, **named: Any) -> Any:
        async with AsyncClient(where, patience=named.pop("patience", HASTY)) as box:
            return await getattr(box, method)(*arguments, **named)

    def call_async(*arguments: Any, **named: Any) -> Any:
        async def run() -> Any:
            with anyio.fail_after(60):
                return await asynchronous(*arguments, **named)

        return anyio.run(run)

    return blocking if kind == "blocking" else call_async


@pytest.fixture
def take(kind: str) -> Take:
    """Open a stream, do something once it is open, and take so many of its events.

    meanwhile: called with the events so far after each one, and first with none of them.
    """

    def blocking(where: Path, count: int, meanwhile: Call, **filters: Any) -> list[Event]:
        taken: list[Event] = []
        with (
            Client(where, patience=filters.pop("patience", HASTY)) as box,
            box.stream(**filters) as stream,
        ):
            meanwhile(taken)
            for event in stream:
                taken.append(event)
                if len(taken) == count:
                    break
                meanwhile(taken)
        return taken

    async def asynchronous(where: Path, count: int, meanwhile: Call, **filters: Any) -> list[Event]:
        taken: list[Event] = []
        async with (
            AsyncClient(where, patience=filters.pop("patience", HASTY)) as box,
            box.stream(**filters) as stream,
        ):
            meanwhile(taken)
            async for event in stream:
                taken.append(event)
                if len(taken) == count:
                    break
                meanwhile(taken)
        return taken

    def take_async(*arguments: Any, **named: Any) -> list[Event]:
        async def run() -> list[Event]:
            with anyio.fail_after(60):
                return await asynchronous(*arguments, **named)

        return anyio.run(run)

    return blocking if kind == "blocking" else take_async


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Peer]:
    """A server that says what the test wants, on `peer.socket`."""
    with Peer(tmp_path / "s") as started:
        yield started
