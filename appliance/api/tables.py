"""Predictions as lines: CSV for spreadsheets, NDJSON for programs.

CSV: RFC 4180, UTF-8, a header line, `data` as JSON. A text cell that a spreadsheet would take for
a formula (it begins with = + - @, tab or return) gets an apostrophe in front, which spreadsheets
show as that text: labels come from guests, and a formula could send the sheet elsewhere. Who needs
every byte as it was takes NDJSON or JSON.
Source of the rule: https://owasp.org/www-community/attacks/CSV_Injection
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from appliance.api import shapes
from appliance.records import Prediction

JSON = "application/json"
CSV = "text/csv"
NDJSON = "application/x-ndjson"

_COLUMNS = (
    "id", "app", "version", "source", "sequence", "captured_at", "emitted_at", "label", "score",
    "data",
)  # fmt: skip
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def shape_of(prediction: Prediction) -> shapes.Prediction:
    """Show a prediction as the API does."""
    return shapes.Prediction(
        id=prediction.id,
        app=prediction.app,
        version=prediction.version,
        source=prediction.source,
        sequence=prediction.sequence,
        captured_at=prediction.captured_at,
        emitted_at=prediction.emitted_at,
        label=prediction.label,
        score=prediction.score,
        data=dict(prediction.data),
    )


def json_of(prediction: Prediction) -> bytes:
    """Write a prediction as JSON on one line, without its end."""
    return shape_of(prediction).model_dump_json().encode()


def ndjson(pages: Iterable[Sequence[Prediction]]) -> Iterator[bytes]:
    """Write predictions as a JSON object a line, page by page."""
    for page in pages:
        yield b"".join(json_of(prediction) + b"\n" for prediction in page)


def comma_separated(pages: Iterable[Sequence[Prediction]]) -> Iterator[bytes]:
    """Write predictions as CSV, page by page, with the header before the first."""
    yield _lines([_COLUMNS])
    for page in pages:
        yield _lines([_cells(prediction) for prediction in page])


def _cells(prediction: Prediction) -> list[object]:
    p = prediction
    return [
        p.id, _text(p.app), _text(p.version), _text(p.source), p.sequence, p.captured_at,
        p.emitted_at, _text(p.label or ""), p.score,
        json.dumps(dict(p.data), ensure_ascii=False, allow_nan=False),
    ]  # fmt: skip


def _text(value: str) -> str:
    return f"'{value}" if value.startswith(_FORMULA_STARTS) else value


def _lines(rows: Iterable[Sequence[object]]) -> bytes:
    written = io.StringIO(newline="")
    csv.writer(written).writerows(rows)
    return written.getvalue().encode()


@dataclass(frozen=True, slots=True)
class Table:
    """A form of many predictions. write: takes pages, gives pieces of the body."""

    media_type: str
    write: Callable[[Iterable[Sequence[Prediction]]], Iterator[bytes]]


TABLES: Mapping[str, Table] = {
    CSV: Table("text/csv; charset=utf-8; header=present", comma_separated),
    NDJSON: Table(NDJSON, ndjson),
}
