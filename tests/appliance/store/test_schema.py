"""A file of an earlier box, and tables that are missing."""

import json
import sqlite3
from pathlib import Path

import pytest

from appliance.store import PredictionQuery, PredictionStore, SummaryQuery
from appliance.store.rollup import SEGMENT_IDS, fold
from appliance.store.schema import ROLLUP, VERSION
from tests.appliance.store.rows import NOW, predict

# As the first box made it.
VERSION_1 = """
CREATE TABLE predictions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    app TEXT NOT NULL, version TEXT NOT NULL,
    source TEXT NOT NULL, sequence INTEGER NOT NULL,
    captured_at REAL NOT NULL, emitted_at REAL NOT NULL,
    label TEXT, score REAL, data TEXT NOT NULL
);
CREATE INDEX predictions_app ON predictions (app);
CREATE INDEX predictions_source ON predictions (source);
CREATE INDEX predictions_label ON predictions (label) WHERE label IS NOT NULL;
CREATE INDEX predictions_emitted_at ON predictions (emitted_at);
PRAGMA journal_mode = WAL;
PRAGMA user_version = 1;
"""
ROWS = 600


@pytest.fixture
def old(path: Path) -> Path:
    """A file of version 1 with some rows."""
    connection = sqlite3.connect(path)
    connection.executescript(VERSION_1)
    connection.executemany(
        "INSERT INTO predictions VALUES (?, 'cat', 'v1', 'door', ?, ?, ?, 'tabby', 0.5, ?)",
        ((n + 1, n, NOW, NOW + n, json.dumps({"n": n, "é": [1.5]})) for n in range(ROWS)),
    )
    connection.commit()
    connection.close()
    return path


def names(path: Path) -> set[str]:
    connection = sqlite3.connect(path)
    found = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema")}
    connection.close()
    return found


def test_an_old_file_becomes_a_new_one_in_place(old: Path) -> None:
    """Every row is there, is counted, and ids go on."""
    with PredictionStore(old, clock=lambda: NOW) as store:
        (id_,) = store.append([predict(ROWS)])
        newest = store.query(PredictionQuery(limit=2))
        summary = store.summary(SummaryQuery(interval_s=3600))

    assert id_ == ROWS + 1
    assert [(p.id, p.sequence) for p in newest] == [(ROWS + 1, ROWS), (ROWS, ROWS - 1)]
    assert newest[1].data == {"n": ROWS - 1, "é": [1.5]}
    assert summary.total == ROWS + 1
    assert not {"predictions_app", "predictions_emitted_at"} & names(old)


@pytest.mark.parametrize("table", ["segments", "counts"])
def test_a_lost_table_is_made_again_from_the_rows(old: Path, table: str) -> None:
    """Nothing is deleted because it is missing."""
    with PredictionStore(old):
        pass
    connection = sqlite3.connect(old)
    connection.execute(f"DROP TABLE {table}")
    connection.close()
    with PredictionStore(old, clock=lambda: NOW) as store:
        store.retain(max_rows=ROWS, max_age_s=1e9)

        assert store.count(PredictionQuery(min_score=0.5)) == ROWS
        assert store.summary(SummaryQuery()).total == ROWS


def test_a_lost_index_is_made_again(old: Path) -> None:
    """At the next start."""
    with PredictionStore(old):
        pass
    connection = sqlite3.connect(old)
    connection.execute("DROP INDEX predictions_of_label")
    connection.close()
    with PredictionStore(old) as store:
        assert store.count(PredictionQuery(label="tabby")) == ROWS

    assert "predictions_of_label" in names(old)


def test_a_current_file_is_opened_without_writing(old: Path) -> None:
    """A box starts on a full disk."""
    with PredictionStore(old):
        pass
    before = old.read_bytes()
    with PredictionStore(old):
        log_bytes = old.with_name(old.name + "-wal").stat().st_size

    assert log_bytes == 0
    assert old.read_bytes() == before


def test_an_interrupted_fold_goes_on(old: Path) -> None:
    """A box that was killed before it had counted all rows counts each once."""
    connection = sqlite3.connect(old, isolation_level=None)
    connection.executescript(f"{ROLLUP} PRAGMA user_version = {VERSION}")
    fold(connection, 1)
    connection.close()
    with PredictionStore(old, clock=lambda: NOW) as store:
        (segments,) = store._connections.read(
            lambda c: c.execute("SELECT count(*) FROM segments").fetchone()
        )

        assert store.summary(SummaryQuery()).total == ROWS
        assert segments == ROWS // SEGMENT_IDS + 1
