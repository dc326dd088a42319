"""Predictions on disk, in SQLite: appended as they come, asked for by app, label and time.

Guarantees:
1. What `append` returned ids for survives a kill -9 of the box. After a power cut the last
   moments may be missing (WAL, synchronous=NORMAL), never half a prediction or a damaged file.
2. Ids grow and are never used twice, not even after their rows were deleted.
3. A damaged file is set aside as predictions.db.corrupt-<Unix seconds>, logged, and a new one is
   begun, at `open` or whenever SQLite finds the damage. Nothing is deleted.
4. A full or read-only disk fails the call with Unavailable; the store works again when the disk
   does.

Any thread may call anything. One connection writes, under a lock; readers wait for nobody (WAL).
There is no group commit: without an fsync an append of one row takes about 50 us (measured).
"""

import json
import logging
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from appliance.errors import BadRequest, Conflict, Unavailable
from appliance.records import Prediction

logger = logging.getLogger(__name__)

MAX_LIMIT = 1000
_SCHEMA_VERSION = 1
# id comes last in every index by itself, so each also gives its rows newest first.
_SCHEMA = """
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
"""
_COLUMNS = "app, version, source, sequence, captured_at, emitted_at, label, score, data"
_INSERT = f"INSERT INTO predictions ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"

# Chosen, not measured: an append waits for nobody but a person's sqlite3 shell.
_BUSY_TIMEOUT_S = 5.0
_RETRY_AFTER_S = 10.0
# About 10 ms of the writer's lock.
_DELETE_CHUNK_ROWS = 1000
_WAL_KEPT_BYTES = 16 * 1024 * 1024
_MAX_IDLE_READERS = 4

Result = TypeVar("Result")
Row = tuple[Any, ...]  # of SQLite, which does not say what is in it


@dataclass(frozen=True, slots=True)
class PredictionQuery:
    """Which predictions; None asks nothing.

    source: the camera.   min_score: inclusive; rows without a score do not match.
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

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= MAX_LIMIT:
            raise BadRequest(f"limit: got {self.limit}, wanted 1..{MAX_LIMIT}")
        for key in ("after_id", "before_id"):
            value = getattr(self, key)
            # SQLite's integers have 64 bits.
            if value is not None and not 0 <= value < 2**63:
                raise BadRequest(f"{key}: got {value}, wanted an id such as a prediction has")

    def where(self) -> tuple[str, list[object]]:
        """Give the SQL condition and its parameters."""
        conditions = {
            "app = ?": self.app,
            "source = ?": self.source,
            "label = ?": self.label,
            "score >= ?": self.min_score,
            "emitted_at >= ?": self.since,
            "emitted_at < ?": self.until,
            "id > ?": self.after_id,
            "id < ?": self.before_id,
        }
        asked = {sql: value for sql, value in conditions.items() if value is not None}
        return " AND ".join(asked) or "TRUE", list(asked.values())


@dataclass(frozen=True, slots=True)
class StoreStatistics:
    """A look at the store. The last four count since the start; size_bytes: of the file."""

    rows: int
    newest_id: int | None
    oldest_emitted_at: float | None
    size_bytes: int
    appended: int
    deleted: int
    failed: int
    set_aside: int


class PredictionStore:
    """The predictions of the box; `with PredictionStore(path) as store`, or open and close."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._is_open = False
        # One writer at a time is SQLite's own rule, so this lock is held while SQLite writes.
        self._write_lock = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        # Guards what is below; held for no I/O.
        self._lock = threading.Lock()
        self._idle_readers: list[sqlite3.Connection] = []
        # Grows when the file is closed or replaced: a reader of an earlier one is not reused.
        self._generation = 0
        self._counts: Counter[str] = Counter()

    def __repr__(self) -> str:
        state = "open" if self._is_open else "closed"
        counts = "".join(f" {key}={count}" for key, count in sorted(self._counts.items()))
        return f"<PredictionStore {state}{counts}>"

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> None:
        """Open the database, making it if there is none.

        Raises: Unavailable if the disk refuses; Conflict if a newer box wrote the file.
        """
        with self._write_lock, self._translated():
            self._connect_writer()
            self._is_open = True

    def close(self) -> None:
        """Close every connection; a second close does nothing."""
        with self._write_lock:
            self._is_open = False
            self._disconnect()

    def append(self, predictions: Sequence[Prediction]) -> list[int]:
        """Store predictions, all or none.

        Returns: their ids, in order. Raises: Unavailable if the disk refuses.
        """
        rows = [_row(p) for p in predictions]

        def insert(connection: sqlite3.Connection) -> list[int]:
            return [_last_id(connection.execute(_INSERT, row)) for row in rows]

        ids = self._write(insert)
        self._count(appended=len(ids))
        return ids

    def query(self, query: PredictionQuery) -> list[Prediction]:
        """Find predictions, newest first unless the query says otherwise."""
        where, values = query.where()
        order = "ASC" if query.oldest_first else "DESC"
        sql = f"SELECT {_COLUMNS}, id FROM predictions WHERE {where} ORDER BY id {order} LIMIT ?"
        rows = self._read(sql, [*values, query.limit])
        return [_prediction(row) for row in rows]

    def count(self, query: PredictionQuery) -> int:
        """Count all that match, whatever the query's limit."""
        where, values = query.where()
        rows = self._read(f"SELECT count(*) FROM predictions WHERE {where}", values)
        return int(rows[0][0])

    def retain(self, *, max_rows: int, max_age_s: float) -> int:
        """Delete the oldest rows over max_rows, and all older than max_age_s.

        Small transactions, so that appends get in between. The file does not shrink; the space
        is used again. Returns: how many rows were deleted.
        """
        sql = "SELECT id FROM predictions ORDER BY id DESC LIMIT 1 OFFSET ?"
        surplus = self._read(sql, [max_rows])
        deleted = self._delete("id <= ?", surplus[0][0]) if surplus else 0
        return deleted + self._delete("emitted_at < ?", self._clock() - max_age_s)

    def statistics(self) -> StoreStatistics:
        """Look at the store."""
        # Apart: together SQLite would read every row instead of an end of each index.
        ((rows,),) = self._read("SELECT count(*) FROM predictions", [])
        ((newest_id,),) = self._read("SELECT max(id) FROM predictions", [])
        ((oldest,),) = self._read("SELECT min(emitted_at) FROM predictions", [])
        return StoreStatistics(
            rows=rows,
            newest_id=newest_id,
            oldest_emitted_at=oldest,
            size_bytes=self._path.stat().st_size,
            appended=self._counts["appended"],
            deleted=self._counts["deleted"],
            failed=self._counts["failed"],
            set_aside=self._counts["set_aside"],
        )

    def _delete(self, condition: str, value: float) -> int:
        sql = (
            "DELETE FROM predictions WHERE id IN"
            f" (SELECT id FROM predictions WHERE {condition} LIMIT {_DELETE_CHUNK_ROWS})"
        )
        total = 0
        while count := self._write(lambda connection: connection.execute(sql, [value]).rowcount):
            total += count
            self._count(deleted=count)
        return total

    def _write(self, action: Callable[[sqlite3.Connection], Result]) -> Result:
        with self._write_lock, self._translated():
            try:
                return self._transact(action)
            except sqlite3.DatabaseError as exc:
                if not _is_damage(exc):
                    raise
                self._begin_anew(exc)
                return self._transact(action)

    def _transact(self, action: Callable[[sqlite3.Connection], Result]) -> Result:
        self._check_open()
        connection = self._connect_writer()
        connection.execute("BEGIN IMMEDIATE")
        # Commits, or rolls back what SQLite has not by itself, as it does on a full disk.
        with connection:
            return action(connection)

    def _read(self, sql: str, values: Sequence[object]) -> list[Row]:
        with self._translated():
            generation = self._generation
            try:
                return self._fetch(sql, values)
            except sqlite3.DatabaseError as exc:
                if not _is_damage(exc):
                    raise
                with self._write_lock:
                    # Another thread may have found the same damage first.
                    if generation == self._generation:
                        self._begin_anew(exc)
                return self._fetch(sql, values)

    def _fetch(self, sql: str, values: Sequence[object]) -> list[Row]:
        self._check_open()
        with self._lock:
            generation = self._generation
            idle = self._idle_readers.pop() if self._idle_readers else None
        reader = idle or self._connect("rw")
        try:
            rows: list[Row] = reader.execute(sql, values).fetchall()
        except BaseException:
            reader.close()
            raise
        with self._lock:
            is_kept = generation == self._generation and len(self._idle_readers) < _MAX_IDLE_READERS
            if is_kept:
                self._idle_readers.append(reader)
        if not is_kept:
            reader.close()
        return rows

    def _check_open(self) -> None:
        if not self._is_open:
            raise Unavailable("predictions: the store is closed", retry_after_s=_RETRY_AFTER_S)

    def _connect(self, mode: str) -> sqlite3.Connection:
        # check_same_thread: the locks see to it that one thread at a time has a connection.
        return sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=_BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
        )

    def _connect_writer(self) -> sqlite3.Connection:
        """Give the writer; after a failure of the disk it is made again."""
        if self._writer is None:
            try:
                self._writer = self._prepare()
            except sqlite3.DatabaseError as exc:
                if not _is_damage(exc):
                    raise
                self._begin_anew(exc)
        assert self._writer is not None, "prepared, or an error was raised"
        return self._writer

    def _prepare(self) -> sqlite3.Connection:
        connection = self._connect("rwc")
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA journal_size_limit = {_WAL_KEPT_BYTES}")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version == 0:
                connection.executescript(
                    f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {_SCHEMA_VERSION}; COMMIT;"
                )
            elif version != _SCHEMA_VERSION:
                raise Conflict(
                    f"{self._path.name}: got schema {version}, wanted at most {_SCHEMA_VERSION};"
                    " start the newer version of the box, or move the file away"
                )
        except BaseException:
            connection.close()
            raise
        return connection

    def _begin_anew(self, damage: sqlite3.Error) -> None:
        """Set the damaged file aside, with its log, and begin an empty one."""
        self._disconnect()
        stamp = f"{self._path.name}.corrupt-{int(self._clock())}"
        aside = self._path.with_name(stamp)
        number = 1
        while aside.exists():
            number += 1
            aside = self._path.with_name(f"{stamp}-{number}")
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                Path(f"{self._path}{suffix}").rename(f"{aside}{suffix}")
        self._count(set_aside=1)
        logger.error("predictions set aside, file is damaged kept=%s cause=%s", aside.name, damage)
        self._writer = self._prepare()

    def _disconnect(self) -> None:
        with self._lock:
            self._generation += 1
            readers, self._idle_readers = self._idle_readers, []
        writer, self._writer = self._writer, None
        # The writer last: SQLite folds the log into the file when the last connection closes.
        for connection in (*readers, writer):
            if connection is not None:
                connection.close()

    def _count(self, **increments: int) -> None:
        with self._lock:
            self._counts.update(increments)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as exc:
            self._count(failed=1)
            raise Unavailable(
                f"predictions: the database failed: {exc}; check the disk's space and rights",
                retry_after_s=_RETRY_AFTER_S,
            ) from exc


def _row(prediction: Prediction) -> Row:
    p = prediction
    assert p.id is None, "a stored prediction is not stored again"
    data = json.dumps(dict(p.data), allow_nan=False)
    return (
        p.app, p.version, p.source, p.sequence, p.captured_at, p.emitted_at, p.label, p.score, data,
    )  # fmt: skip


def _prediction(row: Row) -> Prediction:
    fields: dict[str, Any] = dict(zip(f"{_COLUMNS}, id".split(", "), row, strict=True))
    fields["data"] = json.loads(fields["data"])
    return Prediction(**fields)


def _last_id(cursor: sqlite3.Cursor) -> int:
    assert cursor.lastrowid is not None, "an INSERT of one row has an id"
    return cursor.lastrowid


def _is_damage(error: sqlite3.Error) -> bool:
    # The low byte: extended codes such as SQLITE_CORRUPT_INDEX say the same in more words.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
