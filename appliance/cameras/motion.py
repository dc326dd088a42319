"""Whether anything moved since the last frame that passed; pure.

Compared are small pictures of brightness, in the worker and before anything else is spent. They
are averages over areas, so a sensor's noise is gone and what is left is a thing that moved.
"""

import numpy as np
from numpy.typing import NDArray

from appliance.cameras.wire import MotionRule

# The width and height that frames are reduced to. 64 columns: a person at 20 m, seen by a lens of
# 90 degrees, is one column wide.
SIZE_WH = (64, 36)


def moved_share(before: NDArray[np.uint8], now: NDArray[np.uint8], *, threshold: int) -> float:
    """Tell the share of spots, 0..1, whose brightness differs by more than the threshold.

    before, now: uint8 (H, W), of one shape. A change of the whole picture's brightness (a cloud,
    the camera's exposure) is taken out first.
    """
    change = now.astype(np.int16) - before
    change -= np.int16(np.median(change))
    return float(np.mean(np.abs(change) > threshold))


class MotionState:
    """The gate of one camera."""

    def __init__(self, rule: MotionRule) -> None:
        self._rule = rule
        self._passed: NDArray[np.uint8] | None = None
        self._passed_at = 0.0

    def passes(self, luma: NDArray[np.uint8], now: float) -> bool:
        """Decide about a frame. luma: uint8 (H, W).   now: monotonic seconds.

        Compared is with the last frame that passed, not with the last one: slow movement adds up.
        """
        before = self._passed
        if before is not None and before.shape == luma.shape:
            share = moved_share(before, luma, threshold=self._rule.threshold)
            is_due = now - self._passed_at >= self._rule.keep_every_s
            # >: with min_area 0 a single spot is enough, but not none.
            if share <= self._rule.min_area and not is_due:
                return False
        self._passed, self._passed_at = luma, now
        return True
