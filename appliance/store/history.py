"""The history of predictions: appended as they come, asked for by app, camera, label and time.

Guarantees:
1. What `append` returned ids for survives a kill -9 of the box; for a power cut see connections.
2. Ids grow in the order of commits, one by one, and are never used twice, not even after their
   rows were deleted.
3. `on_stored` hears of every prediction that was stored, once, in the order of ids, and before
   anything that is stored later. So a reader of the database who then listens misses none.
4. A damaged file is set aside and a new one begun, at `open` or whenever SQLite finds the damage.
   Nothing is deleted because of it.
5. A full or read-only disk fails the call with Unavailable, and what is there can be read; the
   store works again when the disk does. The log says when this begins and when it ends.

Any thread may call anything. Who appends at the same time shares one transaction.
"""

import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Self

from appliance.errors import Unavailable
from appliance.records import Prediction
from appliance.store.commits import GroupCommit
from appliance.store.connections import Action, Connections
from appliance.store.query import COLUMNS, PredictionQuery, Row, count, find, row_of
from appliance.store.retention import (
    CHUNK_IDS,
    RESERVE_BYTES,
    delete_through,
    last_surplus,
    make_room,
    next_old,
    shrink,
    used_bytes,
)
from appliance.store.rollup import fold, forget, newest_id
from appliance.store.summary import Summary, SummaryQuery, summarize

log = logging.getLogger(__name__)

_INSERT = f"INSERT INTO predictions ({COLUMNS}, id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
# Bytes of text that share a transaction: a commit of at most some 10 ms.
_MAX_COMMIT_BYTES = 1024 * 1024
# A row takes about this in the file beside its text, indices and counts included; measured.
_ROW_BYTES = 400

# Only a commit of very many rows has more than one.
_SEGMENTS_AT_ONCE = 16

Stored = Callable[[Sequence[Prediction]], None]


@dataclass(frozen=True, slots=True)
class StoreStatistics:
    """A look at the store. commits and the last four count since the start.

    size_bytes: of the file; used_bytes: of it, not free to be used again.
    """

    rows: int
    newest_id: int | None
    oldest_emitted_at: float | None
    size_bytes: int
    used_bytes: int
    commits: int
    appended: int
    deleted: int
    failed: int
    set_aside: int


@dataclass(frozen=True, slots=True)
class StoreCounts:
    """Since the start: predictions stored, not stored for the disk's sake, files set aside."""

    stored: int
    missed: int
    set_aside: int


class PredictionStore:
    """The predictions of the box; `with PredictionStore(path) as store`, or open and close.

    clock: Unix seconds.   max_bytes: of the file; see retention.   on_stored: see above; it must
    be quick and must not raise.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], float] = time.time,
        max_bytes: int | None = None,
        on_stored: Stored | None = None,
    ) -> None:
        self._path = path
        self._clock = clock
        self._max_bytes = max_bytes
        self._on_stored = on_stored
        self._connections = Connections(path, clock)
        self._commits = GroupCommit(self._commit, self._after, max_cost=_MAX_COMMIT_BYTES)
        # Bytes appended since the size was looked at; only who commits touches it.
        self._unseen_bytes = RESERVE_BYTES
        self._lock = Lock()
        self._counts = {"commits": 0, "appended": 0, "deleted": 0}
        self._missed = 0
        # Why nothing is stored at the moment, and how many since it began.
        self._failure = ""
        self._missed_now = 0

    def __repr__(self) -> str:
        state = "open" if self._connections.is_open else "closed"
        counts = {**self._counts, **self._connections.counts}
        shown = "".join(f" {key}={count}" for key, count in sorted(counts.items()) if count)
        return f"<PredictionStore {state}{shown}>"

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> None:
        """Open the database, making it if there is none.

        Raises: Unavailable if the disk refuses, and calls try again until it does not; Conflict if
        a newer box wrote the file.
        """
        try:
            self._connections.open()
        except Unavailable as exc:
            self._failure = str(exc)
            raise

    def close(self) -> None:
        """Close every connection; a second close does nothing."""
        self._connections.close()

    def append(self, predictions: Sequence[Prediction]) -> list[int]:
        """Store predictions, all or none.

        Returns: their ids, in order. Raises: Unavailable if the disk refuses.
        """
        if not predictions:
            return []
        rows = [row_of(prediction) for prediction in predictions]
        cost = sum(_ROW_BYTES + len(row[-1]) for row in rows)
        try:
            ids = self._commits.add(list(zip(predictions, rows, strict=True)), cost)
        except Unavailable as exc:
            self._note_missed(len(rows), str(exc))
            raise
        if self._failure:
            self._note_end()
        return ids

    def query(self, query: PredictionQuery) -> list[Prediction]:
        """Find predictions, newest first unless the query says otherwise."""
        return self._connections.read(lambda connection: find(connection, query))

    def count(self, query: PredictionQuery) -> int:
        """Count all that match, whatever the query's limit."""
        return self._connections.read(lambda connection: count(connection, query))

    def summary(self, query: SummaryQuery) -> Summary:
        """Count by label and interval. Raises: BadRequest for too short an interval."""
        now = self._clock()
        return self._connections.read(lambda connection: summarize(connection, query, now))

    def newest_id(self) -> int:
        """Give the last id that was given, deleted or not; 0 if none was."""
        return self._connections.read(lambda connection: newest_id(connection) or 0)

    def retain(self, *, max_rows: int, max_age_s: float) -> int:
        """Delete the oldest rows over max_rows and max_bytes, and all older than max_age_s.

        Small transactions, so that appends get in between. Returns: how many were deleted.
        """
        deleted = 0
        last = self._connections.read(lambda connection: last_surplus(connection, max_rows))
        if last is not None:
            while count := self._delete(lambda connection: delete_through(connection, last)):
                deleted += count
        deleted += self._delete_older(self._clock() - max_age_s)
        if self._max_bytes is not None:
            max_bytes = self._max_bytes
            deleted += self._delete(lambda connection: make_room(connection, max_bytes))
            while self._connections.write(lambda connection: shrink(connection, max_bytes)):
                pass
        return deleted

    def counts(self) -> StoreCounts:
        """Count; at the cost of nothing."""
        with self._lock:
            return StoreCounts(
                self._counts["appended"], self._missed, self._connections.counts["set_aside"]
            )

    def problems(self) -> list[str]:
        """Say what is wrong: that nothing is stored now, that the file was damaged before."""
        failure = self._failure and f"{self._failure}; new ones are not stored"
        return [problem for problem in (failure, self._connections.problem()) if problem]

    def statistics(self) -> StoreStatistics:
        """Look at the store."""

        def look(connection: sqlite3.Connection) -> tuple[int, int | None, float | None, int]:
            # Apart: together SQLite would read every row instead of an end of each index.
            ((rows,),) = connection.execute("SELECT count(*) FROM predictions")
            ((newest,),) = connection.execute("SELECT max(id) FROM predictions")
            oldest = connection.execute(
                "SELECT emitted_at FROM predictions ORDER BY id LIMIT 1"
            ).fetchone()
            return rows, newest, None if oldest is None else oldest[0], used_bytes(connection)

        rows, newest, oldest, used = self._connections.read(look)
        return StoreStatistics(
            rows=rows,
            newest_id=newest,
            oldest_emitted_at=oldest,
            size_bytes=self._path.stat().st_size,
            used_bytes=used,
            failed=self._connections.counts["failed"],
            set_aside=self._connections.counts["set_aside"],
            **self._counts,
        )

    def _commit(self, batches: Sequence[Sequence[tuple[Prediction, Row]]]) -> list[list[int]]:
        deleted = 0

        def insert(connection: sqlite3.Connection) -> list[list[int]]:
            nonlocal deleted
            deleted = self._make_room(connection)
            next_id = (newest_id(connection) or 0) + 1
            ids: list[list[int]] = []
            for batch in batches:
                ids.append(list(range(next_id, next_id + len(batch))))
                connection.executemany(
                    _INSERT, [(*row, id_) for (_, row), id_ in zip(batch, ids[-1], strict=True)]
                )
                next_id += len(batch)
            while fold(connection, _SEGMENTS_AT_ONCE):
                pass
            return ids

        given = self._connections.write(insert)
        self._unseen_bytes += sum(
            _ROW_BYTES + len(row[-1]) for batch in batches for _, row in batch
        )
        self._count(commits=1, appended=sum(map(len, given)), deleted=deleted)
        return given

    def _make_room(self, connection: sqlite3.Connection) -> int:
        """Look at the size once in a while, before the reserve can be used up."""
        if self._max_bytes is None or self._unseen_bytes < RESERVE_BYTES // 4:
            return 0
        self._unseen_bytes = 0
        return make_room(connection, self._max_bytes)

    def _after(self, stored: Sequence[tuple[Prediction, Row]], ids: list[int]) -> None:
        if self._on_stored is not None:
            self._on_stored([
                replace(prediction, id=id_)
                for (prediction, _), id_ in zip(stored, ids, strict=True)
            ])  # fmt: skip

    def _delete_older(self, before: float) -> int:
        """Delete what was emitted before a time, also amid newer rows (a clock set back)."""
        deleted, after = 0, 0
        while True:
            first = self._connections.read(
                lambda connection: next_old(connection, before, after)  # noqa: B023
            )
            if first is None:
                return deleted
            after = first + CHUNK_IDS - 1
            deleted += self._delete(
                lambda connection: forget(connection, first, after, before)  # noqa: B023
            )

    def _delete(self, action: Action[int]) -> int:
        count = self._connections.write(action)
        self._count(deleted=count)
        return count

    def _note_missed(self, count: int, reason: str) -> None:
        """Count what is not stored. Once in the log: cameras would fill it, and the disk."""
        with self._lock:
            is_first, self._failure = self._failure == "" or self._missed_now == 0, reason
            self._missed += count
            self._missed_now += count
        if is_first:
            log.error("predictions not stored from now on reason=%s", reason)

    def _note_end(self) -> None:
        with self._lock:
            missed, self._missed_now, self._failure = self._missed_now, 0, ""
        log.warning("predictions stored again missed=%d", missed)

    def _count(self, **increments: int) -> None:
        with self._lock:
            for key, increment in increments.items():
                self._counts[key] += increment
