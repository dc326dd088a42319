"""What went through the protocol, counted per model and app, in Triton's words."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from appliance.lanestats import GraphStatistics
from appliance.oip.messages import Duration, InferTiming, ModelStatistics

Key = tuple[str, str]


@dataclass(slots=True)
class _Sum:
    """A running `Duration`."""

    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        self.count += 1
        self.seconds += seconds

    def frozen(self) -> Duration:
        return Duration(self.count, round(self.seconds * 1e9))


@dataclass(slots=True)
class _Runs:
    """Runs of graphs that are gone, and what the present one had done before it came."""

    rows: int = 0
    executions: int = 0
    compute_s: float = 0.0
    batch_rows: dict[int, int] = field(default_factory=dict)

    def add(self, counts: GraphStatistics | None, sign: int = 1) -> None:
        if counts is None:
            return
        self.rows += sign * counts.rows
        self.executions += sign * counts.executions
        self.compute_s += sign * counts.compute_s
        for rows, times in counts.batch_rows.items():
            self.batch_rows[rows] = self.batch_rows.get(rows, 0) + sign * times


@dataclass(slots=True)
class _Counts:
    success: _Sum = field(default_factory=_Sum)
    fail: _Sum = field(default_factory=_Sum)
    queue: _Sum = field(default_factory=_Sum)
    input: _Sum = field(default_factory=_Sum)
    infer: _Sum = field(default_factory=_Sum)
    output: _Sum = field(default_factory=_Sum)
    past: _Runs = field(default_factory=_Runs)
    last_ms: int = 0
    has_loaded: bool = False


class Counts:
    """The counters of all models and apps. Thread-safe.

    clock: Unix seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: dict[Key, _Counts] = {}

    def succeeded(self, key: Key, timing: InferTiming, output_s: float) -> None:
        """Count an answer. output_s: making the outputs."""
        now_ms = int(self._clock() * 1000)
        with self._lock:
            counts = self._of(key)
            counts.last_ms = now_ms
            counts.success.add(timing.total_s)
            counts.queue.add(timing.queue_s)
            counts.input.add(timing.input_s)
            counts.infer.add(timing.compute_s)
            counts.output.add(output_s)

    def failed(self, key: Key, total_s: float) -> None:
        """Count a request that got an error."""
        now_ms = int(self._clock() * 1000)
        with self._lock:
            counts = self._of(key)
            counts.last_ms = now_ms
            counts.fail.add(total_s)

    def graph_came(self, key: Key, runs: GraphStatistics | None) -> None:
        """Take note of a loaded graph and what it has done; guests may have used it for long.

        What it did before its first coming counts; later, it was counted when it went.
        """
        with self._lock:
            counts = self._of(key)
            if counts.has_loaded:
                counts.past.add(runs, -1)
            counts.has_loaded = True

    def graph_went(self, key: Key, runs: GraphStatistics | None) -> None:
        """Keep the counts of a graph that is let go."""
        with self._lock:
            self._of(key).past.add(runs)

    def statistics(self, key: Key, runs: GraphStatistics | None) -> ModelStatistics:
        """Give a model's counts. runs: of the graph that is loaded now, None if none is."""
        with self._lock:
            counts = self._counts.get(key, _Counts())
            all_runs = _Runs()
            all_runs.add(runs)
            past = counts.past
            all_runs.add(
                GraphStatistics(
                    requests=0, rows=past.rows, executions=past.executions, failures=0,
                    batch_rows=past.batch_rows, queue_s=0.0, compute_s=past.compute_s,
                    refusals={}, owner_rows={}, row_s=0.0,
                )
            )  # fmt: skip
            return ModelStatistics(
                name=key[0],
                version=key[1],
                last_inference_ms=counts.last_ms,
                inference_count=all_runs.rows,
                execution_count=all_runs.executions,
                success=counts.success.frozen(),
                fail=counts.fail.frozen(),
                queue=counts.queue.frozen(),
                compute_input=counts.input.frozen(),
                compute_infer=counts.infer.frozen(),
                compute_output=counts.output.frozen(),
                batches=_batches(all_runs),
            )

    def _of(self, key: Key) -> _Counts:
        return self._counts.setdefault(key, _Counts())


def _batches(runs: _Runs) -> dict[int, Duration]:
    """Spread the compute time over the sizes of batches, by rows: a graph counts only the sum."""
    row_s = runs.compute_s / runs.rows if runs.rows > 0 else 0.0
    return {
        rows: Duration(times, round(rows * times * row_s * 1e9))
        for rows, times in sorted(runs.batch_rows.items())
        if times > 0
    }
