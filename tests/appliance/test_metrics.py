"""The Prometheus text, from snapshots."""

from prometheus_client.parser import text_string_to_metric_families

from appliance.camerametrics import AppFrames, CameraCounts
from appliance.lanestats import GraphStatistics, LaneStatistics
from appliance.latencies import BOUNDS_S, Latencies
from appliance.metrics import AppCounts, DiskCounts, Snapshot, render
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


def test_cameras_are_shown_with_their_frames_and_latencies() -> None:
    """Frames by outcome, the state as one of all, and a histogram that sums up."""
    latency = Latencies((1, 2, *(0,) * (len(BOUNDS_S) - 1)), 0.02)
    camera = CameraCounts(
        name="door", state="live", states=("live", "failed"), captured=9,
        dropped={"oldest": 2}, reconnects=3, restarts=1, last_frame_age_s=0.5,
        apps=(AppFrames("cat", {"inferred": 3, "skipped": 4}, latency),),
    )  # fmt: skip
    silent = CameraCounts("gate", "failed", ("live", "failed"), 0, {}, 0, 0, None, ())
    actual = shown(Snapshot({}, (), RegistryStatistics(0, 0, 0, ()), (), (camera, silent)))

    assert actual["edge_camera_frames_total", ("door", "captured")] == 9
    assert actual["edge_camera_frames_total", ("door", "dropped_oldest")] == 2
    assert actual["edge_camera_app_frames_total", ("cat", "door", "skipped")] == 4
    assert actual["edge_camera_reconnects_total", ("door",)] == 3
    assert actual["edge_camera_restarts_total", ("door",)] == 1
    assert actual["edge_camera_last_frame_age_seconds", ("door",)] == 0.5
    assert ("edge_camera_last_frame_age_seconds", ("gate",)) not in actual
    assert (actual["edge_camera_state", ("door", "live")],
            actual["edge_camera_state", ("door", "failed")],
            actual["edge_camera_state", ("gate", "failed")]) == (1, 0, 1)  # fmt: skip
    name = "edge_frame_to_prediction_seconds"
    assert actual[f"{name}_count", ("cat", "door")] == 3
    assert actual[f"{name}_sum", ("cat", "door")] == 0.02
    assert actual[f"{name}_bucket", ("cat", "door", "0.005")] == 1


def test_the_disk_is_shown_with_what_it_cost() -> None:
    """A board can warn before it is full, and show what was missed."""
    disk = DiskCounts(stored=5, missed=2, set_aside=1, free_bytes=4096)
    actual = shown(Snapshot({}, (), RegistryStatistics(0, 0, 0, ()), (), disk=disk))

    assert actual["edge_history_predictions_total", ("stored",)] == 5
    assert actual["edge_history_predictions_total", ("missed",)] == 2
    assert actual["edge_history_set_aside_total", ()] == 1
    assert actual["edge_state_free_bytes", ()] == 4096
