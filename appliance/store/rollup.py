"""What is kept beside the rows so that few of them need be read.

Both tables cover the rows up to the open segment; its rows, at most 256 and what one commit adds,
are read themselves. So a lone append writes to neither; every 256 rows they are folded in, in the
transaction that stored the last of them. Retention takes out what it deletes in its transaction.

segments: 256 ids each, with the bounds of their times and the highest score. They turn times into
ids, also where the clock was set back, and say where a high score can be at all.

counts: rows, and the sum of their scores, per 6 hours and per hour and label; for the whole box,
per app, per camera, and per both ('' stands for all, and for no label). For the whole box per 5
minutes, too: for every camera that would be more counts than rows on a box of few frames. They
answer a summary by any of app, camera, label and time; min_score needs the rows.
"""

import sqlite3

SEGMENT_IDS = 256
# Widest first. Charts ask for 5, 10, 15, 30 minutes, hours, days; a month has 120 times 6 hours.
SPANS_S = (21600, 3600, 300)
# Of a summary by app, by camera, or both.
FILTERED_SPANS_S = (21600, 3600)

# span_s, whether per app, whether per camera.
_SCOPES = """(VALUES (21600, 0, 0), (21600, 0, 1), (21600, 1, 0), (21600, 1, 1),
    (3600, 0, 0), (3600, 0, 1), (3600, 1, 0), (3600, 1, 1), (300, 0, 0))"""
# Starts are multiples of the span. Times before 1970 do not occur: the box's clock gave them.
_COUNT = f"""
INSERT INTO counts
SELECT column1, iif(column2, app, ''), iif(column3, source, ''),
    CAST(emitted_at / column1 AS INTEGER) * column1, ifnull(label, ''),
    :sign * count(*), :sign * count(score), :sign * total(score)
FROM predictions, {_SCOPES}
WHERE id BETWEEN :first AND :last AND emitted_at < :before
GROUP BY 1, 2, 3, 4, 5
ON CONFLICT DO UPDATE SET rows = rows + excluded.rows, scored = scored + excluded.scored,
    score_sum = score_sum + excluded.score_sum
"""
_CLOSE = """
UPDATE segments SET last_id = :last, (oldest, newest, max_score) = (
    SELECT ifnull(min(emitted_at), 9e999), ifnull(max(emitted_at), -9e999),
        ifnull(max(score), -9e999)
    FROM predictions WHERE id BETWEEN :first AND :last
) WHERE first_id = :first
"""
_OPEN = "INSERT INTO segments VALUES (?, 9223372036854775807, -9e999, 9e999, 9e999)"


def open_segment(connection: sqlite3.Connection) -> int:
    """Give the first id of the open segment; what is before it is folded."""
    ((first,),) = connection.execute("SELECT max(first_id) FROM segments")
    return int(first)


def fold(connection: sqlite3.Connection, max_segments: int) -> bool:
    """Close as many segments as ids were given for, and count their rows.

    Returns: whether there were any; if so there may be more.
    """
    first = open_segment(connection)
    whole = ((newest_id(connection) or 0) - first + 1) // SEGMENT_IDS
    if whole < 1:
        return False
    last = first + min(whole, max_segments) * SEGMENT_IDS - 1
    _count(connection, first, last, float("inf"), sign=1)
    for start in range(first, last, SEGMENT_IDS):
        connection.execute(_CLOSE, {"first": start, "last": start + SEGMENT_IDS - 1})
        connection.execute(_OPEN, [start + SEGMENT_IDS])
    return True


def newest_id(connection: sqlite3.Connection) -> int | None:
    """Give the last id that was ever given, deleted or not; None if there was none."""
    sql = "SELECT seq FROM sqlite_sequence WHERE name = 'predictions'"
    found = connection.execute(sql).fetchone()
    return None if found is None else int(found[0])


def forget(connection: sqlite3.Connection, first: int, last: int, before: float) -> int:
    """Delete the rows with ids from first to last, inclusive, emitted before a time.

    Returns: how many.
    """
    folded = open_segment(connection) - 1
    _count(connection, first, min(last, folded), before, sign=-1)
    connection.execute("DELETE FROM counts WHERE rows <= 0")
    deleted = connection.execute(
        "DELETE FROM predictions WHERE id BETWEEN ? AND ? AND emitted_at < ?", [first, last, before]
    ).rowcount
    connection.execute(
        "DELETE FROM segments WHERE last_id <"
        " (SELECT ifnull(min(id), 9223372036854775807) FROM predictions)"
    )
    return deleted


def _count(
    connection: sqlite3.Connection, first: int, last: int, before: float, *, sign: int
) -> None:
    connection.execute(_COUNT, {"first": first, "last": last, "before": before, "sign": sign})
