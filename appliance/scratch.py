"""Where command guests find their frames: a folder in memory, to spare the flash.

The folder is named by the state folder, so that a box which was killed finds what it left there
and removes it at its next start. Only one box runs over a state folder (`api.socket`).
"""

import hashlib
import os
import shutil
from pathlib import Path

from appliance.errors import Unavailable

MEMORY = Path("/dev/shm")


class Scratch:
    """A private folder between `open` and `close`.

    state: whose it is.   memory: a file system in memory; the state's own disk is used where it
    is missing or not writable.
    """

    def __init__(self, state: Path, memory: Path = MEMORY) -> None:
        name = hashlib.sha256(os.fsencode(state)).hexdigest()[:16]
        is_usable = memory.is_dir() and os.access(memory, os.W_OK)
        parent = memory if is_usable else state / "run"
        self.folder = parent / f"appliance-{os.getuid()}-{name}"

    def open(self) -> None:
        """Make it, empty, for nobody but us.

        Raises: Unavailable if something that is not ours is in the way.
        """
        self.close()
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            # Fails on whatever is there still: in a folder that all may write to, a stranger may
            # have put a link under this name.
            self.folder.mkdir(mode=0o700)
        except OSError as exc:
            raise Unavailable(
                f"scratch folder {self.folder}: {exc.strerror}; remove what is there"
            ) from exc

    def close(self) -> None:
        """Remove it and all in it; a link is left alone."""
        if not self.folder.is_symlink():
            shutil.rmtree(self.folder, ignore_errors=True)
