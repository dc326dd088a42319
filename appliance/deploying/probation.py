"""Whether a new version stays: pure, of what became of its first frames.

Rules:
1. A frame counts if it was answered, or failed by the guest's own fault. The client's picture, a
   box that is too busy and a disk that is full say nothing about the guest.
2. It is not to stay if its first FIRST_FRAMES all fail, or more than half of its probation: as
   soon as that is certain. Otherwise it has passed after its last frame.
3. A version that is suspended before its first answer (`guests.conduct`) fails these frames, too:
   one that spins to its deadline would else take minutes for its third.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from appliance.errors import ApplianceError, GuestFailed, Suspended

# One bad frame is bad luck, three from the start are a bad guest. Chosen, not measured.
FIRST_FRAMES = 3


class Verdict(StrEnum):
    """FAILED: its frames did.   CRASHED: the service ended while it was in flight."""

    PASSED = "passed"
    FAILED = "failed"
    CRASHED = "crashed"


@dataclass(frozen=True, slots=True)
class Probation:
    """How far a version is.

    frames: that decide; 0 for a version without a probation.   answered, failed: those so far.
    """

    frames: int = 0
    answered: int = 0
    failed: int = 0
    verdict: Verdict | None = None

    @property
    def is_open(self) -> bool:
        return self.frames > 0 and self.verdict is None

    @property
    def is_bad(self) -> bool:
        return self.verdict in (Verdict.FAILED, Verdict.CRASHED)

    def after(self, error: ApplianceError | None) -> "Probation":
        """Count a frame. error: why it was not answered. Returns: itself if it does not count."""
        if not self.is_open or (error is not None and not self._is_guests_fault(error)):
            return self
        if error is None:
            return replace(self, answered=self.answered + 1)._judged()
        return replace(self, failed=self.failed + 1)._judged()

    def _is_guests_fault(self, error: ApplianceError) -> bool:
        if isinstance(error, Suspended):
            return self.failed > 0 and self.answered == 0
        return isinstance(error, GuestFailed) and not error.is_overload

    def _judged(self) -> "Probation":
        first = min(FIRST_FRAMES, self.frames)
        if self.failed * 2 > self.frames or (self.answered == 0 and self.failed >= first):
            return replace(self, verdict=Verdict.FAILED)
        if self.answered + self.failed >= self.frames:
            return replace(self, verdict=Verdict.PASSED)
        return self

    def crashed(self) -> "Probation":
        """End it: the service died of it."""
        return replace(self, verdict=Verdict.CRASHED)


# Of a version that is not watched.
NO_PROBATION = Probation()
