"""The Prometheus text, from snapshots."""

from prometheus_client.parser import text_string_to_metric_families

from appliance.lanestats import GraphStatistics, LaneStatistics
from appliance.metrics import AppCounts, Snapshot, render
from wasi_nn.backend import Device
from wasi_nn.registry import RegistryStatistics

COUNTS = GraphStatistics(
    requests=7, rows=9, executions=4, failures=2, batch_rows={1: 2, 3: 2}, queue_s=0.5,
    compute_s=0.25, refusals={"queue_full": 3, "expired": 1}, owner_rows={"a": 9}, row_s=0.01,
)  # fmt: skip


def shown(snapshot: Snapshot) -> dict[tuple[str, tuple[str, ...]], float]:
    """Read the text as Prometheus does: value by name and label values, by label name."""
    families = text_string_to_metric_families(render(snapshot).decode())
    return {
        (sample.name, tuple(v for _, v in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_triton_names_carry_what_a_graph_did() -> None:
    """Boards made for Triton read our counts: requests, rows, runs and microseconds."""
    lane = LaneStatistics(Device.CPU, threads=2, busy_threads=1, queued=5, graphs={})
    actual = shown(
        Snapshot({("lite0", "1"): (COUNTS, COUNTS)}, (lane,), RegistryStatistics(6, 2, 1, ()), ())
    )

    model = ("lite0", "1")
    assert actual["nv_inference_request_success", model] == 10
    assert actual["nv_inference_count", model] == 18
    assert actual["nv_inference_exec_count", model] == 8
    assert actual["nv_inference_queue_duration_us", model] == 1e6
    assert actual["nv_inference_compute_infer_duration_us", model] == 5e5
    assert actual["nv_inference_request_failure", ("lite0", "REJECTED", "1")] == 8
    assert actual["nv_inference_request_failure", ("lite0", "BACKEND", "1")] == 4
    assert actual["nv_inference_pending_request_count", ("cpu",)] == 5
    assert actual["edge_graph_loads_total", ("cached",)] == 6


def test_app_frames_are_counted_by_outcome() -> None:
    """Each reason of failure is its own series."""
    app = AppCounts("cat", {"answered": 3, "deadline": 1})
    actual = shown(Snapshot({}, (), RegistryStatistics(0, 0, 0, ()), (app,)))

    assert actual["edge_app_frames_total", ("cat", "answered")] == 3
    assert actual["edge_app_frames_total", ("cat", "deadline")] == 1
