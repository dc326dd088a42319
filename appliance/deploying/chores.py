"""What a frame's thread leaves to another: writing into the journal, and rolling back."""

import logging
import queue
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)

Chore = Callable[[], None]
# Hands a chore over: it is done at some time.
Later = Callable[[Chore], None]


def at_once(chore: Chore) -> None:
    """Do it on the caller's thread."""
    chore()


class Chores:
    """Does one after another in a thread; `start` and `stop` it.

    Bounded by what makes them: a version's probation, and its end.
    """

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[Chore | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="deploys", daemon=True)

    def start(self) -> None:
        """Begin; what was put before is done, too."""
        self._thread.start()

    def stop(self) -> None:
        """Return when all that was put is done; what comes later is not."""
        self._waiting.put(None)
        self._thread.join()

    def put(self, chore: Chore) -> None:
        """Have it done."""
        self._waiting.put(chore)

    def _run(self) -> None:
        while (chore := self._waiting.get()) is not None:
            try:
                chore()
            except Exception:
                log.exception("chore of a deploy failed")
