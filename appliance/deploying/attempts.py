"""One deploy under way: journalled from its receipt to its end."""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from appliance.deploying.journal import DeployJournal
from appliance.deploying.probation import NO_PROBATION, Probation
from appliance.deploying.stages import Asker, Kind, Stage
from appliance.errors import ApplianceError
from appliance.standings import FailureBook

log = logging.getLogger(__name__)

# A bug of ours; its traceback is in the log.
OUR_FAULT = "the box failed on it; its log has the reason"


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be done, and by whom.

    before: the version that answers now, "" if none.   had_files: the wanted one is on disk.
    reason: why, where the box decides.
    """

    name: str
    version: str
    kind: Kind
    by: Asker
    before: str = ""
    had_files: bool = True
    reason: str = ""
    probation: Probation = NO_PROBATION

    @property
    def what(self) -> str:
        """Name it in counts and in the log."""
        is_fallback = self.kind is Kind.ROLLBACK and self.by is Asker.AUTOMATIC
        return "automatic_rollback" if is_fallback else self.kind.value


@dataclass(frozen=True, slots=True)
class Attempt:
    """A deploy under way."""

    id: int
    wish: Wish
    reach: Callable[[Stage], None]


class Attempts:
    """Begins deploys and notes their ends. Thread-safe. clock: Unix seconds."""

    def __init__(
        self, journal: DeployJournal, failures: FailureBook, clock: Callable[[], float]
    ) -> None:
        self._journal = journal
        self._failures = failures
        self._clock = clock
        self._lock = threading.Lock()
        self._outcomes: Counter[tuple[str, str]] = Counter()

    def outcomes(self) -> dict[tuple[str, str], int]:
        """Count what was done: (deploy, rollback, automatic_rollback, enable), (live, failed)."""
        with self._lock:
            return dict(self._outcomes)

    @contextmanager
    def of(self, wish: Wish) -> Iterator[Attempt]:
        """Have a deploy on record inside the block, which ends well or raises.

        Raises: Unavailable if the disk refuses the record, before the block begins.
        """
        number = None
        try:
            number = self._journal.begin(
                wish.name, wish.version, wish.kind, wish.by, before=wish.before,
                had_files=wish.had_files, reason=wish.reason, probation=wish.probation,
            ).id  # fmt: skip
            yield Attempt(number, wish, self._reach(number))
        except Exception as exc:
            reason = str(exc) if isinstance(exc, ApplianceError) else OUR_FAULT
            if number is not None:
                self._journal.step(number, Stage.FAILED, reason)
            self._failures.note(wish.name, wish.version, reason, at=self._clock())
            self._count(wish, "failed")
            log.warning(
                "%s failed app=%s version=%s reason=%s", wish.what, wish.name, wish.version, reason
            )
            raise
        self._failures.forget(wish.name)
        self._count(wish, "live")

    def _reach(self, number: int) -> Callable[[Stage], None]:
        return lambda stage: self._journal.step(number, stage)

    def _count(self, wish: Wish, outcome: str) -> None:
        with self._lock:
            self._outcomes[wish.what, outcome] += 1
