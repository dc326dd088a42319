"""What the box counts of cameras and their frames, as Prometheus reads it.

    edge_camera_frames_total{camera,outcome}         captured; of these dropped_REASON
    edge_camera_app_frames_total{camera,app,outcome} inferred, limited, skipped, refused, failed_...
    edge_frame_to_prediction_seconds{camera,app}     histogram: from capture to stored prediction
    edge_camera_reconnects_total, edge_camera_restarts_total{camera}
    edge_camera_last_frame_age_seconds{camera}       absent before the first
    edge_camera_viewers                              streams that are looked at now
    edge_camera_state{camera,state}                  1 for the state it is in, 0 for the others

Labels are names that the operator gave, of at most as many cameras and apps as the box takes, and
words of ours.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from appliance.latencies import Latencies


@dataclass(frozen=True, slots=True)
class AppFrames:
    """One camera's frames at one app."""

    app: str
    outcomes: Mapping[str, int]
    latency: Latencies


@dataclass(frozen=True, slots=True)
class CameraCounts:
    """One camera. state: one of `states`.   captured: all frames.   dropped: of these, by reason.

    last_frame_age_s: None before the first.
    """

    name: str
    state: str
    states: Sequence[str]
    captured: int
    dropped: Mapping[str, int]
    reconnects: int
    restarts: int
    last_frame_age_s: float | None
    apps: tuple[AppFrames, ...]


def families(cameras: Iterable[CameraCounts], viewers: int) -> Iterable[Metric]:
    """Make the metrics of all cameras. viewers: of their streams, now."""
    frames = CounterMetricFamily(
        "edge_camera_frames", "frames of cameras", labels=("camera", "outcome")
    )
    at_apps = CounterMetricFamily(
        "edge_camera_app_frames", "frames of cameras at apps", labels=("camera", "app", "outcome")
    )
    latency = HistogramMetricFamily(
        "edge_frame_to_prediction_seconds", "from capture to stored prediction",
        labels=("camera", "app"),
    )  # fmt: skip
    reconnects = CounterMetricFamily(
        "edge_camera_reconnects", "times a camera was opened again", labels=("camera",)
    )
    restarts = CounterMetricFamily(
        "edge_camera_restarts", "workers of cameras that died", labels=("camera",)
    )
    age = GaugeMetricFamily(
        "edge_camera_last_frame_age_seconds", "since the last frame", labels=("camera",)
    )
    state = GaugeMetricFamily(
        "edge_camera_state", "1 for the state it is in", labels=("camera", "state")
    )
    for camera in cameras:
        frames.add_metric((camera.name, "captured"), camera.captured)
        for reason, count in camera.dropped.items():
            frames.add_metric((camera.name, f"dropped_{reason}"), count)
        for shown in camera.apps:
            for outcome, count in shown.outcomes.items():
                at_apps.add_metric((camera.name, shown.app, outcome), count)
            latency.add_metric(
                (camera.name, shown.app), shown.latency.buckets(), shown.latency.sum_s
            )
        reconnects.add_metric((camera.name,), camera.reconnects)
        restarts.add_metric((camera.name,), camera.restarts)
        if camera.last_frame_age_s is not None:
            age.add_metric((camera.name,), camera.last_frame_age_s)
        for name in camera.states:
            state.add_metric((camera.name, name), float(name == camera.state))
    yield from (frames, at_apps, latency, reconnects, restarts, age, state)
    yield GaugeMetricFamily("edge_camera_viewers", "streams that are looked at now", viewers)
