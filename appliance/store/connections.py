"""The connections to the database file: one that writes, some that read, and what if it is damaged.

Rules:
1. One writer at a time is SQLite's own rule, so its lock is held while SQLite writes. Readers
   wait for nobody (WAL).
2. A damaged file is set aside with its log, as <name>.corrupt-<Unix seconds>, and an empty one is
   begun; the call that found the damage is served from that. Nothing is deleted.
3. Whatever SQLite or the disk refuses is Unavailable. The connection that failed is not used
   again, except the writer, which has rolled back.

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
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from appliance.errors import Unavailable
from appliance.store.schema import make_current

logger = logging.getLogger(__name__)

# Chosen, not measured: an append waits for nobody but a person's sqlite3 shell.
_BUSY_TIMEOUT_S = 5.0
_RETRY_AFTER_S = 10.0
_WAL_KEPT_BYTES = 16 * 1024 * 1024
_MAX_IDLE_READERS = 4

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

    def write(self, action: Action[Result]) -> Result:
        """Run an action in one transaction; all of it is committed, or nothing.

        It may run twice: again in a new file if the first was damaged.
        """
        with self._write_lock, self._translated():
            try:
                return self._transact(action)
            except sqlite3.DatabaseError as exc:
                if not _is_damage(exc):
                    raise
                self._begin_anew(exc)
                return self._transact(action)

    def read(self, action: Action[Result]) -> Result:
        """Run an action that reads, on one state of the database. It may run twice, as above."""
        with self._translated():
            generation = self._generation
            try:
                return self._look(action)
            except sqlite3.DatabaseError as exc:
                if not _is_damage(exc):
                    raise
                with self._write_lock:
                    # Another thread may have found the same damage first.
                    if generation == self._generation:
                        self._begin_anew(exc)
                return self._look(action)

    def _transact(self, action: Action[Result]) -> Result:
        self._check_open()
        connection = self._connect_writer()
        connection.execute("BEGIN IMMEDIATE")
        # Commits, or rolls back what SQLite has not by itself, as it does on a full disk.
        with connection:
            return action(connection)

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
        return sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=_BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
        )

    def _connect_writer(self) -> sqlite3.Connection:
        """Give the writer; after a damage it is made again."""
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
                self._path.with_name(f"{self._path.name}{suffix}").rename(f"{aside}{suffix}")
        self._count("set_aside")
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
        except (sqlite3.Error, OSError) as exc:
            self._count("failed")
            raise Unavailable(
                f"predictions: the database failed: {exc}; check the disk's space and rights",
                retry_after_s=_RETRY_AFTER_S,
            ) from exc


def _is_damage(error: sqlite3.Error) -> bool:
    # The low byte: extended codes such as SQLITE_CORRUPT_INDEX say the same in more words.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
