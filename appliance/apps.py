"""The apps that are live now: who answers for a name, and what became of its frames.

Switching is one assignment: a request that began with the old version ends with it, and the old
version is closed when its last request is done.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from appliance.errors import ApplianceError, Conflict, GuestFailed, NotFound, Suspended
from appliance.guests.command import CommandRunner
from appliance.guests.conduct import WatchedRunner
from appliance.guests.program import Program
from appliance.guests.reactor import ReactorRunner
from appliance.guests.runner import Runner
from appliance.manifests import AppManifest, Mode
from appliance.pace import LastMinute


@dataclass(frozen=True, slots=True)
class AppStatistics:
    """Counts of one version since it went live.

    failures: by reason.   guest_s: time spent in the guest, all frames together.
    last_error: the last failure's sentence, "" if there was none.   last_error_at: Unix seconds.
    frames_last_minute: those of the last 60 seconds.
    """

    frames: int
    predictions: int
    failures: dict[str, int]
    guest_s: float
    last_error: str
    frames_last_minute: int = 0
    last_error_at: float | None = None


@dataclass(slots=True)
class LiveApp:
    """One version that answers.

    went_live_at: Unix seconds.   on_frame: told of each frame, with why it was not answered.
    on_closed: told when its last frame was finished and it is closed. Neither may wait or raise.
    """

    program: Program
    version: str
    runner: WatchedRunner
    went_live_at: float
    on_frame: Callable[[ApplianceError | None], None] | None = None
    on_closed: Callable[[], None] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _users: int = 0
    _is_retired: bool = False
    _frames: int = 0
    _predictions: int = 0
    _guest_s: float = 0.0
    _failures: dict[str, int] = field(default_factory=dict)
    _last_error: str = ""
    _last_error_at: float | None = None
    _pace: LastMinute = field(default_factory=LastMinute)

    @property
    def name(self) -> str:
        return self.program.name

    def count_answer(self, predictions: int, guest_s: float) -> None:
        """Count a frame that was answered."""
        with self._lock:
            self._frames += 1
            self._pace.note(time.monotonic())
            self._predictions += predictions
            self._guest_s += guest_s
        if self.on_frame is not None:
            self.on_frame(None)

    def count_failure(self, error: ApplianceError) -> None:
        """Count a frame that was not."""
        reason = error.reason if isinstance(error, GuestFailed) else error.code
        with self._lock:
            self._frames += 1
            self._pace.note(time.monotonic())
            self._failures[str(reason)] = self._failures.get(str(reason), 0) + 1
            # What is refused meanwhile must not hide why.
            if not isinstance(error, Suspended):
                self._last_error, self._last_error_at = str(error), time.time()
        if self.on_frame is not None:
            self.on_frame(error)

    def statistics(self) -> AppStatistics:
        """Take a snapshot."""
        with self._lock:
            return AppStatistics(
                self._frames, self._predictions, dict(self._failures), self._guest_s,
                self._last_error, self._pace.total(time.monotonic()), self._last_error_at,
            )  # fmt: skip

    def acquire(self) -> None:
        """Keep the version from being closed until as many `release`."""
        with self._lock:
            self._users += 1

    def release(self) -> None:
        """Give one `acquire` back; the last one closes a retired version."""
        with self._lock:
            self._users -= 1
            is_last = self._is_retired and self._users == 0
        if is_last:
            self._close()

    def retire(self) -> None:
        """Close once nobody uses it any more; returns at once."""
        with self._lock:
            if self._is_retired:
                return
            self._is_retired = True
            is_free = self._users == 0
        if is_free:
            self._close()

    def _close(self) -> None:
        self.runner.close()
        self.program.keeper.close()
        if self.on_closed is not None:
            self.on_closed()


class AppTable:
    """Name -> live version. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._apps: dict[str, LiveApp] = {}
        self._disabled: set[str] = set()
        self._listeners: list[Callable[[], None]] = []

    def listen(self, listener: Callable[[], None]) -> None:
        """Have a listener called after every change; it must neither wait nor raise."""
        with self._lock:
            self._listeners.append(listener)

    def _tell(self) -> None:
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            listener()

    def names(self) -> tuple[str, ...]:
        """Names of all live apps, sorted."""
        with self._lock:
            return tuple(sorted(self._apps))

    def manifests(self) -> tuple[AppManifest, ...]:
        """Give what the live apps' manifests say, by name."""
        with self._lock:
            return tuple(app.program.manifest for _, app in sorted(self._apps.items()))

    def disabled(self) -> frozenset[str]:
        """Names of the apps that the operator switched off."""
        with self._lock:
            return frozenset(self._disabled)

    @contextmanager
    def using(self, name: str) -> Iterator[LiveApp]:
        """Take the version that is live now, and keep it open inside the block.

        Raises: NotFound naming the apps there are; Conflict if the app is disabled.
        """
        with self._lock:
            app = self._apps.get(name)
            is_disabled = name in self._disabled
            if app is not None:
                # Under the table's lock: between finding and using, nobody may retire it.
                app.acquire()
        if app is None and is_disabled:
            raise Conflict(
                f"app {name}: disabled, it answers no frames; enable it with "
                f"POST /v1/apps/{name}/enable or `appliance enable {name}`"
            )
        if app is None:
            known = ", ".join(self.names()) or "none is deployed"
            raise NotFound(f"app {name}: not found; apps on this box: {known}")
        try:
            yield app
        finally:
            app.release()

    def switch(self, app: LiveApp) -> None:
        """Let this version answer from now on; the old one is drained."""
        with self._lock:
            old = self._apps.get(app.name)
            self._apps[app.name] = app
            self._disabled.discard(app.name)
        if old is not None:
            old.retire()
        self._tell()

    def disable(self, name: str) -> None:
        """Let nobody answer for a name, and say so to whoever asks; what was live is drained."""
        with self._lock:
            old = self._apps.pop(name, None)
            self._disabled.add(name)
        if old is not None:
            old.retire()
        self._tell()

    def remove(self, name: str) -> None:
        """Forget a name; what was live is drained."""
        with self._lock:
            old = self._apps.pop(name, None)
            self._disabled.discard(name)
        if old is not None:
            old.retire()
        self._tell()

    def close(self) -> None:
        """Retire all."""
        with self._lock:
            apps, self._apps = list(self._apps.values()), {}
        for app in apps:
            app.retire()


def make_live(
    program: Program, version: str, *, instances: int, scratch: Path,
    clock: Callable[[], float] = time.time,
) -> LiveApp:  # fmt: skip
    """Give a program its runner and warm it up.

    Raises: GuestFailed if it cannot even be instantiated.
    """
    instances = program.limits.instances or instances
    runner: Runner
    if program.mode is Mode.REACTOR:
        runner = reactor = ReactorRunner(program, instances)
        try:
            reactor.warm_up()
        except ApplianceError:
            program.keeper.close()
            raise
    else:
        runner = CommandRunner(program, scratch)
    return LiveApp(program, version, WatchedRunner(program, runner, instances), clock())
