"""Counts the first frames of a version that answers, for its probation."""

import threading
from collections.abc import Callable

from appliance.deploying.probation import Probation, Verdict
from appliance.errors import ApplianceError

# What is told when a frame counted: how far it is, and why, if the verdict is bad.
OnCounted = Callable[[Probation, str], None]


class Watch:
    """One version's. Called on the threads of frames; thread-safe. on_counted must not wait."""

    def __init__(self, probation: Probation, on_counted: OnCounted) -> None:
        self._probation = probation
        self._on_counted = on_counted
        self._lock = threading.Lock()

    def __call__(self, error: ApplianceError | None) -> None:
        """Count a frame. error: why it was not answered, None if it was."""
        # Without the lock: nearly always it is over long ago, and never opens again.
        if not self._probation.is_open:
            return
        with self._lock:
            after = self._probation.after(error)
            if after is self._probation:
                return
            self._probation = after
            # Told in the order in which they were counted.
            self._on_counted(after, _reason(after, error))


def _reason(probation: Probation, error: ApplianceError | None) -> str:
    if probation.verdict is not Verdict.FAILED:
        return ""
    seen = probation.answered + probation.failed
    return f"{probation.failed} of its first {seen} frames failed, the last one: {error}"
