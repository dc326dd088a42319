"""Predictions as they come: Server-Sent Events, or NDJSON.

    id: 17                          {"id":17,"app":...}
    event: prediction
    data: {"id":17,"app":...}

    event: lost                     {"lost":3}
    data: {"lost":3}

    : keep-alive                    (an empty line)

Guarantees:
1. A stream that begins after an id first gives what the store has after it, then what comes,
   without a gap and without a double. (What retention deleted meanwhile is gone.)
2. A reader who is too slow loses the oldest and is told how many, where they are missing.
3. The first bytes say that whatever is predicted from then on will be in the stream.
4. When the box stops, a stream ends in order.

What has no id was not stored (the disk is full): it is in no replay. A stream takes no thread.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from appliance.api.tables import NDJSON, json_of
from appliance.errors import Unavailable
from appliance.feed import Feed, News, Subscription
from appliance.records import Prediction
from appliance.store import PredictionQuery, PredictionStore

log = logging.getLogger(__name__)

SSE = "text/event-stream"
KEEP_ALIVE_S = 15.0
_PAGE_ROWS = 500
_PIECE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Form:
    """How a stream looks. opening: says that it has begun."""

    media_type: str
    opening: bytes
    keep_alive: bytes
    prediction: Callable[[Prediction], bytes]
    lost: Callable[[int], bytes]


def _event(prediction: Prediction) -> bytes:
    # Without an id the reader keeps that of the event before, and resumes from there.
    identity = b"" if prediction.id is None else b"id: %d\n" % prediction.id
    return b"%sevent: prediction\ndata: %s\n\n" % (identity, json_of(prediction))


FORMS = {
    SSE: Form(
        # A browser that lost the box asks again after so many milliseconds.
        SSE, b"retry: 2000\n\n", b": keep-alive\n\n", _event,
        lambda count: b'event: lost\ndata: {"lost": %d}\n\n' % count,
    ),
    NDJSON: Form(
        NDJSON, b"\n", b"\n",
        lambda prediction: json_of(prediction) + b"\n",
        lambda count: b'{"lost": %d}\n' % count,
    ),
}  # fmt: skip


async def open_stream(
    feed: Feed, store: PredictionStore, query: PredictionQuery, after: int | None, form: Form
) -> StreamingResponse:
    """Begin a stream.

    query: which; its cursors do not matter.   after: an id to resume from, exclusive.
    Raises: Unavailable if there are too many streams, the box stops or the disk fails.
    """
    if after is not None:
        # An id that was never given is one of a file since set aside: nothing to resume from.
        after = min(after, await run_in_threadpool(store.newest_id))
    loop, awake = asyncio.get_running_loop(), asyncio.Event()

    def notify() -> None:
        # The loop is closed only when the box has stopped, and nobody reads any more.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(awake.set)

    subscription = feed.subscribe(query, notify)
    reading = _Reading(subscription, awake, store, query, form)
    return _Answer(reading.pieces(after), form.media_type, subscription.close)


class _Answer(StreamingResponse):
    """Gives the subscription back however it ends."""

    def __init__(
        self, pieces: AsyncIterator[bytes], media_type: str, close: Callable[[], None]
    ) -> None:
        super().__init__(
            pieces, media_type=media_type,
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )  # fmt: skip
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._close()


class _Reading:
    """One stream under way."""

    def __init__(
        self, subscription: Subscription, awake: asyncio.Event, store: PredictionStore,
        query: PredictionQuery, form: Form,
    ) -> None:  # fmt: skip
        self._subscription = subscription
        self._awake = awake
        self._store = store
        self._query = query
        self._form = form
        # The last id that the store gave; what comes live up to it came already.
        self._last = 0

    async def pieces(self, after: int | None) -> AsyncIterator[bytes]:
        """Give the body."""
        yield self._form.opening
        try:
            if after is not None:
                async for piece in self._replay(after):
                    yield piece
        except Unavailable as exc:
            # The reader comes back and resumes.
            log.warning("stream ended reason=%s", exc)
            return
        async for piece in self._live():
            yield piece

    async def _replay(self, after: int) -> AsyncIterator[bytes]:
        """Give what is stored until nothing is missing before what the subscription holds."""
        self._last = after
        is_behind = True
        while is_behind:
            # All of it is in the store, and will be read now.
            self._subscription.take()
            page = await self._page()
            while page:
                for piece in _pieces(map(self._form.prediction, page)):
                    yield piece
                page = await self._page() if len(page) == _PAGE_ROWS else []
            # A reader so slow that he lost something meanwhile reads on from the store.
            is_behind = self._subscription.has_lost

    async def _page(self) -> list[Prediction]:
        page = await run_in_threadpool(
            self._store.query,
            replace(self._query, after_id=self._last, oldest_first=True, limit=_PAGE_ROWS),
        )
        if page:
            self._last = page[-1].id or self._last
        return page

    async def _live(self) -> AsyncIterator[bytes]:
        while True:
            # Before taking: whoever comes after that sets it again.
            self._awake.clear()
            taken = self._subscription.take()
            if taken.lost:
                yield self._form.lost(taken.lost)
            for piece in _pieces(self._written(taken.news)):
                yield piece
            if taken.is_end:
                return
            try:
                async with asyncio.timeout(KEEP_ALIVE_S):
                    await self._awake.wait()
            except TimeoutError:
                yield self._form.keep_alive

    def _written(self, news: Iterable[News]) -> Iterator[bytes]:
        key, write = self._form.media_type, self._form.prediction
        for one in news:
            if one.prediction.id is not None and one.prediction.id <= self._last:
                continue
            if key not in one.forms:
                one.forms[key] = write(one.prediction)
            yield one.forms[key]


def _pieces(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Join lines to pieces that are worth sending, and bounded."""
    piece = bytearray()
    for line in lines:
        piece += line
        if len(piece) >= _PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)
