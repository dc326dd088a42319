"""What is deleted: the oldest rows over a number, all over an age, the oldest over a size.

Guarantees:
1. Small transactions of at most 1024 ids, so that appends get in between.
2. What is deleted is decided by the rows themselves, never by a table made from them.
3. With a bound on the size, the file does not grow beyond it: whoever appends makes room first.
   Deleted space is used again before the file grows, so the file is given back to the disk only
   if it is over the bound, as after the operator has lowered it (and not at all if a box of
   schema 1 made it). The log beside it comes on top: 16 MiB, more only while somebody reads for
   long. One append that is larger than the reserve, 4 MiB, may exceed the bound until the next.
"""

import sqlite3

from appliance.store.rollup import forget

CHUNK_IDS = 1024
# What may be appended between two looks at the size, its indices and counts included.
RESERVE_BYTES = 4 * 1024 * 1024
# Smaller than this a history makes no sense, and the reserve would be most of it.
MIN_BYTES = 16 * 1024 * 1024
_VACUUM_PAGES = 1024

_SURPLUS = "SELECT id FROM predictions ORDER BY id DESC LIMIT 1 OFFSET ?"
_OLD = """
SELECT p.id FROM segments s CROSS JOIN predictions p ON p.id BETWEEN s.first_id AND s.last_id
WHERE s.oldest < :before AND p.emitted_at < :before AND p.id > :after
ORDER BY s.first_id, p.id LIMIT 1
"""


def last_surplus(connection: sqlite3.Connection, max_rows: int) -> int | None:
    """Find the newest id over max_rows, None if there are not so many rows."""
    oldest, newest = _ends(connection)
    # Ids are unique, so this bounds the rows without counting them.
    if newest - oldest < max_rows:
        return None
    found = connection.execute(_SURPLUS, [max_rows]).fetchone()
    return None if found is None else int(found[0])


def delete_through(connection: sqlite3.Connection, last: int) -> int:
    """Delete some of the oldest rows up to an id, inclusive. Returns: how many; 0 at the end."""
    oldest, _ = _ends(connection)
    if oldest > last:
        return 0
    return forget(connection, oldest, min(last, oldest + CHUNK_IDS - 1), float("inf"))


def next_old(connection: sqlite3.Connection, before: float, after: int) -> int | None:
    """Find the first id after another whose row was emitted before a time."""
    found = connection.execute(_OLD, {"before": before, "after": after}).fetchone()
    return None if found is None else int(found[0])


def used_bytes(connection: sqlite3.Connection) -> int:
    """Tell what of the file is in use; the rest is used before the file grows."""
    ((size,),) = connection.execute("PRAGMA page_size")
    ((pages,),) = connection.execute("PRAGMA page_count")
    ((free,),) = connection.execute("PRAGMA freelist_count")
    return int(size * (pages - free))


def make_room(connection: sqlite3.Connection, max_bytes: int) -> int:
    """Delete the oldest rows until the file, and what is appended next, stay under a size.

    Returns: how many.
    """
    deleted = 0
    while used_bytes(connection) > max_bytes - RESERVE_BYTES:
        _, newest = _ends(connection)
        count = delete_through(connection, newest)
        if count == 0:
            break
        deleted += count
    return deleted


def shrink(connection: sqlite3.Connection, max_bytes: int) -> bool:
    """Give some free pages at the end of the file back to the disk, if it is over its bound.

    Returns: whether there may be more.
    """
    ((size,),) = connection.execute("PRAGMA page_size")
    ((pages,),) = connection.execute("PRAGMA page_count")
    surplus = pages - max_bytes // size
    if surplus <= 0:
        return False
    connection.execute(f"PRAGMA incremental_vacuum({min(surplus, _VACUUM_PAGES)})").fetchall()
    ((left,),) = connection.execute("PRAGMA page_count")
    return bool(left < pages)


def _ends(connection: sqlite3.Connection) -> tuple[int, int]:
    # Apart: together SQLite would read every row instead of both ends.
    ((oldest,),) = connection.execute("SELECT min(id) FROM predictions")
    ((newest,),) = connection.execute("SELECT max(id) FROM predictions")
    return (1, 0) if oldest is None else (int(oldest), int(newest))
