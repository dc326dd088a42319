"""Where apps stand: live, disabled or failed, and what last went wrong with a change."""

from dataclasses import dataclass
from enum import StrEnum

from appliance.errors import ApplianceError

# Names are the client's to invent; the oldest failure is forgotten.
KEPT_FAILURES = 100


class AppState(StrEnum):
    """LIVE: frames are answered.   DISABLED: the operator's wish.   FAILED: it did not come up."""

    LIVE = "live"
    DISABLED = "disabled"
    FAILED = "failed"


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
    failure: of the last change, if it failed.
    """

    name: str
    state: AppState
    version: str
    failure: Failure | None = None


class FailureBook:
    """The last failure of each name. Written under the deployer's lock."""

    def __init__(self) -> None:
        self._failures: dict[str, Failure] = {}

    def all(self) -> tuple[Failure, ...]:
        """List them, the oldest first."""
        return tuple(self._failures.values())

    def get(self, name: str) -> Failure | None:
        """Find a name's."""
        return self._failures.get(name)

    def note(self, name: str, version: str, error: ApplianceError, *, at: float) -> None:
        """Keep a failure in place of the name's last one."""
        self._failures.pop(name, None)
        self._failures[name] = Failure(name, version, str(error), at)
        if len(self._failures) > KEPT_FAILURES:
            del self._failures[next(iter(self._failures))]

    def forget(self, name: str) -> None:
        """Strike a name off."""
        self._failures.pop(name, None)
