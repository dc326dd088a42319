"""All pairs: they begin and end as cameras and apps come, change and go."""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Protocol

from appliance.apps import AppTable
from appliance.cameras.feeds import Feed
from appliance.cameras.states import Camera
from appliance.cameras.urls import Kind
from appliance.errors import ApplianceError
from appliance.manifests import AppManifest
from appliance.pipeline import Pipeline
from appliance.routing.pairs import Pair, PairStatus, Seen

log = logging.getLogger(__name__)

# Apps that may hold a frame of a camera each: it has four places, of which one is the newest's and
# one is written to. Copying 1280x720 costs about 0.5 ms.
_MAX_ON_LOAN = 2

_Key = tuple[str, str]


class Cameras(Protocol):
    """What the router needs of the table of cameras."""

    def names(self) -> list[str]: ...
    def get(self, name: str) -> Camera: ...
    def listen(self, listener: Callable[[str, Camera | None], None]) -> None: ...


def feeds_of(camera: Camera, manifests: Iterable[AppManifest]) -> list[Feed]:
    """Tell which live apps a camera feeds; the rule is in the package's docstring."""
    config = camera.config
    if not config.is_enabled:
        return []
    if config.apps is not None:
        live = {manifest.name for manifest in manifests}
        return [feed for feed in config.apps if feed.app in live]
    is_pushed = config.source.kind is Kind.PUSH
    return [
        Feed(app=manifest.name)
        for manifest in manifests
        if manifest.cameras is None
        or config.name in manifest.cameras
        or (is_pushed and not manifest.cameras)
    ]


class Router:
    """Keeps the pairs that are wanted running; `start` and `stop` it."""

    def __init__(self, cameras: Cameras, apps: AppTable, pipeline: Pipeline) -> None:
        self._cameras = cameras
        self._apps = apps
        self._pipeline = pipeline
        self._lock = threading.Lock()
        self._pairs: dict[_Key, Pair] = {}
        self._ending: list[Pair] = []
        self._changed = threading.Condition()
        # Changes told, and how many of them the pairs there are answer to.
        self._told = self._answered = 0
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="router", daemon=True)

    def start(self) -> None:
        """Begin the pairs there are, and follow what comes."""
        self._cameras.listen(lambda *_: self._note())
        self._apps.listen(self._note)
        self._note()
        self._thread.start()

    def stop(self) -> None:
        """End all pairs; returns when the frames under way are done."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        self._thread.join()
        with self._lock:
            pairs, self._pairs = [*self._pairs.values(), *self._ending], {}
            self._ending = []
        for pair in pairs:
            pair.end()
        for pair in pairs:
            pair.join()

    def settle(self, timeout_s: float) -> bool:
        """Wait until the pairs answer to every change so far. Returns: whether they do."""
        with self._changed:
            told = self._told
            return self._changed.wait_for(
                lambda: self._answered >= told or self._is_stopping, timeout_s
            )

    def statuses(self, camera: str | None = None) -> tuple[PairStatus, ...]:
        """Take a snapshot of every pair, or of one camera's; by camera and app."""
        return tuple(pair.status() for pair in self._of(camera))

    def seen(self, camera: str) -> tuple[Seen, ...]:
        """What the apps said last about a camera's frames, by app."""
        said = (pair.seen() for pair in self._of(camera))
        return tuple(seen for seen in said if seen is not None)

    def _of(self, camera: str | None) -> list[Pair]:
        with self._lock:
            return [pair for key, pair in sorted(self._pairs.items()) if camera in (None, key[0])]

    def _note(self) -> None:
        with self._changed:
            self._told += 1
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._told > self._answered or self._is_stopping)
                told = self._told
            if self._is_stopping:
                return
            try:
                self._adapt()
            except Exception:
                # Our bug; the pairs there are go on, and the next change is another chance.
                log.exception("routes not adapted")
            with self._changed:
                self._answered = told
                self._changed.notify_all()

    def _adapt(self) -> None:
        """Begin and end what is to be."""
        wanted = self._wanted()
        with self._lock:
            gone = {
                key: pair for key, pair in self._pairs.items()
                if key not in wanted or wanted[key] != (pair.camera, pair.feed)
            }  # fmt: skip
            for key, pair in gone.items():
                del self._pairs[key]
                pair.end()
            self._ending = [pair for pair in [*self._ending, *gone.values()] if not pair.is_over]
            begun = []
            for key, (camera, feed) in wanted.items():
                if key not in self._pairs:
                    self._pairs[key] = pair = Pair(camera, feed, self._pipeline)
                    begun.append(pair)
            crowds = Counter(camera for camera, _ in self._pairs)
            for (camera_name, _), pair in self._pairs.items():
                pair.is_crowded = crowds[camera_name] > _MAX_ON_LOAN
        for (camera_name, app), pair in gone.items():
            log.info("route ended camera=%s app=%s", camera_name, app)
            if (camera_name, app) not in wanted:
                self._forget_source(pair.feed.app, camera_name)
        for pair in begun:
            pair.start()
            log.info("route begun camera=%s app=%s", pair.camera.config.name, pair.feed.app)

    def _wanted(self) -> dict[_Key, tuple[Camera, Feed]]:
        manifests = self._apps.manifests()
        wanted: dict[_Key, tuple[Camera, Feed]] = {}
        for name in self._cameras.names():
            try:
                camera = self._cameras.get(name)
            except ApplianceError:
                continue  # removed this moment, which is a change of its own
            for feed in feeds_of(camera, manifests):
                wanted[name, feed.app] = (camera, feed)
        return wanted

    def _forget_source(self, app: str, camera: str) -> None:
        try:
            with self._apps.using(app) as live:
                live.runner.forget(camera)
        except ApplianceError:
            pass  # the app has gone, and its instances with it
