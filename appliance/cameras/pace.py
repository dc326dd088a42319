"""Which frames of a stream are wanted, and how fast they come; pure.

Times are seconds on any one clock that the caller chooses and never mixes.
"""

from collections import deque
from collections.abc import Callable
from itertools import pairwise

# Frames come some milliseconds early or late; without leave every second one of a 30 fps stream
# would miss its 30 fps turn.
_EARLY = 0.25
_EARLY_S = 0.01
# Frames a little out of order are late ones, no jump of the clock.
_BACK_S = 10.0
# A measured rate covers this; chosen, not measured.
_WINDOW_S = 3.0


class Gate:
    """Lets at most so many frames a second through, evenly.

    fps: None lets all through.
    """

    def __init__(self, fps: float | None) -> None:
        self._period_s = 1 / fps if fps else 0.0
        self._due_s: float | None = None
        self._last_s = 0.0

    def passes(self, at_s: float) -> bool:
        """Decide about a frame of this time; a clock that jumps back starts anew."""
        due_s = self._due_s
        is_back = at_s < self._last_s - _BACK_S
        self._last_s = at_s if is_back else max(at_s, self._last_s)
        if due_s is None or is_back or at_s - due_s > self._period_s:
            # First, or so late that turns were missed: those are not made up for in a burst.
            self._due_s = at_s + self._period_s
            return True
        if at_s < due_s - min(_EARLY * self._period_s, _EARLY_S):
            return False
        # From the turn, not from the frame: the rate is exact over time.
        self._due_s = due_s + self._period_s
        return True


class Meter:
    """Measures a rate over the last seconds."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=1024)

    def count(self, now: float) -> None:
        """Take note of a frame."""
        self._times.append(now)

    @property
    def is_settled(self) -> bool:
        """Whether enough was seen for the rate to mean something."""
        return len(self._times) >= 16

    def fps(self, now: float) -> float:
        """Tell the rate; slow streams by their last gap, 0 when that has passed twice."""
        while len(self._times) > 2 and now - self._times[0] > _WINDOW_S:
            self._times.popleft()
        if len(self._times) < 2:
            return 0.0
        span_s = self._times[-1] - self._times[0]
        mean_s = span_s / (len(self._times) - 1)
        if span_s <= 0 or now - self._times[-1] > max(_WINDOW_S, 2 * mean_s):
            return 0.0
        return 1 / mean_s


class Thrift:
    """Decides how much of a stream has to be decoded to get the wanted rate.

    fps: wanted; None = all.   is_intra: every packet is a whole picture by itself (MJPEG, raw).
    passes: the camera's gate; one for all, or two would disagree about whose turn it is.

    A packet is left undecoded where the rest can do without it: any packet of such a stream, and
    of others all but the key frames if those come often enough. Between that and everything, the
    decoder is told to leave out frames that no other refers to (`skips_unreferenced`).
    """

    def __init__(
        self, fps: float | None, *, is_intra: bool, passes: Callable[[float], bool]
    ) -> None:
        self._fps = fps
        self._is_intra = is_intra
        self._passes = passes
        self._keys: deque[float] = deque(maxlen=4)
        self._keys_only = False
        self._arriving = Meter()
        self._decoded = Meter()
        self._tried_at: float | None = None
        self._has_failed = False

    @property
    def decides_rate(self) -> bool:
        """Whether `wants` applies the rate, so that nobody needs to do it again."""
        return self._is_intra or self._keys_only

    def wants(self, at_s: float, *, is_key: bool) -> bool:
        """Decide whether a packet of this time is to be decoded."""
        if self._fps is None:
            return True
        if self._is_intra:
            return self._passes(at_s)
        self._arriving.count(at_s)
        if is_key:
            # Only here: whoever goes back to everything needs the key frame that the rest is
            # built upon.
            self._keys.append(at_s)
            self._keys_only = self._has_keys_enough(self._fps)
        if not self._keys_only:
            return True
        return is_key and self._passes(at_s)

    def _has_keys_enough(self, fps: float) -> bool:
        gaps = [after - before for before, after in pairwise(self._keys)]
        return len(gaps) == 3 and 0 < max(gaps) <= 1.05 / fps

    def skips_unreferenced(self, at_s: float) -> bool:
        """Decide whether the decoder may leave out frames that no other frame refers to.

        Tried when at least half of the frames are too many; given up for good if what is left is
        below the wanted rate.
        """
        if self._fps is None or self._is_intra or self._keys_only or self._has_failed:
            return False
        if self._tried_at is None:
            if self._arriving.is_settled and self._arriving.fps(at_s) >= 2 * self._fps:
                self._tried_at = at_s
        elif at_s - self._tried_at > 2 * _WINDOW_S and self._decoded.fps(at_s) < self._fps:
            self._has_failed = True
        return self._tried_at is not None and not self._has_failed

    def count_decoded(self, at_s: float) -> None:
        """Take note of a frame that the decoder made."""
        self._decoded.count(at_s)
