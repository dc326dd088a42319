"""How much of the box an app may take by failing, and how many of its frames may be inside.

Rules:
1. A failed frame's processor time is a debt (`debts`), paid back at a twentieth of a core. Over
   BURST_S of it the app is suspended until it is paid: those that only burn their deadline cost the
   others a twentieth of a core, one that traps at once is hardly slowed. Waiting is no debt.
2. Until its first answer, and while in debt, one frame of an app runs at a time.
3. Frames over the app's `frames` are refused at once: each holds a thread of the box.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from appliance.errors import GuestFailed, Suspended, Unavailable
from appliance.guests.debts import BURST_S
from appliance.guests.line import FairLine
from appliance.guests.program import Program
from appliance.guests.runner import Answer, Runner
from appliance.records import Frame
from wasi_nn.executor import Cancellation


class WatchedRunner:
    """A runner under the rules above.

    instances: frames of the app that may run at the same time.   spent: processor seconds of the
    calling thread.
    """

    def __init__(
        self, program: Program, runner: Runner, instances: int,
        spent: Callable[[], float] = time.thread_time,
    ) -> None:  # fmt: skip
        self._program = program
        self.watched = runner
        self._instances = instances
        self._spent = spent
        self._lock = threading.Lock()
        self._line = FairLine()
        self._debt = program.host.debts.open()
        self._inside = 0
        self._running = 0
        self._is_trusted = False

    @property
    def suspended_s(self) -> float:
        """How long the app will still be suspended."""
        return self._debt.suspended_s()

    def run(self, frame: Frame, cancellation: Cancellation | None = None) -> Answer:
        """See `Runner.run`. Raises: also Suspended."""
        with self._admitted(frame.source):
            started_s = self._spent()
            try:
                answer = self.watched.run(frame, cancellation)
            except GuestFailed:
                self._debt.add(self._spent() - started_s)
                raise
            self._is_trusted = True
            return answer

    def check(self) -> None:
        """Tell before a frame is decoded that it would be refused. Raises: Suspended."""
        self._check_debt()

    def forget(self, source: str) -> None:
        """See `Runner.forget`."""
        self.watched.forget(source)

    def close(self) -> None:
        """See `Runner.close`."""
        self._debt.close()
        self.watched.close()

    @contextmanager
    def _admitted(self, source: str) -> Iterator[None]:
        with self._lock:
            self._check()
            self._inside += 1
        try:
            with self._turn(source):
                yield
        finally:
            with self._lock:
                self._inside -= 1

    @contextmanager
    def _turn(self, source: str) -> Iterator[None]:
        self._take_turn(source)
        try:
            # Those before it may have put the app into debt while it waited.
            self._check_debt()
            yield
        finally:
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
        self._check_debt()
        limit = self._program.limits.frames
        if self._inside >= limit:
            self._program.breaches.note("frames", limit, self._inside + 1)
            raise Unavailable(
                f"app {self._program.name}: {self._inside} frames are running or waiting, the "
                "app's limit; send fewer at once or raise frames in [limits]"
            )

    def _check_debt(self) -> None:
        left_s = self._debt.suspended_s()
        if left_s > 0:
            raise Suspended(
                f"app {self._program.name}: suspended for another {left_s:.1f} s, for its failed "
                f"frames took over {BURST_S:g} s of a core; see its last_error",
                retry_after_s=left_s,
            )
