"""What `appliance top` shows, computed: counters of two polls become rates. No I/O, no clock."""

from dataclasses import dataclass

from appliance.api.shapes import App, Counts, Graph, Health


@dataclass(frozen=True, slots=True)
class Poll:
    """What a box said at one moment.

    at_s: of a clock that only goes forward.   pending: requests queued now, by device.
    """

    at_s: float
    health: Health
    apps: tuple[App, ...]
    graphs: tuple[Graph, ...]
    pending: dict[str, int]


@dataclass(frozen=True, slots=True)
class AppRow:
    """One app. None: not known, as nothing happened between the polls.

    latency_ms: mean time in the guest.   failures: since the app went live.
    """

    name: str
    state: str
    frames: int
    frames_per_s: float | None
    latency_ms: float | None
    failures: int
    failures_per_s: float | None


@dataclass(frozen=True, slots=True)
class GraphRow:
    """One graph. mean_batch: rows a run.   queue_ms, compute_ms: mean of a request, of a run."""

    name: str
    place: str
    rows: int
    rows_per_s: float | None
    mean_batch: float | None
    queue_ms: float | None
    compute_ms: float | None
    failures: int


@dataclass(frozen=True, slots=True)
class _Interval:
    """The time between two polls of the same run of the box; None after a restart or at first."""

    seconds: float | None

    def rate(self, new: float, old: float) -> float | None:
        return None if self.seconds is None else _grown(new, old) / self.seconds


def app_rows(new: Poll, old: Poll | None) -> list[AppRow]:
    """Make the table of apps."""
    interval = _between(new, old)
    before = {} if old is None or interval.seconds is None else {a.name: a for a in old.apps}
    return [_app_row(app, before.get(app.name, _no_app(app)), interval) for app in new.apps]


def graph_rows(new: Poll, old: Poll | None) -> list[GraphRow]:
    """Make the table of graphs that have computed, the busiest first."""
    interval = _between(new, old)
    before = {} if old is None or interval.seconds is None else {_key(g): g for g in old.graphs}
    rows = []
    for graph in new.graphs:
        if graph.counts is not None:
            earlier = before.get(_key(graph), graph.model_copy(update={"counts": None}))
            rows.append(_graph_row(graph, graph.counts, earlier.counts, interval))
    return sorted(rows, key=lambda row: (-(row.rows_per_s or 0), -row.rows, row.name))


def _between(new: Poll, old: Poll | None) -> _Interval:
    # A box that has been up for less time than before was started again: all counts are new.
    if old is None or new.health.uptime_s < old.health.uptime_s or new.at_s <= old.at_s:
        return _Interval(None)
    return _Interval(new.at_s - old.at_s)


def _grown(new: float, old: float) -> float:
    # A new version of an app, or a graph loaded again, counts from 0.
    return new - old if new >= old else new


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _no_app(app: App) -> App:
    return App(name=app.name, state=app.state, version="")


def _app_row(app: App, old: App, interval: _Interval) -> AppRow:
    failures, failures_before = sum(app.failures.values()), sum(old.failures.values())
    latency = None
    if interval.seconds is not None:
        answered, answered_before = app.frames - failures, old.frames - failures_before
        latency = _ratio(_grown(app.guest_ms, old.guest_ms), _grown(answered, answered_before))
    return AppRow(
        name=app.name, state=app.state, frames=app.frames,
        frames_per_s=interval.rate(app.frames, old.frames),
        latency_ms=latency, failures=failures,
        failures_per_s=interval.rate(failures, failures_before),
    )  # fmt: skip


_NO_COUNTS = Counts(
    requests=0, rows=0, executions=0, failures=0, batch_rows={}, queue_ms=0, compute_ms=0,
    refusals={}, owner_rows={},
)  # fmt: skip


def _graph_row(
    graph: Graph, counts: Counts, earlier: Counts | None, interval: _Interval
) -> GraphRow:
    # Before there is an interval: all since the graph was loaded, which is better than nothing.
    old = earlier or _NO_COUNTS
    runs = _grown(counts.executions, old.executions)
    return GraphRow(
        name=graph_name(graph),
        place=f"{graph.backend} {graph.device}",
        rows=counts.rows,
        rows_per_s=interval.rate(counts.rows, old.rows),
        mean_batch=_ratio(_grown(counts.rows, old.rows), runs),
        queue_ms=_ratio(
            _grown(counts.queue_ms, old.queue_ms), _grown(counts.requests, old.requests)
        ),
        compute_ms=_ratio(_grown(counts.compute_ms, old.compute_ms), runs),
        failures=counts.failures + sum(counts.refusals.values()),
    )


def graph_name(graph: Graph) -> str:
    """Name a graph: its model, else what a guest brought."""
    return graph.model or f"{graph.encoding} {graph.digest[:12]}"


def _key(graph: Graph) -> tuple[str, str, str, str]:
    return graph.digest, graph.encoding, graph.backend, graph.device
