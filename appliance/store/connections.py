"""The connections to the database file: one that writes, some that read, and what if it is damaged.

Rules:
1. One writer at a time is SQLite's own rule, so its lock is held while SQLite writes. Readers
   wait for nobody (WAL).
2. A damaged file is set aside with its log, as <name>.corrupt-<Unix seconds>, and an empty one is
   begun; the call that found the damage is served from that. Nothing is deleted.
3. Whatever SQLite or the disk refuses is Unavailable. The connection that failed is not used
   again, except a writer that has rolled back on a full disk.
4. A file that cannot be opened for writing, on a full or read-only disk, is read as it stands, and
   every call tries to open it for writing again.

Durability: WAL with synchronous=NORMAL. What was committed survives a kill -9 at any instant: it
is in the kernel's cache. A power cut may take the last commits, up to the last checkpoint (1000
pages) or what the kernel had written by then (30 s by default), and never leaves half a commit or
a damaged file. FULL would wait for the disk in every commit: measured on a virtual disk, 290 us
instead of 80 for a lone append, and on an SD card it is 5 to 50 ms and wears by it. A box that
stalls its cameras to keep the last seconds before a power cut is the worse one.
"""

import logging
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from appliance.errors import Conflict, Unavailable
from appliance.store.damage import (
    FAULTS,
    clear_way,
    code_of,
    has_log,
    is_damage,
    set_database_aside,
)
from appliance.store.schema import make_current

logger = logging.getLogger(__name__)

# Chosen, not measured: an append waits for nobody but a person's sqlite3 shell.
_BUSY_TIMEOUT_S = 5.0
_RETRY_AFTER_S = 10.0
_WAL_KEPT_BYTES = 16 * 1024 * 1024
_MAX_IDLE_READERS = 4
# A writer that the disk failed like this may have been opened for reading only, or have lost its
# files: the next call opens another, which works once the disk does.
_STALE = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}

Result = TypeVar("Result")
Action = Callable[[sqlite3.Connection], Result]


class Connections:
    """All connections to one file. counts: "failed" calls and files "set_aside" since the start.

    Any thread may call anything.
    """

    def __init__(self, path: Path, clock: Callable[[], float]) -> None:
        self._path = path
        self._clock = clock
        self._is_open = False
        self._write_lock = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._problem = ""
        # Guards what is below; held for no I/O.
        self._lock = threading.Lock()
        self._idle_readers: list[sqlite3.Connection] = []
        # Grows when the file is closed or replaced: a reader of an earlier one is not reused.
        self._generation = 0
        self.counts: Counter[str] = Counter()

    @property
    def is_open(self) -> bool:
        return self._is_open

    def open(self) -> None:
        """Open the database, making it if there is none.

        Raises: Unavailable if the disk refuses, and calls try again until it does not; Conflict if
        a newer box wrote the file.
        """
        with self._write_lock:
            self._is_open = True
            try:
                with self._translated():
                    self._connect_writer()
            except Conflict:
                self._is_open = False
                raise

    def problem(self) -> str:
        """Say what was wrong with the file; "" if nothing was."""
        return self._problem

    def close(self) -> None:
        """Close every connection; a second close does nothing."""
        with self._write_lock:
            self._is_open = False
            self._disconnect()

    def write(self, action: Action[Result]) -> Result:
        """Run an action in one transaction; all of it is committed, or nothing.

        It may run twice: again in a new file if the first was damaged.
        """
        with self._write_lock, self._translated():
            try:
                return self._transact(action)
            except FAULTS as exc:
                if not is_damage(exc):
                    raise
                self._begin_anew(exc)
                return self._transact(action)

    def read(self, action: Action[Result]) -> Result:
        """Run an action that reads, on one state of the database. It may run twice, as above."""
        with self._translated():
            generation = self._generation
            try:
                return self._look(action)
            except FAULTS as exc:
                if not is_damage(exc):
                    if self._writer is not None or not self._is_open:
                        raise
                    return self._look_as_it_stands(action)
                with self._write_lock:
                    # Another thread may have found the same damage first.
                    if generation == self._generation:
                        self._begin_anew(exc)
                return self._look(action)

    def _transact(self, action: Action[Result]) -> Result:
        self._check_open()
        connection = self._connect_writer()
        try:
            connection.execute("BEGIN IMMEDIATE")
            # Commits, or rolls back what SQLite has not by itself, as it does on a full disk.
            with connection:
                return action(connection)
        except sqlite3.DatabaseError as exc:
            if code_of(exc) in _STALE:
                self._disconnect()
            raise

    def _look_as_it_stands(self, action: Action[Result]) -> Result:
        """Read a file that cannot be opened for writing, or not any more."""
        with self._write_lock:
            try:
                self._connect_writer()
            except (sqlite3.Error, UnicodeDecodeError):
                # What is in the log is not in the file, and the file may be between two states.
                if has_log(self._path):
                    raise
                reader = self._connect("ro&immutable=1")
                try:
                    return action(reader)
                finally:
                    reader.close()
        return self._look(action)

    def _look(self, action: Action[Result]) -> Result:
        self._check_open()
        with self._lock:
            generation = self._generation
            idle = self._idle_readers.pop() if self._idle_readers else None
        reader = idle or self._connect("rw")
        try:
            reader.execute("BEGIN")
            result = action(reader)
            reader.execute("ROLLBACK")
        except BaseException:
            reader.close()
            raise
        with self._lock:
            is_kept = generation == self._generation and len(self._idle_readers) < _MAX_IDLE_READERS
            if is_kept:
                self._idle_readers.append(reader)
        if not is_kept:
            reader.close()
        return result

    def _check_open(self) -> None:
        if not self._is_open:
            raise Unavailable("predictions: the store is closed", retry_after_s=_RETRY_AFTER_S)

    def _connect(self, mode: str) -> sqlite3.Connection:
        # check_same_thread: the locks see to it that one thread at a time has a connection.
        connection = sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=_BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
        )
        # Of damaged text what reads: one bad row must not hide the page that it is on.
        connection.text_factory = _text
        return connection

    def _connect_writer(self) -> sqlite3.Connection:
        """Give the writer; after a damage it is made again."""
        if self._writer is None:
            self._clear_way()
            try:
                self._writer = self._prepare()
            except FAULTS as exc:
                if not is_damage(exc):
                    raise
                self._begin_anew(exc)
        assert self._writer is not None, "prepared, or an error was raised"
        return self._writer

    def _clear_way(self) -> None:
        """Set aside what is no database and no log, before SQLite stumbles over it."""
        cleared = clear_way(self._path)
        for _ in range(cleared):
            self._count("set_aside")
        if cleared:
            self._problem = "predictions.db or its log was damaged and set aside beside it"

    def _prepare(self) -> sqlite3.Connection:
        connection = self._connect("rwc")
        try:
            # Only heeded in an empty file; lets a file that has become too large shrink.
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA journal_size_limit = {_WAL_KEPT_BYTES}")
            # Some builds overwrite what is deleted with zeros: twice the writing for retention.
            connection.execute("PRAGMA secure_delete = FAST")
            make_current(connection, self._path.name)
        except BaseException:
            connection.close()
            raise
        return connection

    def _begin_anew(self, damage: Exception) -> None:
        """Set the damaged file aside, with its log, and begin an empty one."""
        self._disconnect()
        aside = set_database_aside(self._path, self._clock)
        self._count("set_aside")
        self._problem = f"predictions.db was damaged and is now {aside.name}; a new one was begun"
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

    def _count(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError, OSError) as exc:
            self._count("failed")
            raise Unavailable(
                f"predictions: the database failed: {exc}; check the disk's space and rights",
                retry_after_s=_RETRY_AFTER_S,
            ) from exc


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")
