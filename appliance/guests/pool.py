"""Warm instances, and whose turn it is to have one.

Guarantees: nobody overtakes, what is given back goes to who waits, also if its last user comes
again first; sources are served evenly (`line`); at most `limit` are alive.
"""

import threading

from appliance.guests.instance import Instance
from appliance.guests.line import FairLine


class InstancePool:
    """Up to `limit` instances; those who use the pool make and close them."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        self._idle: list[Instance] = []
        self._alive = 0
        self._line = FairLine()
        # What was handed over to whose turn has come; None to make one.
        self._handed: dict[threading.Event, Instance | None] = {}
        self._is_closed = False

    def __repr__(self) -> str:
        return f"[Instances: {self._alive} of {self.limit}, {len(self._idle)} idle]"

    @property
    def is_idle(self) -> bool:
        """Tell whether nobody uses it or waits."""
        with self._lock:
            return self._alive == len(self._idle)

    def take(self, source: str, timeout_s: float) -> Instance | None:
        """Take an instance, or the right to make one; then one of the two below must follow.

        Returns: None if the caller is to make one.
        Raises: TimeoutError if none was free for so long.
        """
        with self._lock:
            # Where somebody waits nothing is free: it would have been handed over.
            if self._idle or self._alive < self.limit:
                self._line.serve(source)
                if self._idle:
                    return self._idle.pop()
                self._alive += 1
                return None
            turn = self._line.join(source)
        turn.wait(timeout_s)
        with self._lock:
            if turn.is_set():
                return self._handed.pop(turn)
            self._line.leave(source, turn)
        raise TimeoutError

    def give_back(self, instance: Instance) -> None:
        """Let it be used by the next."""
        with self._lock:
            is_left = self._is_closed
            if is_left:
                self._alive -= 1
            elif not self._grant(instance):
                self._idle.append(instance)
        if is_left:
            instance.close()

    def throw_away(self) -> None:
        """Give back the right to one that was closed, or could not be made."""
        with self._lock:
            if not self._grant(None):
                self._alive -= 1

    def _grant(self, instance: Instance | None) -> bool:
        """Hand over to who is next. Returns: whether there was one."""
        if not self._line:
            return False
        turn = self._line.pop()
        self._handed[turn] = instance
        turn.set()
        return True

    def close(self) -> None:
        """Close all that are idle now; one that is in use is closed when it is given back."""
        with self._lock:
            self._is_closed = True
            instances, self._idle = self._idle, []
            self._alive -= len(instances)
        for instance in instances:
            instance.close()
