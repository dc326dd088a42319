"""One camera shown to one app: a thread that takes the newest frame whenever it is free."""

import logging
import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from appliance.cameras.feeds import Feed, Region, crop
from appliance.cameras.pace import Gate
from appliance.cameras.states import Camera
from appliance.errors import ApplianceError, Conflict, GuestFailed, NotFound, Unavailable
from appliance.latencies import Latencies, Stopwatch
from appliance.pipeline import Pipeline
from appliance.records import Frame, Prediction
from wasi_nn.executor import Cancellation

log = logging.getLogger(__name__)

# Between two looks at whether the pair has ended, while its camera sends nothing.
_LOOK_S = 0.2
# Between two lines in the log about an app that fails on a camera's frames.
_TELL_S = 60.0
# For the router to hear that the app has gone, before another frame is shown in vain.
_GONE_S = 0.05


@dataclass(frozen=True, slots=True)
class Seen:
    """What an app said about its newest frame.

    captured_s: monotonic.   region: the part of the picture that was shown.
    """

    app: str
    sequence: int
    captured_s: float
    region: Region | None
    predictions: tuple[Prediction, ...]


@dataclass(frozen=True, slots=True)
class PairStatus:
    """What became of a camera's frames at an app, since the pair began.

    inferred: answered.   limited: over the pair's rate.   skipped: passed while an older one was
    under way.   refused: the box was too busy.   failed: by reason.   latency: from capture to
    stored prediction.   last_error: the last failure's sentence, "" if there was none.
    """

    camera: str
    feed: Feed
    inferred: int
    limited: int
    skipped: int
    refused: int
    failed: Mapping[str, int]
    last_error: str
    latency: Latencies

    def outcomes(self) -> dict[str, int]:
        """Count frames by what became of them."""
        failed = {f"failed_{reason}": count for reason, count in self.failed.items()}
        return {
            "inferred": self.inferred, "limited": self.limited, "skipped": self.skipped,
            "refused": self.refused, **failed,
        }  # fmt: skip


def kept_of(frame: Frame, region: Region | None) -> Frame:
    """Copy what is shown, so that the frame can be given back."""
    shown = crop(frame, region)
    return replace(shown, pixels=shown.pixels.copy())


@dataclass(slots=True)
class _Counts:
    inferred: int = 0
    limited: int = 0
    skipped: int = 0
    refused: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    last_error: str = ""
    latency: Stopwatch = field(default_factory=Stopwatch)


class Pair:
    """Runs between `start` and `end`; `join` waits for the frame under way.

    is_crowded: the camera feeds so many apps that each works on a copy: with frames on loan, slow
    apps together could hold all of the camera's memory, and the fast ones would see nothing.
    """

    def __init__(self, camera: Camera, feed: Feed, pipeline: Pipeline) -> None:
        self.camera = camera
        self.feed = feed
        self._pipeline = pipeline
        self._gate = Gate(feed.fps)
        self.is_crowded = False
        self._ended = threading.Event()
        self._cancellation = Cancellation()
        self._lock = threading.Lock()
        self._counts = _Counts()
        self._seen: Seen | None = None
        self._told_s = -math.inf
        self._thread = threading.Thread(
            target=self._run, name=f"route-{camera.config.name}-{feed.app}", daemon=True
        )

    def __repr__(self) -> str:
        return f"<Pair {self.camera.config.name} -> {self.feed.app}>"

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """End soon: what waits in a queue is dropped, a guest at work finishes. Does not wait."""
        self._ended.set()
        self._cancellation.cancel()

    def join(self) -> None:
        self._thread.join()

    @property
    def is_over(self) -> bool:
        return not self._thread.is_alive()

    def seen(self) -> Seen | None:
        """What the app said last; None if it has not yet."""
        return self._seen

    def status(self) -> PairStatus:
        """Take a snapshot."""
        with self._lock:
            counts = self._counts
            return PairStatus(
                self.camera.config.name, self.feed, counts.inferred, counts.limited,
                counts.skipped, counts.refused, dict(counts.failed), counts.last_error,
                counts.latency.snapshot(),
            )  # fmt: skip

    def _run(self) -> None:
        sequence = -1
        while not self._ended.is_set():
            lease = self.camera.wait_newer(sequence, _LOOK_S)
            if lease is None:
                continue
            missed = lease.frame.sequence - sequence - 1 if sequence >= 0 else 0
            sequence = lease.frame.sequence
            is_due = self._gate.passes(lease.frame.captured_monotonic_s)
            with self._lock:
                self._counts.skipped += missed
                self._counts.limited += not is_due
            with lease:
                is_wanted = is_due and not self._ended.is_set() and self._is_taken()
                if is_wanted and not self.is_crowded:
                    self._show(crop(lease.frame, self.feed.region_xywh))
                    continue
                kept = kept_of(lease.frame, self.feed.region_xywh) if is_wanted else None
            if kept is not None:
                self._show(kept)

    def _is_taken(self) -> bool:
        """Ask before a frame is copied whether the app takes any now."""
        try:
            self._pipeline.check(self.feed.app)
        except ApplianceError as exc:
            self._note_failure(exc)
            return False
        return True

    def _show(self, frame: Frame) -> None:
        """Show a frame to the app; whatever comes of it is counted."""
        try:
            done = self._pipeline.process(self.feed.app, frame, self._cancellation)
        except ApplianceError as exc:
            self._note_failure(exc)
        except Exception:
            log.exception("frame failed camera=%s app=%s", frame.source, self.feed.app)
            self._count("internal", "the box failed on this frame; its log has the reason")
        else:
            taken_s = time.monotonic() - frame.captured_monotonic_s
            seen = Seen(
                self.feed.app, frame.sequence, frame.captured_monotonic_s,
                self.feed.region_xywh, done.predictions,
            )  # fmt: skip
            with self._lock:
                self._seen = seen
                self._counts.inferred += 1
                self._counts.latency.note(taken_s)

    def _note_failure(self, error: ApplianceError) -> None:
        if isinstance(error, NotFound | Conflict):
            # Removed or disabled this moment; the router ends this pair.
            self._ended.wait(_GONE_S)
            return
        if self._ended.is_set():
            # Cancelled, which is nobody's failure.
            return
        if isinstance(error, Unavailable):
            with self._lock:
                self._counts.refused += 1
                self._counts.last_error = str(error)
            return
        reason = error.reason if isinstance(error, GuestFailed) else error.code
        self._count(str(reason), str(error))
        now = time.monotonic()
        if now - self._told_s > _TELL_S:
            self._told_s = now
            log.warning(
                "frames fail camera=%s app=%s so_far=%d reason=%s",
                self.camera.config.name, self.feed.app, sum(self._counts.failed.values()), error,
            )  # fmt: skip

    def _count(self, reason: str, sentence: str) -> None:
        with self._lock:
            self._counts.failed[reason] = self._counts.failed.get(reason, 0) + 1
            self._counts.last_error = sentence
