"""What is no database where one belongs: found before SQLite opens it, or by SQLite, and set aside.

Nothing is deleted: what was there stays beside, under a dated name.
"""

import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from appliance.files import set_aside

SUFFIXES = ("", "-wal", "-shm")
# Of a log in either byte order. Source: https://www.sqlite.org/fileformat2.html#walformat
_WAL_MAGICS = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")


# The binding cannot even read SQLite's message where that quotes what is damaged.
FAULTS = (sqlite3.DatabaseError, UnicodeDecodeError)


def is_damage(error: Exception) -> bool:
    """Tell whether SQLite says that the file is damaged, or none of its own."""
    if isinstance(error, UnicodeDecodeError) or "unsupported file format" in str(error):
        return True
    return code_of(error) in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def code_of(error: Exception) -> int:
    """Give the low byte: extended codes such as SQLITE_CORRUPT_INDEX say the same in more words."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def clear_way(path: Path) -> int:
    """Set aside what SQLite could not open, and a log that it would pass over without a word.

    Returns: how many. Raises: OSError.
    """
    cleared = 0
    for suffix in SUFFIXES:
        file = path.with_name(path.name + suffix)
        is_odd = os.path.lexists(file) and not file.is_file()
        if is_odd or (suffix == "-wal" and _is_garbage(file)):
            cleared += set_aside(file) is not None
    return cleared


def _is_garbage(log: Path) -> bool:
    try:
        with log.open("rb") as file:
            begin = file.read(4)
    except FileNotFoundError:
        return False
    return bool(begin) and begin not in _WAL_MAGICS


def has_log(path: Path) -> bool:
    """Tell whether some of the history is in the log and not in the file yet."""
    try:
        return os.stat(f"{path}-wal").st_size > 0
    except FileNotFoundError:
        return False


def set_database_aside(path: Path, clock: Callable[[], float]) -> Path:
    """Move a damaged file with its log. Returns: where it is. Raises: OSError."""
    stamp = f"{path.name}.corrupt-{int(clock())}"
    aside = path.with_name(stamp)
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{stamp}-{number}")
    for suffix in SUFFIXES:
        with suppress(FileNotFoundError):
            path.with_name(f"{path.name}{suffix}").rename(f"{aside}{suffix}")
    return aside
