"""What a lane did: counted while it runs, shown as frozen snapshots."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from appliance.requests import Request
from wasi_nn.backend import Device

# How much the newest run counts in the running mean of what a row costs; chosen, not measured.
_NEWEST = 0.2
# Of seconds: a run too short for the clock costs something all the same.
_LEAST_ROW_S = 1e-9


@dataclass(frozen=True, slots=True)
class GraphStatistics:
    """One graph since it was first run.

    requests, rows: what was computed, well or not.   executions: runs of the graph.
    failures: requests that got an error of the run.   batch_rows: how many runs had how many rows.
    queue_s, compute_s: sums over requests and runs.   refusals: by reason.   owner_rows: rows by
    owner.   row_s: running mean of what a row costs.
    """

    requests: int
    rows: int
    executions: int
    failures: int
    batch_rows: Mapping[int, int]
    queue_s: float
    compute_s: float
    refusals: Mapping[str, int]
    owner_rows: Mapping[str, int]
    row_s: float


@dataclass(frozen=True, slots=True)
class LaneStatistics:
    """One lane now. graphs: by an id of no meaning."""

    device: Device
    threads: int
    busy_threads: int
    queued: int
    graphs: Mapping[Hashable, GraphStatistics]


@dataclass(slots=True)
class GraphCounts:
    """The counters behind `GraphStatistics`; guarded by the lane's lock."""

    requests: int = 0
    rows: int = 0
    executions: int = 0
    failures: int = 0
    queue_s: float = 0.0
    compute_s: float = 0.0
    # Before the first run any positive number does: only ratios between owners count.
    row_s: float = 1e-3
    batch_rows: dict[int, int] = field(default_factory=dict)
    refusals: dict[str, int] = field(default_factory=dict)
    owner_rows: dict[str, int] = field(default_factory=dict)

    def computed(
        self, requests: Sequence[Request], runs: Sequence[int], failures: int, compute_s: float,
        started_s: float,
    ) -> int:  # fmt: skip
        """Count requests that were computed together.

        runs: the rows of each run; several if the first failed.   failures: of the requests.
        Returns: their rows.
        """
        is_first = not self.executions
        rows = 0
        for request in requests:
            rows += request.rows
            self.queue_s += started_s - request.arrived_s
            self.owner_rows[request.owner] = self.owner_rows.get(request.owner, 0) + request.rows
        self.requests += len(requests)
        self.rows += rows
        self.executions += len(runs)
        self.failures += failures
        for count in runs:
            self.batch_rows[count] = self.batch_rows.get(count, 0) + 1
        self.compute_s += compute_s
        row_s = max(compute_s / rows, _LEAST_ROW_S)
        self.row_s = row_s if is_first else self.row_s + _NEWEST * (row_s - self.row_s)
        return rows

    def refused(self, reason: str) -> None:
        """Count a refusal."""
        self.refusals[reason] = self.refusals.get(reason, 0) + 1

    def snapshot(self) -> GraphStatistics:
        """Freeze the counts."""
        return GraphStatistics(
            requests=self.requests,
            rows=self.rows,
            executions=self.executions,
            failures=self.failures,
            batch_rows=dict(self.batch_rows),
            queue_s=self.queue_s,
            compute_s=self.compute_s,
            refusals=dict(self.refusals),
            owner_rows=dict(self.owner_rows),
            row_s=self.row_s,
        )
