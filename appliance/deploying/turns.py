"""One change of an app at a time, without keeping other apps waiting."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from appliance.errors import Conflict

# Each holds a thread of the box while it waits; chosen, not measured.
MAX_WAITING = 8


@dataclass(slots=True)
class _Turn:
    users: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Turns:
    """A lock for each name, there as long as somebody wants it. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._turns: dict[str, _Turn] = {}

    @contextmanager
    def of(self, name: str, *, is_patient: bool = False) -> Iterator[None]:
        """Wait for a name's turn and have it inside the block.

        is_patient: wait however many do.
        Raises: Conflict if MAX_WAITING changes of the name wait already.
        """
        with self._lock:
            turn = self._turns.setdefault(name, _Turn())
            if turn.users > MAX_WAITING and not is_patient:
                raise Conflict(
                    f"app {name[:80]}: {MAX_WAITING} changes of it wait already for the one under "
                    "way; wait for them"
                )
            turn.users += 1
        try:
            with turn.lock:
                yield
        finally:
            with self._lock:
                turn.users -= 1
                if not turn.users:
                    del self._turns[name]
