"""What the tests of cameras share: cameras that are stopped whatever happens."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from appliance.cameras.camera import Start, WatchedCamera
from appliance.cameras.config import CameraConfig
from appliance.cameras.lifecycle import Rules
from tests.appliance.cameras.watching import TIMEOUT_S

Run = Callable[..., WatchedCamera]


@pytest.fixture
def run() -> Iterator[Run]:
    """Start a camera named door of a URL; keywords are its configuration, `rules` its patience."""
    cameras = []

    def start(url: str, *, rules: Rules | None = None, **config: Any) -> WatchedCamera:
        camera = WatchedCamera(CameraConfig(name="door", url=url, **config), Start(), rules)
        cameras.append(camera)
        camera.start()
        return camera

    yield start
    ends_at = time.monotonic() + TIMEOUT_S
    for camera in cameras:
        camera.stop()
        assert camera.worker_pid is None
    assert time.monotonic() < ends_at
