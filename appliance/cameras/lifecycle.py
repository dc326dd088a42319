"""When a camera's worker is started, ended and tried again, and what state that makes; pure.

The shell (`camera`) tells what happened and does what `step` says. Times are monotonic seconds.

Rules:
1. One worker is one attempt. Whatever ends it, the next is a new process: nothing leaks.
2. Attempts go on for ever: the pause doubles up to a cap, with jitter, and starts small again after
   the camera was live for a while. Workers that die by themselves are started again at most
   `max_restarts` times in `window_s`.
3. A worker that is to end is asked (TERM), waited for, then killed. The next is not started before
   it is gone: a device that hangs in the kernel is opened once, not many times.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from appliance.cameras.states import CameraState

# A still picture is not called frozen before so many of its copies came, however slow.
_MIN_FROZEN_FRAMES = 10


@dataclass(frozen=True, slots=True)
class Rules:
    """Seconds, but for the counts.

    open_s: an attempt may take so long to open its source.   stall_s, frozen_s: as configured.
    grace_s: between TERM and KILL.   first_s, cap_s: of the pauses.   settled_s: live for so long,
    the next pause is the first again.   max_restarts in window_s: of workers that died.
    """

    stall_s: float
    frozen_s: float | None = None
    open_s: float = 15.0
    grace_s: float = 3.0
    first_s: float = 0.5
    cap_s: float = 15.0
    settled_s: float = 10.0
    max_restarts: int = 5
    window_s: float = 60.0


class Step(Enum):
    """What the shell is to do now."""

    WAIT = auto()
    START = auto()
    TERMINATE = auto()
    KILL = auto()
    DONE = auto()


class _Worker(Enum):
    NONE = auto()
    RUNS = auto()
    ASKED = auto()
    KILLED = auto()


class Lifecycle:
    """One camera from `start` to DONE.

    random: uniform in [0, 1), for the jitter.
    """

    def __init__(self, rules: Rules, now: float, random: Callable[[], float]) -> None:
        self._rules = rules
        self._random = random
        self.state = CameraState.CONNECTING
        self.reason = ""
        self.since = now
        self.reconnects = 0
        self.restarts = 0
        self._is_wanted = True
        self._worker = _Worker.NONE
        self._attempts = 0
        # Of consecutive attempts that did not settle.
        self._failures = 0
        self._retry_at = now
        self._deaths: deque[float] = deque()
        self._asked_at = 0.0
        # Of the attempt under way: when it was last heard of, since when frames come, whether it
        # said itself how it ended.
        self._is_opened = False
        self._heard_at = now
        self._live_at: float | None = None
        self._has_verdict = False
        self._digest: int | None = None
        self._same_since = now
        self._same_count = 0
        # The picture it froze on; the same one after a reconnect is no recovery.
        self._frozen_on: int | None = None

    @property
    def is_running(self) -> bool:
        return self._worker is not _Worker.NONE

    def disable(self) -> None:
        """Let it end: `step` leads to DONE."""
        self._is_wanted = False

    def step(self, now: float) -> Step:
        """Decide; START, TERMINATE and KILL are to be done at once."""
        if self._worker is _Worker.NONE:
            if not self._is_wanted:
                self._to(CameraState.DISABLED, "", now)
                return Step.DONE
            if self.state is CameraState.ENDED or now < self._retry_at:
                return Step.WAIT
            return self._start(now)
        if self._worker is _Worker.RUNS:
            if self._is_wanted:
                self._watch(now)
            if self._has_to_end():
                self._worker, self._asked_at = _Worker.ASKED, now
                return Step.TERMINATE
        elif self._worker is _Worker.ASKED and now - self._asked_at >= self._rules.grace_s:
            self._worker = _Worker.KILLED
            return Step.KILL
        return Step.WAIT

    def wakes_at(self, now: float) -> float | None:
        """Say when `step` is to be asked again if nothing happens before; None = never."""
        if self._worker is _Worker.NONE:
            return None if self.state is CameraState.ENDED else max(now, self._retry_at)
        if self._worker is _Worker.RUNS:
            ends = [self._heard_at + self._patience_s()]
            if self._rules.frozen_s is not None and self._live_at is not None:
                ends.append(self._same_since + self._rules.frozen_s)
            # At least a little later: a bound that has passed without effect must not spin.
            return max(now + 0.02, min(ends))
        return self._asked_at + self._rules.grace_s if self._worker is _Worker.ASKED else None

    def on_opened(self, now: float) -> None:
        """The source is open; frames are to come."""
        self._is_opened = True
        self._heard_at = now

    def on_alive(self, now: float) -> None:
        """Frames come, though none is given out (motion gate, all slots on loan)."""
        self._heard_at = now
        self._alive(now)

    def on_frame(self, digest: int, now: float) -> None:
        """A frame came. digest: equal for equal bytes."""
        self._heard_at = now
        if digest != self._digest:
            self._digest, self._same_since, self._same_count = digest, now, 0
        self._same_count += 1
        if self._frozen_on is not None and digest == self._frozen_on:
            return
        self._frozen_on = None
        self._alive(now)

    def on_ended(self, now: float) -> None:
        """The worker says that the source is over and not to be opened again."""
        self._has_verdict = True
        self._to(CameraState.ENDED, "played to its end", now)

    def on_failed(self, reason: str, now: float) -> None:
        """The worker says why it ends. reason: a sentence without secrets."""
        self._has_verdict = True
        if self._worker is not _Worker.RUNS:
            return
        if self._live_at is not None:
            self._to(CameraState.CONNECTING, f"connection lost: {reason}", now)
        else:
            self._to(CameraState.FAILED, reason, now)

    def on_exit(self, code: int | None, now: float) -> None:
        """The worker is gone. code: its status, negative for a signal; None: not even started."""
        was, self._worker = self._worker, _Worker.NONE
        has_died = was is _Worker.KILLED or (was is _Worker.RUNS and not self._has_verdict)
        if has_died:
            self.restarts += 1
            self._deaths.append(now)
        if was is _Worker.RUNS and not self._has_verdict:
            how = "was not started" if code is None else f"died ({_shown(code)})"
            self._to(CameraState.FAILED, f"the camera's worker {how}", now)
        has_settled = (
            self._live_at is not None and now - self._live_at >= self._rules.settled_s
        ) and self._frozen_on is None
        self._failures = 0 if has_settled else self._failures + 1
        self._retry_at = now + self._pause_s(now)

    def _start(self, now: float) -> Step:
        self._worker = _Worker.RUNS
        self.reconnects += self._attempts > 0
        self._attempts += 1
        self._is_opened = self._has_verdict = False
        self._heard_at = self._same_since = now
        self._live_at = self._digest = None
        self._same_count = 0
        return Step.START

    def _patience_s(self) -> float:
        return self._rules.stall_s if self._is_opened else self._rules.open_s

    def _watch(self, now: float) -> None:
        """Notice that nothing comes, or always the same."""
        if self._has_verdict:
            return
        if now - self._heard_at >= self._patience_s():
            if self._is_opened:
                self._to(CameraState.STALLED, f"no frame for {self._rules.stall_s:g} s", now)
            else:
                reason = f"not opened within {self._rules.open_s:g} s"
                self._to(CameraState.FAILED, reason, now)
            self._give_up()
        elif self._is_frozen(now):
            reason = f"the same picture, byte for byte, for {self._rules.frozen_s:g} s"
            self._to(CameraState.FROZEN, reason, now)
            self._frozen_on = self._digest
            self._give_up()

    def _is_frozen(self, now: float) -> bool:
        limit_s = self._rules.frozen_s
        return (
            limit_s is not None
            and self._same_count >= _MIN_FROZEN_FRAMES
            and now - self._same_since >= limit_s
        )

    def _give_up(self) -> None:
        """This attempt is over; the next one may do better."""
        self._has_verdict = True

    def _has_to_end(self) -> bool:
        return not self._is_wanted or self._has_verdict

    def _alive(self, now: float) -> None:
        if self._worker is _Worker.RUNS and not self._has_verdict and self._frozen_on is None:
            if self._live_at is None:
                self._live_at = now
            self._to(CameraState.LIVE, "", now)

    def _to(self, state: CameraState, reason: str, now: float) -> None:
        if (state, reason) != (self.state, self.reason):
            self.since = now if state is not self.state else self.since
            self.state, self.reason = state, reason

    def _pause_s(self, now: float) -> float:
        rules = self._rules
        # 40: beyond the cap, and far from a float's end.
        pause_s = min(rules.cap_s, rules.first_s * 2.0 ** min(max(self._failures - 1, 0), 40))
        pause_s *= 0.5 + 0.5 * self._random()
        while self._deaths and now - self._deaths[0] > rules.window_s:
            self._deaths.popleft()
        if len(self._deaths) > rules.max_restarts:
            self._deaths.popleft()
        if len(self._deaths) == rules.max_restarts:
            pause_s = max(pause_s, self._deaths[0] + rules.window_s - now)
        return pause_s


def _shown(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"status {code}"
