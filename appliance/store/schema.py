"""The tables of the history, and how a file of an earlier box becomes one of this box.

Version 1 had the rows only. Version 2 (from this box on) has other indices, and two tables that
are made from the rows and can be made again from them: `segments` and `counts` (see rollup).
Whatever of these is missing is made again when the file is opened; the rows are never touched.

Indices: each begins with what is asked for exactly, then the id, so that a page comes newest
first without sorting; then the columns that are asked for together with it, so that what does not
match is passed over without reading its row. Measured at 1 million rows, a label that a fifth of
them have and a camera that never saw it (every entry is passed over): 15 ms, and 91 ms with an
index of the label alone. An index for every pair answers that in no time but makes an insert
three times as dear and writes a third more; so no pairs. There is none on time: `segments`
turns times into ids.
"""

import sqlite3

from appliance.errors import Conflict
from appliance.store.rollup import fold

VERSION = 2

PREDICTIONS = """
CREATE TABLE IF NOT EXISTS predictions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    app TEXT NOT NULL, version TEXT NOT NULL,
    source TEXT NOT NULL, sequence INTEGER NOT NULL,
    captured_at REAL NOT NULL, emitted_at REAL NOT NULL,
    label TEXT, score REAL, data TEXT NOT NULL
);
"""
_INDICES = """
DROP INDEX IF EXISTS predictions_app;
DROP INDEX IF EXISTS predictions_source;
DROP INDEX IF EXISTS predictions_label;
DROP INDEX IF EXISTS predictions_emitted_at;
CREATE INDEX IF NOT EXISTS predictions_of_app ON predictions (app, id, source, label, score);
CREATE INDEX IF NOT EXISTS predictions_of_source ON predictions (source, id, app, label, score);
CREATE INDEX IF NOT EXISTS predictions_of_label ON predictions (label, id, app, source, score);
CREATE INDEX IF NOT EXISTS predictions_of_frame ON predictions (sequence, source);
"""
# 9e999 is how SQLite writes infinity. The last segment is open: it takes what is to come.
ROLLUP = """
DROP TABLE IF EXISTS segments;
DROP TABLE IF EXISTS counts;
CREATE TABLE segments (
    first_id INTEGER PRIMARY KEY, last_id INTEGER NOT NULL,
    oldest REAL NOT NULL, newest REAL NOT NULL, max_score REAL NOT NULL
);
INSERT INTO segments VALUES (1, 9223372036854775807, -9e999, 9e999, 9e999);
CREATE TABLE counts (
    span_s INTEGER NOT NULL, app TEXT NOT NULL, source TEXT NOT NULL,
    start INTEGER NOT NULL, label TEXT NOT NULL,
    rows INTEGER NOT NULL, scored INTEGER NOT NULL, score_sum REAL NOT NULL,
    PRIMARY KEY (span_s, app, source, start, label)
) WITHOUT ROWID;
CREATE INDEX counts_gone ON counts (rows) WHERE rows <= 0;
"""
_NAMES = {
    "predictions", "segments", "counts", "counts_gone", "predictions_of_app",
    "predictions_of_source", "predictions_of_label", "predictions_of_frame",
}  # fmt: skip
# 16,000 rows in one transaction: about 0.1 s.
_SEGMENTS_AT_ONCE = 64


def make_current(connection: sqlite3.Connection, name: str) -> None:
    """Make an empty file, or one of an earlier box, what this module describes.

    Every step is a transaction of its own and is not done twice: a box that is killed while it
    does this goes on with it at its next start.
    Raises: Conflict if a newer box wrote the file.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise Conflict(
            f"{name}: got schema {version}, wanted at most {VERSION};"
            " start the newer version of the box, or move the file away"
        )
    found = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema")}
    # A box must start on a full disk, so a current file is not written to.
    if version != VERSION or not found >= _NAMES:
        connection.executescript(
            f"BEGIN IMMEDIATE; {PREDICTIONS} {_INDICES} {ROLLUP}"
            f" PRAGMA user_version = {VERSION}; COMMIT;"
        )
    _fold_all(connection)


def _fold_all(connection: sqlite3.Connection) -> None:
    is_more = True
    while is_more:
        connection.execute("BEGIN IMMEDIATE")
        with connection:
            is_more = fold(connection, _SEGMENTS_AT_ONCE)
