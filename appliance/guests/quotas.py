"""How much apps may write into a folder, all of them together.

What counts is disk space: the blocks of every file, at least one for each name, so that neither
holes nor a million empty files deceive it. A write is charged before it is done, at the most it
can take; when the charges reach the limit the folder is counted, and what was charged too much is
given back. So what guests write never exceeds the limit. What others put into the folder is seen
at the next count; what the file system spends on itself is not seen.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# What stat counts in, whatever the disk's blocks are (stat(2), st_blocks).
_SECTOR_BYTES = 512


class FolderSpace:
    """The space of one folder. Thread-safe.

    path: there is nothing in it that we may not read.   max_bytes: of all files in it.
    names_counted: since the start; counting them is work that somebody's write has caused.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.names_counted = 0
        self._path = path
        self._lock = threading.Lock()
        # Counted, and charged since; it begins full, so that the first write counts.
        self._charged = max_bytes
        # Charged for writes that are under way: no count sees them.
        self._pending = 0

    @contextmanager
    def taking(self, size_bytes: int, names: int = 0) -> Iterator[int | None]:
        """Charge for a write that is done inside the block.

        size_bytes: written.   names: new files or folders.
        Yields: None if there is room; else how much the folder would hold. Nothing is charged then.
        """
        # One block more: a write may begin and end in the middle of two that were holes.
        block = self._block_bytes()
        wanted = 0 if size_bytes == 0 else (size_bytes // block + 2) * block
        # A name takes its file and, now and then, a block of its folder.
        wanted += names * 2 * block
        with self._lock:
            if self._charged + wanted > self.max_bytes:
                self._charged = self.used_bytes() + self._pending
            over = self._charged + wanted
            has_room = over <= self.max_bytes
            if has_room:
                self._charged += wanted
                self._pending += wanted
        try:
            yield None if has_room else over
        finally:
            if has_room:
                with self._lock:
                    self._pending -= wanted

    def used_bytes(self) -> int:
        """Count the folder; what goes away meanwhile is not counted."""
        block = self._block_bytes()
        total, folders = 0, [str(self._path)]
        while folders:
            try:
                with os.scandir(folders.pop()) as entries:
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(entry.path)
                        self.names_counted += 1
                        total += max(block, _space_of(entry))
            except OSError:
                continue
        return total

    def _block_bytes(self) -> int:
        try:
            return os.statvfs(self._path).f_frsize or 4096
        except OSError:
            return 4096


def _space_of(entry: "os.DirEntry[str]") -> int:
    try:
        return entry.stat(follow_symlinks=False).st_blocks * _SECTOR_BYTES
    except OSError:
        return 0


class Spaces:
    """The spaces of all folders: apps that write into the same one share its space."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spaces: dict[Path, FolderSpace] = {}

    def of(self, path: Path, max_bytes: int) -> FolderSpace:
        """Find the space of a folder."""
        real = Path(os.path.realpath(path))
        with self._lock:
            if real not in self._spaces:
                self._spaces[real] = FolderSpace(real, max_bytes)
            return self._spaces[real]
