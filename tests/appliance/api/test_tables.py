"""Predictions as lines."""

import csv
import io
import json
from dataclasses import replace

import pytest

from appliance.api.tables import comma_separated, ndjson
from tests.appliance.store.rows import NOW, predict


def cells(label: str | None, **data: object) -> dict[str, str]:
    """Give a row as a CSV reader sees it, by column."""
    prediction = replace(predict(3, label=label, data=data), id=17)
    text = b"".join(comma_separated([[prediction]])).decode()
    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    return dict(row)


def test_csv_has_every_field() -> None:
    """Numbers as they are, data as JSON, text with whatever is in it."""
    assert cells('a "b", c', box=[1, 2.5], é="ü") == {
        "id": "17", "app": "cat", "version": "v1", "source": "door", "sequence": "3",
        "captured_at": str(NOW), "emitted_at": str(NOW + 3), "label": 'a "b", c',
        "score": "0.5", "data": '{"box": [1, 2.5], "é": "ü"}',
    }  # fmt: skip


def test_csv_shows_what_is_not_there_as_empty() -> None:
    """A text guest names no label."""
    assert cells(None)["label"] == ""


@pytest.mark.parametrize("label", ["=1+1", "+1", "-1", "@SUM(A1)"])
def test_csv_holds_no_formula(label: str) -> None:
    """A spreadsheet shows the label instead of computing it."""
    assert cells(label)["label"] == f"'{label}"


def test_csv_begins_with_its_columns_once() -> None:
    """Also when there is no row, and over several pages."""
    head = b"id,app,version,source,sequence,captured_at,emitted_at,label,score,data\r\n"
    pages = [[predict(0)], [predict(1)]]

    assert next(comma_separated([[]])) == head
    assert b"".join(comma_separated(pages)).count(head) == 1


def test_ndjson_is_an_object_a_line() -> None:
    """A newline in a text does not end the line."""
    pages = [[predict(0, data={"text": "a\nb\u2028c"}), predict(1)], [predict(2)]]
    lines = b"".join(ndjson(pages)).split(b"\n")

    assert [json.loads(line)["sequence"] for line in lines[:-1]] == [0, 1, 2]
    assert lines[-1] == b""
