"""How much of the box an app may take by failing, and how many of its frames may be inside.

Rules:
1. A failed frame's processor time is a debt (`debts`), paid back at a twentieth of a core. Over
   BURST_S of it the app is suspended until it is paid: those that only burn their deadline cost the
   others a twentieth of a core, one that traps at once is hardly slowed. Waiting is no debt.
2. After MAX_IN_A_ROW failures in a row an app is suspended, too, but for one frame a second: the
   first that it answers ends that. Failing 30 times a second tells nobody more than once a second.
3. Until its first answer, and while in debt, one frame of an app runs at a time.
4. Frames over the app's `frames` are refused at once: each holds a thread of the box.
"""

import math
import threading
import time
from collections.abc import Callable

from appliance.errors import GuestFailed, Suspended, Unavailable
from appliance.guests.debts import BURST_S
from appliance.guests.line import FairLine
from appliance.guests.program import Program
from appliance.guests.runner import Answer, Runner
from appliance.records import Frame
from wasi_nn.executor import Cancellation

# Chosen, not measured: more than the frames of a probation, and soon enough for a camera.
MAX_IN_A_ROW = 20
RETRY_S = 1.0


class WatchedRunner:
    """A runner under the rules above.

    instances: frames of the app that may run at the same time.   spent: processor seconds of the
    calling thread.   clock: monotonic seconds.
    """

    def __init__(
        self, program: Program, runner: Runner, instances: int,
        spent: Callable[[], float] = time.thread_time, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._program = program
        self.watched = runner
        self._instances = instances
        self._spent = spent
        self._clock = clock
        self._lock = threading.Lock()
        self._line = FairLine()
        self._debt = program.host.debts.open()
        self._inside = 0
        self._running = 0
        self._is_trusted = False
        self._failed_in_a_row = 0
        self._retry_at_s = -math.inf

    @property
    def suspended_s(self) -> float:
        """How long the app will still be suspended."""
        return max(self._debt.suspended_s(), self._pause_s())

    def _pause_s(self) -> float:
        """How long an app that only fails is left alone."""
        return max(0.0, self._retry_at_s - self._clock())

    def run(self, frame: Frame, cancellation: Cancellation | None = None) -> Answer:
        """See `Runner.run`. Raises: also Suspended."""
        with self._lock:
            self._check()
            self._inside += 1
        try:
            self._take_turn(frame.source)
            try:
                # Those before it may have put the app into debt while it waited.
                self.check()
                return self._watch(frame, cancellation)
            finally:
                self._pass_turn()
        finally:
            with self._lock:
                self._inside -= 1

    def _watch(self, frame: Frame, cancellation: Cancellation | None) -> Answer:
        """Run, and remember how it went."""
        started_s = self._spent()
        try:
            answer = self.watched.run(frame, cancellation)
        except GuestFailed as exc:
            self._debt.add(self._spent() - started_s)
            if not exc.is_overload:
                self._note_failure()
            raise
        self._is_trusted = True
        self._failed_in_a_row, self._retry_at_s = 0, -math.inf
        return answer

    def _note_failure(self) -> None:
        with self._lock:
            self._failed_in_a_row += 1
            if self._failed_in_a_row >= MAX_IN_A_ROW:
                self._retry_at_s = self._clock() + RETRY_S

    def forget(self, source: str) -> None:
        """See `Runner.forget`."""
        self.watched.forget(source)

    def close(self) -> None:
        """See `Runner.close`."""
        self._debt.close()
        self.watched.close()

    def _pass_turn(self) -> None:
        """Let who is next in line run."""
        with self._lock:
            self._running -= 1
            # More than one if the app is trusted by now.
            while self._line and self._running < self._allowed():
                self._running += 1
                self._line.pop().set()

    def _take_turn(self, source: str) -> None:
        """Wait in line, fair between sources."""
        deadline_s = self._program.limits.deadline_s
        with self._lock:
            if not self._line and self._running < self._allowed():
                self._running += 1
                self._line.serve(source)
                return
            turn = self._line.join(source)
        turn.wait(deadline_s)
        with self._lock:
            if turn.is_set():
                return
            self._line.leave(source, turn)
        raise Unavailable(
            f"app {self._program.name}: all {self._allowed()} instances stayed busy for "
            f"{deadline_s:g} s; send fewer frames at once"
        )

    def _allowed(self) -> int:
        is_well = self._is_trusted and not self._debt.owed_s()
        return self._instances if is_well else 1

    def _check(self) -> None:
        self.check()
        limit = self._program.limits.frames
        if self._inside >= limit:
            self._program.breaches.note("frames", limit, self._inside + 1)
            raise Unavailable(
                f"app {self._program.name}: {self._inside} frames are running or waiting, the "
                "app's limit; send fewer at once or raise frames in [limits]"
            )

    def check(self) -> None:
        """Tell before a frame is decoded that it would be refused. Raises: Suspended."""
        pause_s = self._pause_s()
        if pause_s > 0:
            raise Suspended(
                f"app {self._program.name}: its last {self._failed_in_a_row} frames failed; it is "
                f"shown one in {RETRY_S:g} s until it answers one; see its last_error",
                retry_after_s=pause_s,
            )
        left_s = self._debt.suspended_s()
        if left_s > 0:
            raise Suspended(
                f"app {self._program.name}: suspended for another {left_s:.1f} s, for its failed "
                f"frames took over {BURST_S:g} s of a core; see its last_error",
                retry_after_s=left_s,
            )
