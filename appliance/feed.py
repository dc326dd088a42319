"""The live feed: what was just predicted, to everybody who listens.

The store publishes what it has committed, in the order of ids and each once: a listener who reads
the database after subscribing, and then takes from here what has a higher id, has all of it. What
the disk refused is published by the pipeline, without an id: people who watch want to see that
inference goes on, and what has no id cannot be resumed from anyway.

Guarantees:
1. Publishing waits for nobody. A subscriber who does not take loses the oldest, and is told how
   many with what he takes next.
2. Only what a subscriber asked for takes up his room, and only that is counted as lost.
3. After `close` every subscriber gets what is left, and then that it is the end.

No asyncio in here: a subscriber is told by a callback and takes when it likes, from any thread.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from appliance.errors import Unavailable
from appliance.records import Prediction
from appliance.store.query import PredictionQuery

log = logging.getLogger(__name__)

# Half a minute of a box at 30 predictions/s. Shared by all who listen, so it costs little.
KEPT = 1000
_RETRY_AFTER_S = 5.0


@dataclass(slots=True, eq=False)
class News:
    """A prediction, and its forms on the wire: made by the first who needs one, for all."""

    prediction: Prediction
    forms: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Taken:
    """What came since the last time. lost: that came before these and was dropped.

    is_end: nothing will come any more.
    """

    news: tuple[News, ...]
    lost: int
    is_end: bool


@dataclass(frozen=True, slots=True)
class FeedStatistics:
    """subscribers: now; published, lost, refused: since the start."""

    subscribers: int
    published: int
    lost: int
    refused: int


class Subscription:
    """One listener; leave its `with`, or close it, when done."""

    def __init__(
        self, feed: "Feed", query: PredictionQuery, notify: Callable[[], None], kept: int
    ) -> None:
        self._feed = feed
        self._query = query
        self._notify = notify
        self._lock = threading.Lock()
        self._news: deque[News] = deque(maxlen=kept)
        self._lost = 0
        self._is_end = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.close()

    def close(self) -> None:
        """Listen no more; a second call does nothing."""
        self._feed.remove(self)

    def take(self) -> Taken:
        """Take all that came; perhaps nothing."""
        with self._lock:
            taken = Taken(tuple(self._news), self._lost, self._is_end)
            self._news.clear()
            self._lost = 0
        return taken

    @property
    def has_lost(self) -> bool:
        """Tell whether something was dropped since the last time."""
        return self._lost > 0

    def offer(self, news: Sequence[News]) -> int:
        """Keep what was asked for. Returns: how many were dropped for it. For the feed."""
        wanted = [one for one in news if self._query.matches(one.prediction)]
        if not wanted:
            return 0
        with self._lock:
            was_empty = not self._news
            kept = self._news.maxlen or 0
            dropped = max(0, len(self._news) + len(wanted) - kept)
            self._news.extend(wanted)
            self._lost += dropped
        # Who has not yet taken what was there knows already.
        if was_empty:
            self._notify()
        return dropped

    def end(self) -> None:
        """Say that nothing will come any more. For the feed."""
        with self._lock:
            self._is_end = True
        self._notify()


class Feed:
    """Everybody who listens.

    max_subscribers: more are refused.   kept: predictions kept for one who is slow.
    """

    def __init__(self, *, max_subscribers: int, kept: int = KEPT) -> None:
        self._max_subscribers = max_subscribers
        self._kept = kept
        self._lock = threading.Lock()
        # Replaced, never changed: publishing takes no lock for it.
        self._subscriptions: tuple[Subscription, ...] = ()
        self._is_closed = False
        self._counts = {"published": 0, "lost": 0, "refused": 0}

    def publish(self, predictions: Sequence[Prediction]) -> None:
        """Give predictions to all who asked for them; never waits, never raises."""
        subscriptions = self._subscriptions
        lost = 0
        if subscriptions:
            news = [News(prediction) for prediction in predictions]
            lost = sum(subscription.offer(news) for subscription in subscriptions)
        with self._lock:
            self._counts["published"] += len(predictions)
            self._counts["lost"] += lost

    def subscribe(self, query: PredictionQuery, notify: Callable[[], None]) -> Subscription:
        """Listen from now on.

        query: what for; its cursors and limit do not matter.
        notify: called from any thread when there is something to take; must not wait or raise.
        Raises: Unavailable if too many listen already, or the box stops.
        """
        subscription = Subscription(self, query, notify, self._kept)
        with self._lock:
            if self._is_closed:
                raise Unavailable("stream: the box is stopping", retry_after_s=_RETRY_AFTER_S)
            if len(self._subscriptions) >= self._max_subscribers:
                self._counts["refused"] += 1
                raise Unavailable(
                    f"stream: {self._max_subscribers} are open already; close one, or raise the"
                    " setting max_streams",
                    retry_after_s=_RETRY_AFTER_S,
                )
            self._subscriptions = (*self._subscriptions, subscription)
        return subscription

    def remove(self, subscription: Subscription) -> None:
        """Forget a subscription. For the subscription."""
        with self._lock:
            self._subscriptions = tuple(s for s in self._subscriptions if s is not subscription)

    def close(self) -> None:
        """End every subscription at once and take no more; a second call does nothing."""
        with self._lock:
            self._is_closed = True
            subscriptions = self._subscriptions
        for subscription in subscriptions:
            subscription.end()

    def statistics(self) -> FeedStatistics:
        """Look at the feed."""
        with self._lock:
            return FeedStatistics(len(self._subscriptions), **self._counts)
