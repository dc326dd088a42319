"""Which limits an app ran into: how often, and the last time in full.

Some breaches end a call, others only refuse the guest something; both are told to the operator.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Breach:
    """One limit that held.

    limit: its name in [limits].   at: Unix seconds.   allowed: in the limit's unit.
    wanted: how much it would have been; None if nobody can know, as with a loop without end.
    """

    limit: str
    at: float
    allowed: float
    wanted: float | None = None


class BreachBook:
    """The breaches of one version of an app. Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        self._last: Breach | None = None

    def note(self, limit: str, allowed: float, wanted: float | None = None) -> None:
        """Count a breach; see `Breach`."""
        breach = Breach(limit, self._clock(), allowed, wanted)
        with self._lock:
            self._counts[limit] = self._counts.get(limit, 0) + 1
            self._last = breach

    @property
    def last(self) -> Breach | None:
        """The last one."""
        return self._last

    def counts(self) -> Mapping[str, int]:
        """Give the number of breaches by limit."""
        with self._lock:
            return dict(self._counts)
