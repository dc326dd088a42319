"""How many callers a graph has at a time, and whether its next batch should wait for them.

Callers whose batch is done come back within a fraction of a millisecond, one by one. If whoever
comes first were computed at once, and the others after it, batches would wither to single rows,
each as dear as a full one. So a graph's requests are shared out: as many rows go together as
there are callers for each run that can go side by side. Those who are first wait a moment for
the rest of their share.

Pure: `now` is a parameter. The lane tells what comes, begins, ends and leaves.

Rules:
1. Whoever is alone never waits: with one caller for each thread, or none lately, a share is one.
2. Nobody is held back for longer than one run takes.
3. Where those waited for do not come, the waiting is given up for longer and longer.
"""

import math
from dataclasses import dataclass

from appliance.requests import Hold

# How long the callers of a run that ended are waited for: a share of what it took, and at most.
# Eight Python callers need 0.2 to 0.8 ms to come back.
RETURN_SHARE = 0.3
MAX_RETURN_S = 0.001
# How long the first of a share waits while other runs of the graph are under way, in runs: those
# who are missing are in them, or on their way. A thread used for one row of four is wasted.
PATIENCE_RUNS = 0.5
# Runs for which the waiting is given up, at most, where nobody came.
MAX_SKIPS = 16
# Callers are counted by the most at a time within the last one or two times so many runs.
WINDOW_RUNS = 8
# How much the newest run counts in the running mean of what one takes; chosen, not measured.
_NEWEST = 0.2
_NO_HOLD = Hold()


@dataclass(slots=True)
class Crowd:
    """The callers of one graph; guarded by the lane's lock.

    max_rows: of a batch; 1 if the graph is never batched, and then nobody waits.
    queued, running: rows.   runs: under way.
    """

    max_rows: int
    queued: int = 0
    running: int = 0
    runs: int = 0
    _peak: int = 0
    _last_peak: int = 0
    _runs_in_window: int = 0
    _run_s: float = 0.0
    _ended_s: float = -math.inf
    _first_s: float = -math.inf
    _wanted: int = 0
    _skips: int = 0
    _penalty: int = 0

    def arrived(self, rows: int, now: float) -> None:
        """Count a request in the queue."""
        if not self.queued:
            self._first_s = now
        self.queued += rows
        if self.queued + self.running > self._peak:
            self._peak = self.queued + self.running

    def left(self, rows: int) -> None:
        """Count out a request that will not be computed."""
        self.queued -= rows

    def began(self, rows: int, now: float) -> None:
        """Count a run of queued rows that begins."""
        self.queued -= rows
        self.running += rows
        self.runs += 1
        self._first_s = now
        if self._skips:
            self._skips -= 1
        if self._wanted:
            self._learn(rows)

    def _learn(self, rows: int) -> None:
        """Was it worth waiting for?"""
        if 2 * rows >= self._wanted:
            self._penalty = 0
        else:
            self._penalty = min(2 * self._penalty or 1, MAX_SKIPS)
            self._skips = self._penalty
        self._wanted = 0

    def ended(self, rows: int, now: float, run_s: float) -> None:
        """Count a run that is done; its callers may come back."""
        self.running -= rows
        self.runs -= 1
        self._ended_s = now
        self._run_s += (_NEWEST if self._run_s else 1.0) * (run_s - self._run_s)
        self._runs_in_window += 1
        if self._runs_in_window >= WINDOW_RUNS:
            self._last_peak, self._peak = self._peak, self.queued + self.running
            self._runs_in_window = 0

    def is_alone(self) -> bool:
        """Tell whether there is nobody to wait for, whatever is free; once one has arrived."""
        return self.max_rows < 2 or (self._peak < 2 and self._last_peak < 2)

    def hold(self, now: float, free_runs: int) -> Hold:
        """Tell how the next batch is formed.

        free_runs: how many could begin now.
        """
        if self.max_rows < 2:
            return _NO_HOLD
        callers = max(self._peak, self._last_peak)
        share = min(math.ceil(callers / max(1, free_runs + self.runs)), self.max_rows)
        # Who computes now cannot come; who was never seen is not expected.
        wanted = min(share, callers - self.running)
        if self.queued >= wanted or self._skips:
            return Hold(share)
        until_s = self._until()
        if until_s > now:
            self._wanted = wanted
        return Hold(share, until_s)

    def _until(self) -> float:
        until_s = self._ended_s + min(RETURN_SHARE * self._run_s, MAX_RETURN_S)
        if self.runs:
            until_s = max(until_s, self._first_s + PATIENCE_RUNS * self._run_s)
        return min(until_s, self._first_s + self._run_s)
