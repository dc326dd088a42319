"""The live feed: who gets what, and what a slow reader loses."""

from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.errors import Unavailable
from appliance.feed import Feed, Subscription
from appliance.store import PredictionQuery, PredictionStore
from tests.appliance.store.rows import NOW, predict

ALL = PredictionQuery()


def silent() -> None:
    """Tell nobody."""


def numbers(subscription: Subscription) -> list[int]:
    return [news.prediction.sequence for news in subscription.take().news]


def test_what_is_published_comes_to_all_who_asked() -> None:
    """In order, once, and the same object for all, so that it is written once."""
    feed = Feed(max_subscribers=3)
    everything = feed.subscribe(ALL, silent)
    dogs = feed.subscribe(PredictionQuery(label="dog"), silent)
    feed.publish([predict(0), predict(1, label="dog"), predict(2)])
    taken = everything.take()

    assert [news.prediction.sequence for news in taken.news] == [0, 1, 2]
    assert dogs.take().news == (taken.news[1],)
    assert (taken.lost, taken.is_end) == (0, False)
    assert numbers(everything) == []


def test_a_slow_reader_loses_the_oldest_and_is_told() -> None:
    """How many is counted anew after each time that he takes."""
    feed = Feed(max_subscribers=1, kept=3)
    slow = feed.subscribe(ALL, silent)
    feed.publish([predict(n) for n in range(2)])
    feed.publish([predict(n) for n in range(2, 9)])
    was_told_before = slow.has_lost
    taken = slow.take()
    feed.publish([predict(9)])
    again = slow.take()

    assert was_told_before
    assert ([n.prediction.sequence for n in taken.news], taken.lost) == ([6, 7, 8], 6)
    assert ([n.prediction.sequence for n in again.news], again.lost) == ([9], 0)
    assert feed.statistics().lost == 6


def test_what_was_not_asked_for_is_not_lost() -> None:
    """It takes up no room."""
    feed = Feed(max_subscribers=1, kept=1)
    dogs = feed.subscribe(PredictionQuery(label="dog"), silent)
    feed.publish([predict(0, label="dog"), predict(1), predict(2)])

    assert (numbers(dogs), feed.statistics().lost) == ([0], 0)


def test_a_reader_is_told_once_until_he_takes() -> None:
    """Publishing costs little while somebody is slow."""
    told: list[str] = []
    notify: Callable[[], None] = lambda: told.append("news")  # noqa: E731
    feed = Feed(max_subscribers=1)
    reader = feed.subscribe(ALL, notify)
    feed.publish([predict(0)])
    feed.publish([predict(1)])
    reader.take()
    feed.publish([predict(2)])

    assert told == ["news", "news"]


def test_too_many_readers_are_refused() -> None:
    """The sentence says what to do; one who leaves makes room."""
    feed = Feed(max_subscribers=1)
    with feed.subscribe(ALL, silent):
        with pytest.raises(Unavailable, match="stream: 1 are open already; close one, or raise"):
            feed.subscribe(ALL, silent)
        assert (feed.statistics().subscribers, feed.statistics().refused) == (1, 1)
    feed.subscribe(ALL, silent)

    assert feed.statistics().subscribers == 1


def test_the_end_comes_after_what_is_left() -> None:
    """Readers are woken; new ones are refused."""
    told: list[str] = []
    feed = Feed(max_subscribers=2)
    reader = feed.subscribe(ALL, lambda: told.append("news"))
    feed.publish([predict(0)])
    feed.close()
    feed.close()
    taken = reader.take()

    assert ([n.prediction.sequence for n in taken.news], taken.is_end) == ([0], True)
    assert told == ["news", "news", "news"]
    with pytest.raises(Unavailable, match="stopping"):
        feed.subscribe(ALL, silent)


def test_who_left_gets_nothing() -> None:
    """Leaving twice does nothing."""
    feed = Feed(max_subscribers=1)
    reader = feed.subscribe(ALL, silent)
    reader.close()
    reader.close()
    feed.publish([predict(0)])

    assert numbers(reader) == []


def test_a_store_publishes_what_it_stored(tmp_path: Path) -> None:
    """With ids, in their order; what was refused is not in it."""
    feed = Feed(max_subscribers=1)
    reader = feed.subscribe(ALL, silent)
    path = tmp_path / "predictions.db"
    with PredictionStore(path, clock=lambda: NOW, on_stored=feed.publish) as store:
        first = store.append([predict(0), predict(1)])
        with pytest.raises(OverflowError, match="too large"):
            store.append([predict(2**63)])
        second = store.append([predict(2)])
    taken = reader.take().news

    assert [news.prediction.id for news in taken] == [*first, *second] == [1, 2, 3]
