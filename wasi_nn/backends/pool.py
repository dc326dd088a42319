"""Keep what is costly to make and serves one user at a time, in bounds."""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")


class IdlePool(Generic[Key, Item]):
    """Idle things by key; over the bound, the one with the key unused for longest is dropped.

    Guarantee: a thing is with one user or in the pool, never both.
    """

    def __init__(self, max_idle: int) -> None:
        self._max_idle = max_idle
        # Least recently used key first; no key without a thing.
        self._idle: OrderedDict[Key, list[Item]] = OrderedDict()
        self._count = 0
        self._is_closed = False
        self._lock = threading.Lock()

    def take(self, key: Key) -> Item | None:
        """Take a thing, or None if none is idle."""
        with self._lock:
            if key not in self._idle:
                return None
            return self._pop(key)

    def give(self, key: Key, item: Item) -> None:
        """Put a thing back; after close it is dropped."""
        dropped: Item | None = item
        with self._lock:
            if not self._is_closed:
                dropped = None
                self._idle.setdefault(key, []).append(item)
                self._idle.move_to_end(key)
                self._count += 1
                if self._count > self._max_idle:
                    dropped = self._pop(next(iter(self._idle)))
        # Freed here, outside the lock: it may take a while.
        del dropped

    def close(self) -> None:
        """Drop all."""
        with self._lock:
            self._is_closed = True
            dropped = list(self._idle.values())
            self._idle.clear()
        del dropped

    def _pop(self, key: Key) -> Item:
        items = self._idle[key]
        item = items.pop()
        self._count -= 1
        if not items:
            del self._idle[key]
        return item
