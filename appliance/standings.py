"""Where apps stand: live, disabled or failed, and what last went wrong with a change."""

import threading
from dataclasses import dataclass
from enum import StrEnum

from appliance.deploying.stages import Deploy

# Names are the client's to invent; the oldest failure is forgotten.
KEPT_FAILURES = 100


class AppState(StrEnum):
    """LIVE: frames are answered.   DISABLED: the operator's wish.   FAILED: it did not come up.
    DEPLOYING: its first version is on the way.
    """

    LIVE = "live"
    DISABLED = "disabled"
    FAILED = "failed"
    DEPLOYING = "deploying"


@dataclass(frozen=True, slots=True)
class Failure:
    """The last change of a name that failed.

    at: Unix seconds.
    """

    name: str
    version: str
    reason: str
    at: float


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an app stands.

    version: that answers, or would. "" if the pointer on disk is lost.
    failure: of the last change, if it failed.   under_way: a change that has not ended.
    """

    name: str
    state: AppState
    version: str
    failure: Failure | None = None
    under_way: Deploy | None = None


class FailureBook:
    """The last failure of each name. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures: dict[str, Failure] = {}

    def all(self) -> tuple[Failure, ...]:
        """List them, the oldest first."""
        with self._lock:
            return tuple(self._failures.values())

    def get(self, name: str) -> Failure | None:
        """Find a name's."""
        with self._lock:
            return self._failures.get(name)

    def note(self, name: str, version: str, reason: str, *, at: float) -> None:
        """Keep a failure in place of the name's last one."""
        with self._lock:
            self._failures.pop(name, None)
            self._failures[name] = Failure(name, version, reason, at)
            if len(self._failures) > KEPT_FAILURES:
                del self._failures[next(iter(self._failures))]

    def forget(self, name: str) -> None:
        """Strike a name off."""
        with self._lock:
            self._failures.pop(name, None)
