"""How many may do something at once: a bound that refuses instead of letting people wait."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from appliance.errors import Unavailable


class Seats:
    """So many seats for something; thread-safe."""

    def __init__(self, count: int, what: str) -> None:
        self._lock = threading.Lock()
        self._free = self._count = count
        self._what = what

    @property
    def taken(self) -> int:
        return self._count - self._free

    @contextmanager
    def one(self) -> Iterator[None]:
        """Take a seat for the block. Raises: Unavailable if none is free."""
        with self._lock:
            if not self._free:
                raise Unavailable(
                    f"{self._what}: the box has {self._count} already, its bound; close one"
                )
            self._free -= 1
        try:
            yield
        finally:
            with self._lock:
                self._free += 1
