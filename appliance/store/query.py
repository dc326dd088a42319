"""Which predictions: what a caller may ask, and the SQL that finds it without reading the rest.

How a page is found: by the index of what is most likely the rarest of frame, label, camera and
app, newest first, where the other columns that may be asked for are in the index, too. Times
become bounds of the id, and a score alone skips segments, by the table `segments` (see rollup).
A `+` before a column keeps SQLite, which keeps no statistics here, from choosing its index.
"""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from appliance.errors import BadRequest
from appliance.records import Prediction

MAX_LIMIT = 1000
COLUMNS = "app, version, source, sequence, captured_at, emitted_at, label, score, data"
_FIELDS = f"{COLUMNS}, id".split(", ")
# What a damaged row may not have, and `Prediction` takes for granted.
_KINDS = {
    "app": str, "version": str, "source": str, "sequence": int, "captured_at": float,
    "emitted_at": float, "label": str | None, "score": float | None,
}  # fmt: skip

Row = tuple[Any, ...]  # of SQLite, which does not say what is in it

# The rarest first.
_INDEXED = ("sequence", "label", "source", "app")
_BEFORE_ALL, _AFTER_ALL = 0, 2**63 - 1
# The open segment has no bounds yet; its rows are few.
_FIRST_SINCE = "SELECT min(first_id) FROM segments WHERE newest >= :since"
_LAST_UNTIL = """
SELECT max(last_id) FROM segments WHERE oldest < :until AND (last_id < 9223372036854775807
    OR EXISTS (SELECT 1 FROM predictions WHERE id >= first_id AND emitted_at < :until))
"""


@dataclass(frozen=True, slots=True)
class PredictionQuery:
    """Which predictions; None asks nothing.

    source, sequence: the frame's camera and number.
    min_score: inclusive; rows without a score do not match.
    since, until: of emitted_at, Unix seconds; inclusive, exclusive.
    after_id, before_id: cursors, both exclusive.   limit: 1..1000 rows.
    oldest_first: to follow on from after_id without a gap; else newest first.
    """

    app: str | None = None
    source: str | None = None
    label: str | None = None
    min_score: float | None = None
    since: float | None = None
    until: float | None = None
    after_id: int | None = None
    before_id: int | None = None
    limit: int = 100
    oldest_first: bool = False
    sequence: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= MAX_LIMIT:
            raise BadRequest(f"limit: got {self.limit}, wanted 1..{MAX_LIMIT}")
        for key, what in (
            ("after_id", "an id such as a prediction has"),
            ("before_id", "an id such as a prediction has"),
            ("sequence", "a frame's number"),
        ):
            value = getattr(self, key)
            # SQLite's integers have 64 bits.
            if value is not None and not 0 <= value < 2**63:
                raise BadRequest(f"{key}: got {value}, wanted {what}")
        for key in ("app", "source", "label"):
            check_text(key, getattr(self, key))

    def matches(self, prediction: Prediction) -> bool:
        """Tell whether a prediction is asked for, as far as the cursors do not matter."""
        p = prediction
        return (
            (self.app is None or p.app == self.app)
            and (self.source is None or p.source == self.source)
            and (self.label is None or p.label == self.label)
            and (self.sequence is None or p.sequence == self.sequence)
            and (self.min_score is None or (p.score is not None and p.score >= self.min_score))
            and (self.since is None or p.emitted_at >= self.since)
            and (self.until is None or p.emitted_at < self.until)
        )


def check_text(key: str, value: str | None) -> None:
    """Refuse text that is no Unicode, which SQLite cannot take. Raises: BadRequest."""
    if value is not None and any("\ud800" <= character <= "\udfff" for character in value):
        raise BadRequest(f"{key}: got text that is no Unicode, wanted a name")


def find(connection: sqlite3.Connection, query: PredictionQuery) -> list[Prediction]:
    """Give a page."""
    values = _values(connection, query)
    order = "ASC" if query.oldest_first else "DESC"
    sql = (
        f"SELECT {', '.join(f'p.{name}' for name in _FIELDS)} {_from(query)}"
        f" ORDER BY {f's.first_id {order}, ' if _skips(query) else ''}p.id {order}"
        " LIMIT :limit"
    )
    return [_prediction(row) for row in connection.execute(sql, values)]


def count(connection: sqlite3.Connection, query: PredictionQuery) -> int:
    """Count all that match, whatever the limit; reads every one of them."""
    sql = f"SELECT count(*) {_from(query)}"
    ((rows,),) = connection.execute(sql, _values(connection, query))
    return int(rows)


def plan(connection: sqlite3.Connection, query: PredictionQuery) -> list[str]:
    """Say how SQLite finds a page."""
    order = "s.first_id DESC, " if _skips(query) else ""
    sql = f"EXPLAIN QUERY PLAN SELECT p.* {_from(query)} ORDER BY {order}p.id DESC LIMIT :limit"
    return [row[3] for row in connection.execute(sql, _values(connection, query))]


def _skips(query: PredictionQuery) -> bool:
    """Tell whether the page is found by way of the segments."""
    has_index = any(getattr(query, key) is not None for key in _INDEXED)
    has_bounds = any(v is not None for v in (query.min_score, query.since, query.until))
    return has_bounds and not has_index


def _from(query: PredictionQuery) -> str:
    conditions = [
        sql for sql, value in (
            ("p.score >= :min_score", query.min_score),
            ("p.emitted_at >= :since", query.since),
            ("p.emitted_at < :until", query.until),
        ) if value is not None
    ]  # fmt: skip
    asked = [key for key in _INDEXED if getattr(query, key) is not None]
    # A frame's index has the camera in it.
    leading = asked[:2] if asked[:1] == ["sequence"] and "source" in asked[:2] else asked[:1]
    conditions += [f"p.{key} = :{key}" if key in leading else f"+p.{key} = :{key}" for key in asked]
    conditions.append("p.id BETWEEN :first AND :last")
    tables = "predictions p"
    if _skips(query):
        tables = (
            "segments s CROSS JOIN predictions p"
            " ON p.id BETWEEN max(s.first_id, :first) AND min(s.last_id, :last)"
        )
        conditions[-1] = "s.last_id >= :first AND s.first_id <= :last"
        conditions += [
            sql for sql, value in (
                ("s.max_score >= :min_score", query.min_score),
                ("s.newest >= :since", query.since),
                ("s.oldest < :until", query.until),
            ) if value is not None
        ]  # fmt: skip
    return f"FROM {tables} WHERE {' AND '.join(conditions)}"


def _values(connection: sqlite3.Connection, query: PredictionQuery) -> Mapping[str, object]:
    first, last = _BEFORE_ALL, _AFTER_ALL
    if query.after_id is not None:
        first = min(query.after_id + 1, _AFTER_ALL)
    if query.before_id is not None:
        last = query.before_id - 1
    times = {"since": query.since, "until": query.until}
    if query.since is not None:
        ((bound,),) = connection.execute(_FIRST_SINCE, times)
        first = max(first, bound)
    if query.until is not None:
        ((bound,),) = connection.execute(_LAST_UNTIL, times)
        last = min(last, bound or _BEFORE_ALL)
    return {
        "app": query.app, "source": query.source, "label": query.label,
        "sequence": query.sequence, "min_score": query.min_score, "limit": query.limit,
        "first": first, "last": last, **times,
    }  # fmt: skip


def row_of(prediction: Prediction) -> Row:
    """Give what is stored of a prediction, in the order of COLUMNS."""
    p = prediction
    assert p.id is None, "a stored prediction is not stored again"
    data = json.dumps(dict(p.data), allow_nan=False)
    return (
        p.app, p.version, p.source, p.sequence, p.captured_at, p.emitted_at, p.label, p.score, data,
    )  # fmt: skip


def _prediction(row: Row) -> Prediction:
    fields: dict[str, Any] = dict(zip(_FIELDS, row, strict=True))
    try:
        data = json.loads(fields["data"])
        prediction = Prediction(**(fields | {"data": data}))
        if all(isinstance(fields[name], kind) for name, kind in _KINDS.items()):
            return prediction
    except (ValueError, TypeError, AttributeError, RecursionError):
        pass
    return _mended(fields)


def _mended(fields: dict[str, Any]) -> Prediction:
    """Make a prediction of a damaged row: one bad row must not hide the page that it is on."""
    app, version, source = (
        value if isinstance(value := fields[name], str) and value else "?"
        for name in ("app", "version", "source")
    )
    captured_at, emitted_at = (
        value if isinstance(value := fields[name], float) and isfinite(value) else 0.0
        for name in ("captured_at", "emitted_at")
    )
    sequence = fields["sequence"] if isinstance(fields["sequence"], int) else 0
    data = {"text": "damaged on disk"}
    return Prediction(
        app, version, source, sequence, captured_at, emitted_at, None, None, data, fields["id"]
    )
