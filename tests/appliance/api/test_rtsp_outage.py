"""A camera whose server goes away: predictions resume by themselves.

RTSP_OUTAGE_S=30 makes the outage as long as a camera takes to start again; without it, the test is
over as soon as the box has tried in vain a few times.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.appliance import watguests as guests
from tests.appliance.cameras.servers import RtspServer, need_rtsp_server
from tests.appliance.service import Service

_OUTAGE_S = float(os.environ.get("RTSP_OUTAGE_S", "0"))
_PATIENCE_S = 60.0 + _OUTAGE_S


def camera_when(service: Service, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Ask for the camera until something is true of it."""
    end_s = time.monotonic() + _PATIENCE_S
    while True:
        camera: dict[str, Any] = service.http.get("/v1/cameras/gate").json()
        if holds(camera):
            return camera
        assert time.monotonic() < end_s, camera


def newest(service: Service) -> dict[str, Any] | None:
    found = service.http.get("/v1/predictions?camera=gate&limit=1").json()["predictions"]
    return found[0] if found else None


def after(service: Service, id: int) -> dict[str, Any]:
    """Ask for predictions until there is one with a higher id."""
    end_s = time.monotonic() + _PATIENCE_S
    while (found := newest(service)) is None or found["id"] <= id:
        assert time.monotonic() < end_s, "no prediction came"
    return found


def test_predictions_resume_after_an_outage(state: Path) -> None:
    """Nobody touches the box; the frames' numbers go on where they were."""
    need_rtsp_server()
    server = RtspServer()
    server.start()
    with Service(state) as service:
        assert 200 == service.deploy("cats", guests.labelled("cat")).status_code
        settings = {"name": "gate", "url": server.url("h264"), "stall_s": 1, "apps": ["cats"]}
        assert 201 == service.http.post("/v1/cameras", json=settings).status_code
        after(service, 0)
        server.kill()
        since_s = time.monotonic()
        lost = camera_when(
            service,
            lambda camera: camera["state"] == "failed" and camera["reconnects"] >= 3
            and time.monotonic() >= since_s + _OUTAGE_S,
        )  # fmt: skip
        last = newest(service)
        assert last is not None
        server.start()
        again = after(service, last["id"])
        back = camera_when(service, lambda camera: camera["state"] == "live")
    server.kill()

    assert again["sequence"] > last["sequence"]
    assert (1, "cat") == (len(back["apps"]), again["label"])
    assert "nothing listens there" in lost["reason"]
