"""How many predictions of which label, per interval: what a chart shows.

The range is cut into whole 6 hours, hours, 5 minutes and what is left at its ends. These spans
come from the table `counts` (see rollup) if the interval is made of them, the rest from the rows.
So the rows alone answer a query with min_score, intervals that are no multiple of 5 minutes, and
of one app or camera those that are no multiple of an hour.
"""

import math
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from appliance.errors import BadRequest
from appliance.store.query import check_text
from appliance.store.rollup import FILTERED_SPANS_S, SPANS_S, open_segment

# As many points as a chart can show, and an answer of bounded size.
MAX_BUCKETS = 1500
MAX_LABELS = 200
# Without an interval, the shortest of these that needs at most so many.
_CHOSEN_BUCKETS = 200
_DAY_S = 86400
_INTERVALS_S = (
    1, 5, 10, 60, 300, 900, 3600, 6 * 3600, _DAY_S, 7 * _DAY_S, 30 * _DAY_S, 365 * _DAY_S,
)  # fmt: skip
# Far beyond any clock, and an integer of SQLite's after every computation here.
_MAX_TIME_S = 2**40


@dataclass(frozen=True, slots=True)
class SummaryQuery:
    """Which predictions, and how finely; None asks nothing.

    Filters: as PredictionQuery's.   interval_s: whole seconds; None = what suits the range.
    top: labels listed, 1..200.
    """

    app: str | None = None
    source: str | None = None
    label: str | None = None
    min_score: float | None = None
    since: float | None = None
    until: float | None = None
    interval_s: int | None = None
    top: int = 20

    def __post_init__(self) -> None:
        for key in ("app", "source", "label"):
            check_text(key, getattr(self, key))
        for key in ("since", "until"):
            value = getattr(self, key)
            if value is not None and not 0 <= value <= _MAX_TIME_S:
                raise BadRequest(f"{key}: got {value}, wanted Unix seconds")
        if self.since is not None and self.until is not None and self.since > self.until:
            raise BadRequest(f"since: got {self.since}, wanted at most until, {self.until}")
        if self.interval_s is not None and not 1 <= self.interval_s <= _MAX_TIME_S:
            raise BadRequest(f"interval: got {self.interval_s}, wanted seconds, 1 or more")
        if not 1 <= self.top <= MAX_LABELS:
            raise BadRequest(f"top: got {self.top}, wanted 1..{MAX_LABELS}")


@dataclass(frozen=True, slots=True)
class LabelCount:
    """mean_score: of those that have a score; None if none has. label None: named no label."""

    label: str | None
    count: int
    mean_score: float | None


class Bucket(NamedTuple):
    """start: Unix seconds, a multiple of the interval.

    A tuple, since there may be 30,000 in an answer: a frozen dataclass takes three times as long.
    """

    start: int
    label: str | None
    rows: int


@dataclass(frozen=True, slots=True)
class Summary:
    """labels: the most frequent first.   buckets: of these labels, in order of time, no zeros.

    since, until: Unix seconds, inclusive and exclusive.   total: all that were counted.
    others: those of them whose label is not listed.
    """

    since: float
    until: float
    interval_s: int
    total: int
    others: int
    labels: tuple[LabelCount, ...]
    buckets: tuple[Bucket, ...]


def summarize(connection: sqlite3.Connection, query: SummaryQuery, now: float) -> Summary:
    """Count. now: Unix seconds. Raises: BadRequest if the interval is too short for the range."""
    since, until = _range(connection, query, now)
    interval_s = query.interval_s or _suitable(query, until - since)
    if (until - since) / interval_s > MAX_BUCKETS:
        raise BadRequest(
            f"interval: got {interval_s} s for {until - since:.0f} s, wanted at most {MAX_BUCKETS}"
            " intervals; ask for a longer interval or a shorter time"
        )
    values = _values(connection, query, interval_s)
    # Of any label, without intervals: wider spans serve, and nothing need be sorted.
    parts = _parts(query, since, until, spans := _spans(query))
    totals = connection.execute(
        f"SELECT label, sum(rows), sum(scored), sum(score_sum) FROM ({parts})"
        " GROUP BY 1 ORDER BY 2 DESC, 1",
        values,
    ).fetchall()
    listed = totals[: query.top]
    parts = _parts(query, since, until, tuple(s for s in spans if interval_s % s == 0))
    among = ", ".join(f":label{number}" for number in range(len(listed)))
    buckets = connection.execute(
        "SELECT CAST(at / :interval AS INTEGER) * :interval, nullif(label, ''), sum(rows)"
        f" FROM ({parts}) WHERE label IN ({among}) GROUP BY 1, 2",
        {**values, **{f"label{number}": row[0] for number, row in enumerate(listed)}},
    )
    return Summary(
        since, until, interval_s,
        total=sum(row[1] for row in totals),
        others=sum(row[1] for row in totals[query.top :]),
        labels=tuple(_label_count(*row) for row in listed),
        buckets=tuple(map(Bucket._make, buckets)),
    )  # fmt: skip


def _values(
    connection: sqlite3.Connection, query: SummaryQuery, interval_s: int
) -> dict[str, object]:
    return {
        "app": query.app, "source": query.source, "label": query.label,
        "min_score": query.min_score, "interval": interval_s,
        "of_app": query.app or "", "of_source": query.source or "",
        "tail": open_segment(connection),
    }  # fmt: skip


def _label_count(label: str, count: int, scored: int, score_sum: float) -> LabelCount:
    # Sums of the same numbers in another order differ in the last digits.
    mean = round(score_sum / scored, 9) if scored else None
    return LabelCount(label or None, count, mean)


def _range(connection: sqlite3.Connection, query: SummaryQuery, now: float) -> tuple[float, float]:
    """Find the ends of the range where the query leaves them open."""
    tail = open_segment(connection)
    seen = connection.execute(
        "SELECT min(oldest), max(newest) FROM segments WHERE first_id < ? AND newest >= oldest",
        [tail],
    ).fetchone() + connection.execute(
        "SELECT min(emitted_at), max(emitted_at) FROM predictions WHERE id >= ?", [tail]
    ).fetchone()  # fmt: skip
    times = [time for time in seen if time is not None]
    until = query.until
    if until is None:
        # What was emitted in this instant, or before the clock was set back, belongs to it.
        until = math.nextafter(max([now, *times]), math.inf)
    since = min([until, *times]) if query.since is None else query.since
    return since, max(since, until)


def _suitable(query: SummaryQuery, range_s: float) -> int:
    # 15 minutes of one app, over up to two days, would have to be counted by the rows.
    are_counted = (i for i in _INTERVALS_S if i != 900 or 300 in _spans(query))
    fits = (i for i in are_counted if range_s / i <= _CHOSEN_BUCKETS)
    return next(fits, _INTERVALS_S[-1])


def _spans(query: SummaryQuery) -> tuple[int, ...]:
    """Give the spans whose counts can answer."""
    if query.min_score is not None:
        return ()
    return SPANS_S if query.app is None and query.source is None else FILTERED_SPANS_S


def _parts(query: SummaryQuery, since: float, until: float, spans: tuple[int, ...]) -> str:
    """Give the SQL of what is counted: at, label, rows, scored, score_sum."""
    cut = list(_cut(since, until, spans))
    rows = _raw(query)
    selects = []
    for span, start, end in cut:
        if span is not None:
            selects.append(_counted(query, span, int(start), int(end)))
        else:
            selects.append(f"{rows} AND s.first_id < :tail {_between(start, end)}")
    selects.append(f"{rows} AND s.first_id = :tail {_between(since, until)}")
    return " UNION ALL ".join(selects)


def _cut(
    since: float, until: float, spans: tuple[int, ...]
) -> Iterator[tuple[int | None, float, float]]:
    """Cut a range into what is counted by the widest span, the next, and at last by rows."""
    if since >= until:
        return
    if not spans:
        yield None, since, until
        return
    span, *_ = spans
    first, last = math.ceil(since / span) * span, math.floor(until / span) * span
    if first >= last:
        yield from _cut(since, until, spans[1:])
        return
    yield from _cut(since, first, spans[1:])
    yield span, first, last
    yield from _cut(last, until, spans[1:])


def _counted(query: SummaryQuery, span: int, start: int, end: int) -> str:
    label = "" if query.label is None else "AND label = :label"
    return (
        "SELECT start AS at, label, rows, scored, score_sum FROM counts"
        f" WHERE span_s = {span} AND app = :of_app AND source = :of_source"
        f" AND start >= {start} AND start < {end} {label}"
    )


def _raw(query: SummaryQuery) -> str:
    conditions = [
        sql for sql, value in (
            ("+p.app = :app", query.app),
            ("+p.source = :source", query.source),
            ("+p.label = :label", query.label),
            ("p.score >= :min_score AND s.max_score >= :min_score", query.min_score),
        ) if value is not None
    ]  # fmt: skip
    return (
        "SELECT p.emitted_at AS at, ifnull(p.label, '') AS label, 1 AS rows,"
        " p.score IS NOT NULL AS scored, ifnull(p.score, 0.0) AS score_sum"
        " FROM segments s CROSS JOIN predictions p ON p.id BETWEEN s.first_id AND s.last_id"
        f" WHERE {' AND '.join(conditions) or 'TRUE'}"
    )


def _between(start: float, end: float) -> str:
    # repr of a float reads back as the same number.
    return (
        f"AND s.newest >= {start!r} AND s.oldest < {end!r}"
        f" AND p.emitted_at >= {start!r} AND p.emitted_at < {end!r}"
    )
