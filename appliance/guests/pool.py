"""Warm instances, and whose turn it is to have one.

Guarantees:
1. Nobody overtakes: what is given back goes to who waits, also if its last user comes again first.
2. Fair between sources: of those that wait, whoever was served least is next. A client that sends
   a hundred frames at once is served no more often than a camera that has one at a time, and who
   came back a moment late catches up, by at most CATCH_UP.
3. At most `limit` are alive.
"""

import threading
from collections import deque

from appliance.guests.instance import Instance

# Frames by which a source may have been served less before it is taken to have been idle, which
# earns nothing; chosen: enough for what a slow disk or a thread's wake-up costs in turns.
CATCH_UP = 8
_MAX_KNOWN = 256


class _Waiter:
    """Somebody in the line. instance: what was handed over; None to make one."""

    __slots__ = ("granted", "instance")

    def __init__(self) -> None:
        self.granted = threading.Event()
        self.instance: Instance | None = None


class InstancePool:
    """Up to `limit` instances; those who use the pool make and close them."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        self._idle: list[Instance] = []
        self._alive = 0
        self._lines: dict[str, deque[_Waiter]] = {}
        # How often each source was served, counted so that those who are busy are about even; and
        # how far who was served last had come.
        self._served: dict[str, int] = {}
        self._clock = 0
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
                self._serve(source)
                if self._idle:
                    return self._idle.pop()
                self._alive += 1
                return None
            waiter = _Waiter()
            self._lines.setdefault(source, deque()).append(waiter)
        if waiter.granted.wait(timeout_s):
            return waiter.instance
        with self._lock:
            if waiter.granted.is_set():
                return waiter.instance
            line = self._lines[source]
            line.remove(waiter)
            if not line:
                del self._lines[source]
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
        if not self._lines:
            return False
        # The first of equals is who came first.
        source = min(self._lines, key=self._standing)
        line = self._lines.pop(source)
        waiter = line.popleft()
        if line:
            self._lines[source] = line
        self._serve(source)
        waiter.instance = instance
        waiter.granted.set()
        return True

    def _standing(self, source: str) -> int:
        return max(self._served.get(source, 0), self._clock - CATCH_UP)

    def _serve(self, source: str) -> None:
        standing = self._standing(source)
        self._clock = max(self._clock, standing)
        self._served[source] = standing + 1
        if len(self._served) > _MAX_KNOWN:
            idle = self._clock - CATCH_UP
            self._served = {name: count for name, count in self._served.items() if count > idle}

    def close(self) -> None:
        """Close all that are idle now; one that is in use is closed when it is given back."""
        with self._lock:
            self._is_closed = True
            instances, self._idle = self._idle, []
            self._alive -= len(instances)
        for instance in instances:
            instance.close()
