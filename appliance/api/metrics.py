"""`/metrics` over the socket, as Prometheus reads it."""

import shutil
from collections.abc import Iterator

from fastapi import APIRouter
from fastapi.responses import Response

from appliance.api.body import TheBox
from appliance.api.rooms import Rooms
from appliance.camerametrics import AppFrames, CameraCounts
from appliance.cameras.states import CameraState
from appliance.lanestats import GraphStatistics
from appliance.metrics import MEDIA_TYPE, AppCounts, DiskCounts, Snapshot, render

router = APIRouter(tags=["health"])

# Graphs that guests brought as bytes share one label: their digests would have no bound.
_UNNAMED = ("guest", "")


@router.get("/metrics", response_class=Response)
def metrics(box: TheBox) -> Response:
    """Give all counts in Prometheus' text format."""
    return Response(render(_snapshot(box)), media_type=MEDIA_TYPE)


def _snapshot(box: Rooms) -> Snapshot:
    registry = box.registry.statistics()
    graphs: dict[tuple[str, str], tuple[GraphStatistics, ...]] = {}
    for info in registry.graphs:
        counts = box.scheduler.counts_of(info.graph)
        if counts is not None:
            name, _, version = info.name.partition(":")
            labels = (name, version) if name else _UNNAMED
            graphs[labels] = (*graphs.get(labels, ()), counts)
    return Snapshot(
        graphs,
        box.scheduler.statistics(),
        registry,
        tuple(_apps(box)),
        tuple(_cameras(box)),
        box.viewing.seats.taken,
        box.deployer.outcomes(),
        _disk(box),
    )


def _disk(box: Rooms) -> DiskCounts:
    counts = box.store.counts()
    try:
        free_bytes = shutil.disk_usage(box.settings.state).free
    except OSError:
        free_bytes = None
    return DiskCounts(counts.stored, counts.missed, counts.set_aside, free_bytes)


def _apps(box: Rooms) -> list[AppCounts]:
    apps = []
    for name in box.apps.names():
        with box.apps.using(name) as app:
            counts = app.statistics()
        answered = counts.frames - sum(counts.failures.values())
        apps.append(AppCounts(name, {"answered": answered, **counts.failures}))
    return apps


def _cameras(box: Rooms) -> Iterator[CameraCounts]:
    pairs = box.router.statuses()
    for status in box.cameras.statuses():
        yield CameraCounts(
            name=status.name,
            state=status.state,
            states=tuple(CameraState),
            captured=status.frames,
            dropped={str(reason): count for reason, count in status.dropped.items()},
            reconnects=status.reconnects,
            restarts=status.restarts,
            last_frame_age_s=status.last_frame_age_s,
            apps=tuple(
                AppFrames(pair.feed.app, pair.outcomes(), pair.latency)
                for pair in pairs
                if pair.camera == status.name
            ),
        )
