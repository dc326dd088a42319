"""The worker's loop: from a source's pictures to frames in the ring, as little work as possible.

Order, cheapest first: rate, motion, number, slot, scale and convert. A frame that passed the rate
has a number, so that a gap in the numbers is a frame that was dropped.
"""

import threading
import time
import zlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from appliance.cameras.motion import MotionState
from appliance.cameras.pace import Gate
from appliance.cameras.ring import RingWriter, Token
from appliance.cameras.scaling import Scaler, fit_wh
from appliance.cameras.shots import Shot, ShotSource, Tally
from appliance.cameras.wire import Counts, Job, Report

# A film that is so late (a slow decoder, a stream that paused) goes on from here instead of
# running to catch up.
_LATE_S = 0.5
_DEFAULT_FPS = 25.0
# Every so many rows go into a frame's digest: a 720p frame is 0.3 ms instead of 2.5.
_DIGEST_ROWS = 8


def digest_of(pixels: NDArray[np.uint8]) -> int:
    """Tell frames of equal bytes by a sample of their rows. pixels: uint8 (H, W, 3)."""
    return zlib.crc32(np.ascontiguousarray(pixels[::_DIGEST_ROWS]).data)


class Capture:
    """What one worker does with its source.

    stop: ends it between two frames, and its waiting.   report: sends a line up.
    """

    def __init__(
        self, job: Job, tally: Tally, report: Callable[[Report], None], stop: threading.Event
    ) -> None:
        self._job = job
        self._tally = tally
        self._report = report
        self._stop = stop
        self._writer = RingWriter(job.ends)
        self._scaler = Scaler()
        self._gate = Gate(job.fps)
        self._motion = None if job.motion is None else MotionState(job.motion)
        self._sequence = job.first_sequence
        self._reported = Counts()
        # Of films: when the first pass began, and how much of all passes is over.
        self._starts_at: float | None = None
        self._passed_s = 0.0
        self._realtime = job.source.is_on("realtime", default=job.realtime)

    def run(self, source: ShotSource) -> bool:
        """Take a source's pictures until it ends or `stop`. Returns: whether it had any."""
        before, last_s = self._tally.decoded, 0.0
        for shot in source.shots():
            if self._stop.is_set():
                return True
            self._tally.decoded += 1
            if shot.media_s is not None:
                last_s = shot.media_s
                if self._realtime and self._waits(self._passed_s + last_s):
                    return True
            self._take(shot)
        # The next pass begins when the last frame of this one has been shown for its time.
        self._passed_s += last_s + 1 / (source.opened.fps or _DEFAULT_FPS)
        return self._tally.decoded > before

    def _waits(self, at_s: float) -> bool:
        """Wait for a frame's time. Returns: whether to stop instead."""
        now = time.monotonic()
        if self._starts_at is None:
            self._starts_at = now - at_s
        late_s = now - (self._starts_at + at_s)
        if late_s > _LATE_S:
            self._starts_at += late_s
        return late_s < 0 and self._stop.wait(-late_s)

    def report_counts(self) -> None:
        """Send the counts if they have changed; from any thread."""
        tally = self._tally
        counts = Counts(
            tally.decoded, tally.rate, tally.corrupt, tally.motion, self._writer.overwritten,
            tally.busy,
        )  # fmt: skip
        if counts != self._reported:
            self._reported = counts
            self._report(counts)

    def wants(self, at_s: float, of_film: bool) -> bool:
        """Decide whether it is the turn of a frame; films that loop go on in their own time."""
        return self._gate.passes(self._passed_s + at_s if of_film else at_s)

    def _take(self, shot: Shot) -> None:
        # At decode: the picture is here now, whatever follows takes its time.
        monotonic_ns, wall_ns = time.monotonic_ns(), time.time_ns()
        now = monotonic_ns / 1e9
        at_s = now if shot.media_s is None else shot.media_s
        if not shot.is_chosen and not self.wants(at_s, shot.media_s is not None):
            self._tally.rate += 1
            return
        sequence, self._sequence = self._sequence, self._sequence + 1
        picture = shot.picture
        if self._motion is not None and not self._motion.passes(self._scaler.luma(picture), now):
            self._tally.motion += 1
            return
        width, height = fit_wh(
            picture.width, picture.height,
            size_wh=self._job.size_wh, max_pixels=self._job.max_pixels,
        )  # fmt: skip
        slot = self._writer.slot(width, height)
        if slot is None:
            self._tally.busy += 1
            return
        self._scaler.write_rgb(picture, slot)
        digest = digest_of(slot)
        self._writer.publish(
            lambda number: Token(number, sequence, wall_ns, monotonic_ns, width, height, digest)
        )
