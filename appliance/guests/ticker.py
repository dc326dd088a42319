"""The clock that ends guests: an engine's epochs, counted when somebody's time may be up.

A guest's deadline is a number of epochs, and wasmtime stops it when the engine's count gets there.
Counting each as it passes means waking a thread a hundred times a second that takes Python's lock
and, on a box whose cores all compute, a core: 3 % of a run of two threads here. So the count lags
behind the clock and catches up when the first deadline is due; who begins is given the lag on top.

Rules:
1. A guest is stopped never before its deadline, and no more than one epoch after it if the thread
   gets a core by then.
2. The thread looks at a deadline, or once a second; while no guest runs it sleeps.
"""

import math
import threading
import time
from collections.abc import Callable

import wasmtime

# How finely deadlines are told apart; what Spin uses.
EPOCH_S = 0.010
# Or the count would lag by hours on a busy box, and take a while to catch up.
_LONGEST_LAG_S = 1.0
_NEVER = 1 << 62

Deadline = Callable[[int], object]


class Ticker:
    """Advances an engine's epoch for the guests that run.

    One thread, owned here: `start` before the first guest, `stop` after the last.
    clock: monotonic seconds.
    """

    def __init__(
        self, engine: wasmtime.Engine, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        # The epoch at which each guest that runs is to be stopped.
        self._ends: dict[Deadline, int] = {}
        # The engine's count, and the time at which it was right.
        self._epoch = 0
        self._counted_s = 0.0
        # When the thread looks next.
        self._looks_s = math.inf
        self._is_stopping = False
        self._thread = threading.Thread(target=self._tick, name="guest-epochs", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        with self._changed:
            self._is_stopping = True
            self._changed.notify()
        self._thread.join()

    def begin(self, deadline: Deadline, limit_s: float) -> None:
        """Give a guest that is about to run its deadline; until `end`.

        deadline: sets its store's, in epochs from now, and stands for it.
        """
        with self._lock:
            now = self._clock()
            if not self._ends:
                # Nobody minds the epochs since.
                self._counted_s = now
            epochs = math.ceil((now + limit_s - self._counted_s) / EPOCH_S)
            # Under the lock: it counts from the engine's present epoch.
            deadline(epochs)
            self._ends[deadline] = self._epoch + epochs
            # Waking a thread costs more than a call into a small guest; mostly it looks sooner.
            if now + limit_s < self._looks_s:
                self._changed.notify()

    def end(self, deadline: Deadline) -> None:
        """Time a guest no longer."""
        with self._lock:
            del self._ends[deadline]

    def _tick(self) -> None:
        with self._changed:
            while not self._is_stopping:
                if self._ends:
                    now = self._clock()
                    self._looks_s = self._look(now)
                    self._changed.wait(max(0.0, self._looks_s - now))
                else:
                    self._looks_s = math.inf
                    self._changed.wait()

    def _look(self, now: float) -> float:
        """Catch up with the clock. Returns: when to look again."""
        passed = int((now - self._counted_s) / EPOCH_S)
        for _ in range(passed):
            self._engine.increment_epoch()
        self._counted_s += passed * EPOCH_S
        self._epoch += passed
        # Who is over already ends by itself, when it comes back from the host at the latest.
        first = min((end for end in self._ends.values() if end > self._epoch), default=_NEVER)
        return min(self._counted_s + (first - self._epoch) * EPOCH_S, now + _LONGEST_LAG_S)
