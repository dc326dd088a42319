"""What the box counts, as Prometheus reads it: Triton's names, so that boards made for it work.

    nv_inference_request_success{model,version}          requests answered
    nv_inference_request_failure{model,version,reason}   REJECTED: refused before compute; BACKEND
    nv_inference_count, nv_inference_exec_count          rows, runs; their ratio is the mean batch
    nv_inference_queue_duration_us                       sum over requests
    nv_inference_compute_infer_duration_us               sum over runs
    nv_inference_pending_request_count{device}           queued now
    edge_graph_loads_total{outcome}                      loaded, cached, failed
    edge_app_frames_total{app,outcome}                   answered, or why not
    edge_deploys_total{kind,outcome}                     deploy, rollback, ...; live, failed
    edge_history_predictions_total{outcome}              stored; missed: the disk refused
    edge_history_set_aside_total                         damaged files of the history
    edge_state_free_bytes                                left on the state folder's disk
    edge_camera_..., edge_frame_to_prediction_seconds    see `camerametrics`

Read from snapshots when asked; nothing is counted twice and nothing runs in between. Labels are
names that the operator gave, so their number is bounded.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from appliance.camerametrics import CameraCounts, families
from appliance.lanestats import GraphStatistics, LaneStatistics
from wasi_nn.registry import RegistryStatistics

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_MODEL = ("model", "version")


@dataclass(frozen=True, slots=True)
class AppCounts:
    """Frames of one app by outcome."""

    name: str
    outcomes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class DiskCounts:
    """Predictions of the history, its files set aside, and what is left on the disk, if known."""

    stored: int
    missed: int
    set_aside: int
    free_bytes: int | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that is shown.

    graphs: by name and version of the model, loaded graphs summed up.   deploys: by kind and
    outcome.
    """

    graphs: Mapping[tuple[str, str], tuple[GraphStatistics, ...]]
    lanes: tuple[LaneStatistics, ...]
    registry: RegistryStatistics
    apps: tuple[AppCounts, ...]
    cameras: tuple[CameraCounts, ...] = ()
    viewers: int = 0
    deploys: Mapping[tuple[str, str], int] = field(default_factory=dict)
    disk: DiskCounts | None = None


def render(snapshot: Snapshot) -> bytes:
    """Write a snapshot in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Shown(snapshot))
    return generate_latest(registry)


class _Shown:
    """A snapshot as a collector."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterable[Metric]:
        yield from self._models()
        pending = GaugeMetricFamily(
            "nv_inference_pending_request_count", "requests queued now", labels=("device",)
        )
        for lane in self._snapshot.lanes:
            pending.add_metric((lane.device.value,), lane.queued)
        yield pending
        loads = CounterMetricFamily("edge_graph_loads", "loads of graphs", labels=("outcome",))
        counts = self._snapshot.registry
        for outcome, count in (
            ("loaded", counts.loads), ("cached", counts.hits), ("failed", counts.failures)
        ):  # fmt: skip
            loads.add_metric((outcome,), count)
        yield loads
        frames = CounterMetricFamily(
            "edge_app_frames", "frames shown to apps", labels=("app", "outcome")
        )
        for app in self._snapshot.apps:
            for outcome, count in app.outcomes.items():
                frames.add_metric((app.name, outcome), count)
        yield frames
        deploys = CounterMetricFamily(
            "edge_deploys", "changes of what answers for an app", labels=("kind", "outcome")
        )
        for labels, count in sorted(self._snapshot.deploys.items()):
            deploys.add_metric(labels, count)
        yield deploys
        if self._snapshot.disk is not None:
            yield from _disk(self._snapshot.disk)
        yield from families(self._snapshot.cameras, self._snapshot.viewers)

    def _models(self) -> Iterable[Metric]:
        figures = {
            "nv_inference_request_success": "requests answered",
            "nv_inference_count": "rows computed",
            "nv_inference_exec_count": "runs of the graph",
            "nv_inference_queue_duration_us": "microseconds in the queue, sum over requests",
            "nv_inference_compute_infer_duration_us": "microseconds computing, sum over runs",
        }
        # Gauges in form: Triton's counters have no _total, which a counter of ours would get.
        families = {name: GaugeMetricFamily(name, text, labels=_MODEL)
                    for name, text in figures.items()}  # fmt: skip
        failures = GaugeMetricFamily(
            "nv_inference_request_failure", "requests refused or failed", labels=(*_MODEL, "reason")
        )
        for labels, counted in self._snapshot.graphs.items():
            values = {
                "nv_inference_request_success": sum(c.requests - c.failures for c in counted),
                "nv_inference_count": sum(c.rows for c in counted),
                "nv_inference_exec_count": sum(c.executions for c in counted),
                "nv_inference_queue_duration_us": sum(c.queue_s for c in counted) * 1e6,
                "nv_inference_compute_infer_duration_us": sum(c.compute_s for c in counted) * 1e6,
            }
            for name, value in values.items():
                families[name].add_metric(labels, value)
            rejected = sum(sum(c.refusals.values()) for c in counted)
            failures.add_metric((*labels, "REJECTED"), rejected)
            failures.add_metric((*labels, "BACKEND"), sum(c.failures for c in counted))
        yield from families.values()
        yield failures


def _disk(counts: DiskCounts) -> Iterable[Metric]:
    rows = CounterMetricFamily(
        "edge_history_predictions", "predictions stored, and missed", labels=("outcome",)
    )
    rows.add_metric(("stored",), counts.stored)
    rows.add_metric(("missed",), counts.missed)
    yield rows
    yield CounterMetricFamily(
        "edge_history_set_aside", "damaged files of the history", value=counts.set_aside
    )
    if counts.free_bytes is not None:
        yield GaugeMetricFamily(
            "edge_state_free_bytes", "left on the disk", value=counts.free_bytes
        )
