"""A camera with a worker: one thread that starts it, listens to it, and starts it again.

The thread waits on all descriptors of the worker at once. What to do is decided by `lifecycle`;
here it is done. Nothing of the worker's can stop or fill the box: see `process` and `ring`.
"""

import logging
import os
import random
import selectors
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from appliance.cameras.config import MAX_FRAME_PIXELS, CameraConfig
from appliance.cameras.lifecycle import Lifecycle, Rules, Step
from appliance.cameras.newest import Lease, Newest
from appliance.cameras.pace import Meter
from appliance.cameras.process import DecoderLog, WorkerProcess
from appliance.cameras.push import PushCamera
from appliance.cameras.ring import RingBroken, RingReader, Token
from appliance.cameras.states import Camera, CameraState, CameraStatus, Drop
from appliance.cameras.urls import Kind, secrets_of
from appliance.cameras.wire import Counts, Ended, Failed, Job, MotionRule, Opened, Report
from appliance.errors import BadRequest
from appliance.records import Frame

log = logging.getLogger(__name__)

# FFmpeg's patience with a source that does not answer; the box itself waits a little longer.
OPEN_S = 10.0
_OPEN_SLACK_S = 5.0
# Of private memory. A decoder of 8K H.264 keeps about 0.5 GB; frames in the ring do not count.
WORKER_DATA_BYTES = 1 << 30
# A worker that hangs in the kernel cannot even be killed; stopping does not wait for it for ever.
_STOP_S = 10.0


@dataclass(frozen=True, slots=True)
class Start:
    """Where a camera begins. sequence: of its first frame.   max_pixels: of one frame."""

    sequence: int = 0
    max_pixels: int = MAX_FRAME_PIXELS


def make_camera(config: CameraConfig, start: Start = Start()) -> Camera:
    """Build a camera that is not started."""
    if config.source.kind is Kind.PUSH:
        return PushCamera(config, max_pixels=start.max_pixels, first_sequence=start.sequence)
    return WatchedCamera(config, start)


class WatchedCamera:
    """A camera whose source is opened in a worker process; see `states.Camera`.

    rules: for tests and for whoever knows better; None = by the configuration.
    """

    def __init__(self, config: CameraConfig, start: Start, rules: Rules | None = None) -> None:
        self.config = config
        self._max_pixels = start.max_pixels
        frozen_s = config.frozen_s if config.can_freeze else None
        self._rules = rules or Rules(config.stall_s, frozen_s, open_s=OPEN_S + _OPEN_SLACK_S)
        self._newest = Newest()
        self._log = DecoderLog(secrets_of(config.url))
        self._thread: threading.Thread | None = None
        self._wake = -1
        # Guards all that follows against a look by `status` in between.
        self._lock = threading.Lock()
        self._life: Lifecycle | None = None
        self._next_sequence = start.sequence
        self._received = 0
        self._skipped = 0
        self._before = Counts()
        self._counts = Counts()
        self._opened: Opened | None = None
        self._size_wh = (0, 0)
        self._meter = Meter()
        self._last: tuple[float, float] | None = None
        # The thread's own.
        self._process: WorkerProcess | None = None
        self._ring: RingReader | None = None
        self._selector: selectors.BaseSelector = selectors.PollSelector()
        self._noted = (CameraState.DISABLED, "")

    @property
    def next_sequence(self) -> int:
        return self._next_sequence

    def start(self) -> None:
        if not self.config.is_enabled or self._thread is not None:
            return
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._selector = selectors.PollSelector()
        self._life = Lifecycle(self._rules, time.monotonic(), random.random)
        self._thread = threading.Thread(
            target=self._run, name=f"camera-{self.config.name}", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        thread, self._thread = self._thread, None
        if thread is None or self._life is None:
            return
        self._life.disable()
        os.eventfd_write(self._wake, 1)
        thread.join(self._rules.grace_s + _STOP_S)
        if thread.is_alive():
            # It goes on waiting for its worker, and ends with it or with the box.
            log.error("camera worker hangs in the kernel camera=%s", self.config.name)
            return
        os.close(self._wake)
        self._newest.clear()

    def push(self, picture: bytes | NDArray[np.uint8]) -> int:
        raise BadRequest(
            f"camera {self.config.name}: got a frame, but it has a source of its own; post frames"
            " to a camera whose url is push:"
        )

    def wait_newer(self, sequence: int, timeout_s: float) -> Lease | None:
        return self._newest.wait_newer(sequence, timeout_s)

    def log_lines(self) -> list[str]:
        return self._log.lines()

    @property
    def worker_pid(self) -> int | None:
        """The worker's process id while there is one, for people who look at `top`."""
        process = self._process
        return None if process is None else process.pid

    def status(self) -> CameraStatus:
        with self._lock:
            now, wall = time.monotonic(), time.time()
            life, opened = self._life, self._opened
            return CameraStatus(
                name=self.config.name,
                shown_url=self.config.shown_url,
                kind=self.config.source.kind,
                state=life.state if life else CameraState.DISABLED,
                reason=life.reason if life else "",
                since=wall - (now - life.since) if life else wall,
                width=self._size_wh[0],
                height=self._size_wh[1],
                fps=self._meter.fps(now),
                frames=self._received + self._dropped_there(),
                dropped=self._dropped(),
                reconnects=life.reconnects if life else 0,
                restarts=life.restarts if life else 0,
                last_frame_at=self._last[0] if self._last else None,
                last_frame_age_s=now - self._last[1] if self._last else None,
                decoder=opened.decoder if opened else None,
            )

    def _dropped_there(self) -> int:
        """Count the frames that the workers dropped, which never came here."""
        total = _add(self._before, self._counts)
        return total.oldest + total.busy + total.rate + total.corrupt + total.motion

    def _dropped(self) -> dict[Drop, int]:
        total = _add(self._before, self._counts)
        return {
            Drop.OLDEST: total.oldest + self._skipped + self._newest.unread,
            Drop.BUSY: total.busy,
            Drop.RATE: total.rate,
            Drop.CORRUPT: total.corrupt,
            Drop.MOTION: total.motion,
        }

    def _run(self) -> None:
        self._selector.register(self._wake, selectors.EVENT_READ, self._on_wake)
        is_done = False
        while not is_done:
            try:
                is_done = self._turn()
            except Exception:
                # Our bug, or the machine is out of descriptors: this camera's alone, and it may
                # pass. The worker goes; the next attempt is counted and paused like any other.
                log.exception("camera failed camera=%s", self.config.name)
                self._abandon()
        self._note()
        self._selector.close()

    def _turn(self) -> bool:
        """Do what is to be done now and wait for what happens next. Returns: whether to end."""
        life = self._must_life()
        with self._lock:
            step = life.step(time.monotonic())
        self._note()
        if step is Step.DONE:
            return True
        if step is Step.START:
            self._start_worker()
        elif self._process is not None and step is Step.TERMINATE:
            self._process.terminate()
        elif self._process is not None and step is Step.KILL:
            log.warning("camera worker killed camera=%s", self.config.name)
            self._process.kill()
        now = time.monotonic()
        wakes_at = life.wakes_at(now)
        events = self._selector.select(None if wakes_at is None else max(0.0, wakes_at - now))
        for key, _ in events:
            # One that was handled before it may have closed it.
            if key.fd in self._selector.get_map():
                key.data()
        return False

    def _must_life(self) -> Lifecycle:
        assert self._life is not None, "the thread runs after start"
        return self._life

    def _note(self) -> None:
        """Log a change of state, once."""
        life = self._must_life()
        if (life.state, life.reason) == self._noted:
            return
        self._noted = (life.state, life.reason)
        is_bad = life.state in {CameraState.STALLED, CameraState.FROZEN, CameraState.FAILED}
        log.log(
            logging.WARNING if is_bad else logging.INFO, "camera %s camera=%s url=%s reason=%s",
            life.state.value, self.config.name, self.config.shown_url, life.reason or "-",
        )  # fmt: skip

    def _start_worker(self) -> None:
        self._ring = RingReader(first_sequence=self._next_sequence)
        self._process = process = WorkerProcess(self._job(self._ring), self._ring)
        on: tuple[tuple[int, Callable[[], None]], ...] = (
            (self._ring.ready_read, self._on_frames), (process.reports_fd, self._on_reports),
            (process.log_fd, self._on_log), (process.exit_fd, self._on_exit),
        )  # fmt: skip
        for fd, handler in on:
            self._selector.register(fd, selectors.EVENT_READ, handler)

    def _job(self, ring: RingReader) -> Job:
        config, gate = self.config, self.config.motion
        size = config.size_wh
        return Job(
            source=config.source,
            ends=ring.writer_ends,
            first_sequence=self._next_sequence,
            fps=config.fps,
            size_wh=None if size is None else (size[0], size[1]),
            max_pixels=self._max_pixels,
            loop=config.loop,
            realtime=config.realtime,
            open_s=OPEN_S,
            # Longer than the box's own patience, which names the state.
            read_s=config.stall_s + _OPEN_SLACK_S,
            data_bytes=WORKER_DATA_BYTES,
            motion=None
            if gate is None
            else MotionRule(gate.threshold, gate.min_area, gate.keep_every_s),
        )

    def _on_wake(self) -> None:
        os.eventfd_read(self._wake)

    def _on_log(self) -> None:
        assert self._process is not None
        self._process.read_log(self._log)
        self._forget_ended()

    def _on_reports(self) -> None:
        assert self._process is not None
        for report in self._process.read_reports():
            self._take(report)
        self._forget_ended()

    def _forget_ended(self) -> None:
        assert self._process is not None
        for fd in self._process.ended & set(self._selector.get_map()):
            self._selector.unregister(fd)

    def _take(self, report: Report) -> None:
        life, now = self._must_life(), time.monotonic()
        with self._lock:
            match report:
                case Opened():
                    self._opened = report
                    life.on_opened(now)
                case Counts():
                    if report.decoded > self._counts.decoded:
                        life.on_alive(now)
                    self._counts = report
                case Ended():
                    life.on_ended(now)
                case Failed():
                    life.on_failed(self._log.clean(report.reason), now)

    def _on_frames(self) -> None:
        """Make the newest frame that is ready the newest; give the others back at once."""
        ring = self._ring
        assert ring is not None
        try:
            tokens = ring.read()
        except RingBroken as exc:
            log.error("camera worker breaks the ring camera=%s reason=%s", self.config.name, exc)
            assert self._process is not None
            self._process.kill()
            return
        for token in tokens[:-1]:
            ring.give_back(token)
        for token in tokens[-1:]:
            self._publish(ring, token)
        with self._lock:
            self._received += len(tokens)
            self._skipped += max(0, len(tokens) - 1)

    def _publish(self, ring: RingReader, token: Token) -> None:
        frame = Frame(
            self.config.name, token.sequence, token.wall_ns / 1e9, token.monotonic_ns / 1e9,
            ring.pixels(token),
        )  # fmt: skip
        with self._lock:
            now = time.monotonic()
            self._must_life().on_frame(token.digest, now)
            self._next_sequence = token.sequence + 1
            self._size_wh = (token.width, token.height)
            self._meter.count(now)
            self._last = (frame.captured_at, frame.captured_monotonic_s)
        self._newest.publish(frame, lambda: ring.give_back(token))

    def _on_exit(self) -> None:
        """Take the last that the worker left behind, and the worker itself."""
        process = self._process
        assert process is not None
        self._on_frames()
        for report in process.read_reports():
            self._take(report)
        process.read_log(self._log)
        self._close_worker()

    def _close_worker(self) -> None:
        process, ring = self._process, self._ring
        self._process = self._ring = None
        for fd in set(self._selector.get_map()) - {self._wake}:
            self._selector.unregister(fd)
        code = None if process is None else process.reap()
        if ring is not None:
            # The newest frame and leases keep their memory, which has no name and no other owner.
            ring.close()
        with self._lock:
            self._before, self._counts = _add(self._before, self._counts), Counts()
            self._must_life().on_exit(code, time.monotonic())

    def _abandon(self) -> None:
        if self._process is not None:
            self._process.kill()
        self._close_worker()


def _add(one: Counts, other: Counts) -> Counts:
    return Counts(*(getattr(one, f.name) + getattr(other, f.name) for f in fields(Counts)))
