"""Model archives, unpacked to a folder; what is read of one and what is refused: `archives`.

A failure leaves a partly filled folder, which is the caller's to remove.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from appliance.archives import ARCHIVE_SUFFIXES, MAX_DEPTH, Bounds, Visitor, visit
from appliance.files import new_file, writing

__all__ = ["ARCHIVE_SUFFIXES", "Bounds", "find_in", "model_root", "names_in", "unpack"]


def unpack(archive: Path, folder: Path, bounds: Bounds, *, only: str | None = None) -> None:
    """Unpack an archive into a folder.

    only: the last part of the names of files that are wanted; None for all.
    Raises: BadRequest for what is no archive, damaged, or holds what it should not; TooBig;
    Unavailable if the disk refuses.
    """

    def take(name: str, pieces: Iterator[bytes]) -> None:
        target = folder / name
        with writing(target), new_file(target) as out:
            for piece in pieces:
                out.write(piece)

    def wants(name: str) -> bool:
        return only is None or name.split("/")[-1] == only

    # What is not wanted is skipped, however long it is.
    reach_bytes = bounds.max_bytes if only is None else sys.maxsize
    with archive.open("rb") as file:
        visit(file, bounds, Visitor(wants, take, reach_bytes))


def names_in(archive: Path, max_bytes: int) -> list[str]:
    """List the files in an archive, none of which is unpacked.

    max_bytes: how far it may go on, unpacked.
    Raises: BadRequest if it is no archive or damaged, TooBig.
    """
    names: list[str] = []

    def wants(name: str) -> bool:
        names.append(name)
        return False

    with archive.open("rb") as file:
        visit(file, Bounds(max_bytes), Visitor(wants, lambda _name, _pieces: None, max_bytes))
    return names


def find_in(archive: Path, name: str, max_bytes: int) -> bytes | None:
    """Read the first file of that name in an archive, wherever it lies; None if there is none.

    Raises: BadRequest if it is no archive or damaged, TooBig.
    """
    with tempfile.TemporaryDirectory() as folder:
        unpack(archive, Path(folder), Bounds(max_bytes), only=name)
        found = next(Path(folder).rglob(name), None)
        return None if found is None else found.read_bytes()


def model_root(folder: Path) -> Path:
    """Find the model in what was unpacked: people pack a folder as often as its files."""
    for _ in range(MAX_DEPTH):
        inside = list(folder.iterdir())
        if len(inside) != 1 or not inside[0].is_dir():
            break
        folder = inside[0]
    return folder
