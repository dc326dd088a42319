"""Cameras, apps and a router over fake models, wired as the box wires them."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from appliance.apps import AppTable, make_live
from appliance.cameras.config import CameraConfig
from appliance.cameras.table import CameraTable
from appliance.errors import ApplianceError
from appliance.feed import Feed
from appliance.pipeline import Pipeline, Processed
from appliance.records import Prediction
from appliance.routing.pairs import PairStatus
from appliance.routing.router import Router
from appliance.settings import MIB
from appliance.store import PredictionStore
from tests.appliance.workshop import Workshop

WAIT_S = 30
# As wide as a digit can say for a guest, and high enough for a banner.
PIXELS = np.full((64, 8, 3), 128, np.uint8)


class WatchedStore(PredictionStore):
    """A store that tells when predictions came."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.seen: list[Prediction] = []
        self._came = threading.Condition()

    def append(self, predictions: tuple[Prediction, ...]) -> list[int]:
        ids = super().append(predictions)
        with self._came:
            self.seen += predictions
            self._came.notify_all()
        return ids

    def wait_for(self, what: Callable[[list[Prediction]], bool]) -> None:
        with self._came:
            assert self._came.wait_for(lambda: what(self.seen), WAIT_S), self.seen


class WatchedPipeline(Pipeline):
    """A pipeline that tells when frames have been shown, whatever came of it."""

    def __init__(self, *rooms: Any) -> None:
        super().__init__(*rooms)
        self._ended = 0
        self._changed = threading.Condition()

    def check(self, app_name: str) -> None:
        try:
            super().check(app_name)
        except ApplianceError:
            self._end()
            raise

    def process(self, *frame: Any) -> Processed:
        try:
            return super().process(*frame)
        finally:
            self._end()

    def _end(self) -> None:
        with self._changed:
            self._ended += 1
            self._changed.notify_all()

    def wait_for(self, frames: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._ended >= frames, WAIT_S), self._ended


class RoutingLine:
    """Everything between a pushed frame and a stored prediction. instances: of each app."""

    def __init__(self, workshop: Workshop, folder: Path, instances: int = 2) -> None:
        self.store = WatchedStore(folder / "predictions.db", max_bytes=10 * MIB)
        self.apps = AppTable()
        self.pipeline = WatchedPipeline(self.apps, self.store, Feed(max_subscribers=1))
        self.cameras = CameraTable(folder)
        self.router = Router(self.cameras, self.apps, self.pipeline)
        self._workshop, self._folder, self._instances = workshop, folder, instances

    def start(self) -> None:
        self.store.open()
        self.cameras.start()
        self.router.start()

    def stop(self) -> None:
        self.router.stop()
        self.cameras.stop()
        self.apps.close()
        self.store.close()

    def deploy(self, name: str, wasm: bytes, manifest: str = "", version: str = "1") -> None:
        """Make an app live."""
        program = self._workshop.program(wasm, f'name = "{name}"\n{manifest}')
        self.apps.switch(
            make_live(program, version, instances=self._instances, scratch=self._folder)
        )

    def add(self, name: str, **settings: object) -> None:
        """Add a camera that is pushed to."""
        self.cameras.add(CameraConfig(name=name, url="push:", **settings))

    def push(self, camera: str, times: int = 1) -> int:
        """Give a camera frames. Returns: the last one's number."""
        pushed = [self.cameras.get(camera).push(PIXELS) for _ in range(times)]
        return pushed[-1]

    def pairs(self) -> list[tuple[str, str]]:
        """Say who feeds whom, after every change so far."""
        assert self.router.settle(WAIT_S)
        return [(status.camera, status.feed.app) for status in self.router.statuses()]

    def finish(self) -> list[PairStatus]:
        """Stop the router and tell what the pairs counted."""
        assert self.router.settle(WAIT_S)
        pairs = self.router._of(None)
        self.router.stop()
        return [pair.status() for pair in pairs]
