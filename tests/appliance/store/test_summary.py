"""Counts per label and interval."""

import random
from collections import Counter
from typing import Any

import pytest

from appliance.errors import BadRequest
from appliance.records import Prediction
from appliance.store import LabelCount, PredictionQuery, PredictionStore, SummaryQuery
from tests.appliance.store.rows import NOW, predict

HOUR = 1_699_999_200  # the whole hour before NOW


@pytest.fixture(scope="module")
def rows() -> list[Prediction]:
    """Two days of 700 predictions, in order of time but for a few."""
    chance = random.Random(7)
    times = sorted(NOW - chance.random() * 172_800 for _ in range(700))
    times[300:310] = times[310:320]
    return [
        predict(
            n, emitted_at=time, app=chance.choice("ab"), source=chance.choice("xyz"),
            label=chance.choice(["cat", "dog", None]), score=chance.choice([None, 0.25, 0.75]),
        )
        for n, time in enumerate(times)
    ]  # fmt: skip


@pytest.mark.parametrize("interval", [7, 300, 900, 3600, 7200, 86400])
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"app": "a"},
        {"source": "x"},
        {"app": "b", "source": "z"},
        {"label": "dog"},
        {"min_score": 0.5},
        {"app": "a", "label": "cat", "min_score": 0.25},
    ],
    ids="+".join,
)
@pytest.mark.parametrize(
    "until", [NOW + 1, NOW - 100_000, NOW - 90_000.5], ids=["all", "early", "odd"]
)
def test_counts_are_those_of_the_rows(
    store: PredictionStore,
    rows: list[Prediction],
    given: dict[str, Any],
    interval: int,
    until: float,
) -> None:
    """Whatever comes from the roll-up and whatever from the rows, nothing is missed or doubled."""
    store.append(rows)
    since = until - min(150_000.25, interval * 1400)
    summary = store.summary(SummaryQuery(since=since, until=until, interval_s=interval, **given))
    matching = PredictionQuery(since=since, until=until, **given)
    wanted = [p for p in rows if matching.matches(p)]

    assert Counter(p.label for p in wanted) == {x.label: x.count for x in summary.labels}
    assert Counter((int(p.emitted_at // interval) * interval, p.label) for p in wanted) == {
        (b.start, b.label): b.rows for b in summary.buckets
    }
    assert (summary.total, summary.others) == (len(wanted), 0)


def test_labels_come_with_their_mean_score(store: PredictionStore) -> None:
    """The most frequent first; of those that have a score, None if none has."""
    store.append([
        predict(0, label="b", score=0.25), predict(1, label="b", score=0.75),
        predict(2, label="b", score=None), predict(3, label="a", score=1.0),
        predict(4, label=None, score=None),
    ])  # fmt: skip

    assert store.summary(SummaryQuery()).labels == (
        LabelCount("b", 3, 0.5), LabelCount(None, 1, None), LabelCount("a", 1, 1.0),
    )  # fmt: skip


def test_rare_labels_are_summed_up(store: PredictionStore) -> None:
    """Over `top` they are counted as others, without buckets."""
    store.append([predict(n, label="ab"[n % 3 == 0]) for n in range(9)])
    summary = store.summary(SummaryQuery(top=1))

    assert [label.label for label in summary.labels] == ["a"]
    assert {bucket.label for bucket in summary.buckets} == {"a"}
    assert (summary.total, summary.others) == (9, 3)


def test_without_bounds_everything_is_counted(store: PredictionStore) -> None:
    """From the oldest to now, or to the newest if that is later."""
    store.append([predict(n, emitted_at=NOW - 1000 + 3 * n) for n in range(500)])
    summary = store.summary(SummaryQuery())

    assert summary.total == 500
    assert summary.since == NOW - 1000
    assert summary.until == pytest.approx(NOW + 497)
    assert summary.interval_s == 10


def test_an_empty_history_is_summed_up(store: PredictionStore) -> None:
    """No labels, no buckets."""
    summary = store.summary(SummaryQuery(interval_s=3600))

    assert (summary.total, summary.labels, summary.buckets) == (0, (), ())


def test_buckets_begin_at_whole_intervals(store: PredictionStore) -> None:
    """Also where the range begins amid one."""
    store.append([predict(0), predict(3600)])
    summary = store.summary(SummaryQuery(since=NOW - 7, interval_s=3600))

    assert [bucket.start for bucket in summary.buckets] == [HOUR, HOUR + 3600]


def test_too_many_intervals_are_refused(store: PredictionStore) -> None:
    """An answer of bounded size; the sentence says what to do."""
    query = SummaryQuery(since=NOW - 86400, until=NOW, interval_s=10)

    with pytest.raises(BadRequest, match="interval: got 10 s for 86400 s, wanted at most 1500"):
        store.summary(query)


@pytest.mark.parametrize(
    "given",
    [
        {"since": -1.0}, {"until": 1e300}, {"since": 2.0, "until": 1.0}, {"interval_s": 0},
        {"top": 0}, {"app": "\ud800"},
    ],
    ids=["negative", "far", "backwards", "no interval", "no label", "no Unicode"],
)  # fmt: skip
def test_a_bad_summary_is_refused(given: dict[str, Any]) -> None:
    """The sentence names the parameter."""
    key = next(iter(given)).removesuffix("_s")
    with pytest.raises(BadRequest, match=f"^{key}: got "):
        SummaryQuery(**given)


def test_what_retention_deletes_is_not_counted(
    store: PredictionStore, rows: list[Prediction]
) -> None:
    """Folded or not, the counts follow the rows."""
    store.append(rows)
    store.retain(max_rows=1000, max_age_s=40_000.0)
    kept = [p for p in rows if p.emitted_at >= NOW - 40_000]
    some = store.summary(SummaryQuery(since=NOW - 172_800, until=NOW, interval_s=3600))
    store.retain(max_rows=10, max_age_s=1e9)
    few = store.summary(SummaryQuery(since=NOW - 172_800, until=NOW, interval_s=3600, app="a"))

    assert some.total == len(kept)
    assert few.total == sum(p.app == "a" for p in rows[-10:])
