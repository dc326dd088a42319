"""All cameras of the box, kept on disk.

    <state>/cameras.json     {"version": 1, "cameras": [{"name": ..., "url": ..., ...}, ...]}

Guarantees:
1. A change is on disk before it takes effect, and the file is replaced whole; it is readable by the
   service alone, since URLs may hold passwords.
2. An entry that does not read is reported by `problems` and kept in the file as it is: one bad
   entry loses neither itself nor the others. A file that is no table is set aside, not lost.
3. Listeners are called without a lock held, after the change.
"""

import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from appliance.cameras.camera import Start, make_camera
from appliance.cameras.config import CameraConfig
from appliance.cameras.discover import stable_url
from appliance.cameras.states import Camera, CameraStatus
from appliance.cameras.urls import redact
from appliance.errors import ApplianceError, Conflict, NotFound
from appliance.files import make_dirs, read_bounded, set_aside, write_atomic
from appliance.tables import explain

log = logging.getLogger(__name__)

FILE = "cameras.json"
VERSION = 1
# Each is a process; a box decodes a few dozen streams at the very most.
MAX_CAMERAS = 64
_MAX_FILE_BYTES = 1 << 20

# Called with the name and the camera, None when it is gone. A changed camera is another object.
Listener = Callable[[str, Camera | None], None]
Make = Callable[[CameraConfig, Start], Camera]


class CameraTable:
    """The cameras by name.

    folder: the state folder.   make: builds a camera that is not started.
    """

    def __init__(self, folder: Path, make: Make = make_camera) -> None:
        self._path = folder / FILE
        self._make = make
        self._cameras: dict[str, Camera] = {}
        # Entries that do not read, as they stand in the file.
        self._unread: list[Any] = []
        self._problems: dict[str, str] = {}
        self._listeners: list[Listener] = []
        self._is_started = False
        self._lock = threading.Lock()
        # One change at a time; held while the file is written, never while `_lock` is.
        self._changing = threading.Lock()

    def start(self) -> None:
        """Read the file and start what is in it; a listener hears of each camera."""
        with self._changing:
            self._load()
            self._is_started = True
            cameras = self._snapshot()
            for camera in cameras.values():
                camera.start()
        for name, camera in cameras.items():
            self._tell(name, camera)

    def stop(self) -> None:
        """Stop all of them at once, then wait for each."""
        with self._changing:
            self._is_started = False
            ends = [
                threading.Thread(target=camera.stop, name=f"camera-stop-{name}")
                for name, camera in self._snapshot().items()
            ]
            for end in ends:
                end.start()
            for end in ends:
                end.join()

    def listen(self, listener: Listener) -> None:
        """Be told of cameras added, changed and removed from now on."""
        self._listeners.append(listener)

    def names(self) -> list[str]:
        return sorted(self._snapshot())

    def get(self, name: str) -> Camera:
        """Find a camera. Raises: NotFound."""
        camera = self._snapshot().get(name)
        if camera is None:
            known = ", ".join(self.names()) or "none"
            raise NotFound(f"camera {name}: no such camera; there are: {known}")
        return camera

    def statuses(self) -> list[CameraStatus]:
        """Tell how each is, by name."""
        return [camera.status() for _, camera in sorted(self._snapshot().items())]

    def problems(self) -> dict[str, str]:
        """Say what is wrong with the entries that were not read, by name or place."""
        return dict(self._problems)

    def add(self, config: CameraConfig) -> Camera:
        """Keep and start a camera; /dev/videoN becomes the device's name that stays.

        Raises: Conflict if the name is taken or the table is full.
        """
        name, config = config.name, _stable(config)
        with self._change() as cameras:
            if name in cameras:
                raise Conflict(f"camera {name}: exists already; remove it or choose another name")
            if len(cameras) >= MAX_CAMERAS:
                raise Conflict(f"camera {name}: the box has {MAX_CAMERAS} already; remove one")
            camera = self._replace(cameras, config, Start())
        log.info("camera added camera=%s url=%s", name, config.shown_url)
        self._tell(name, camera)
        return camera

    def change(self, config: CameraConfig) -> Camera:
        """Let a camera go on with another configuration; its numbers go on, too.

        What it feeds is nothing to its source, which is not opened again for that.
        Raises: NotFound.
        """
        name, config = config.name, _stable(config)
        with self._change():
            old = self.get(name)
            if old.config == config:
                return old
            if old.config.model_copy(update={"apps": config.apps}) == config:
                configs = {key: one.config for key, one in self._snapshot().items()}
                self._write(configs | {name: config}, without=name)
                camera, old.config = old, config
            else:
                # Stopped first: a device can be opened once only.
                old.stop()
                camera = self._replace(self._snapshot(), config, Start(old.next_sequence))
        log.info("camera changed camera=%s url=%s", name, config.shown_url)
        self._tell(name, camera)
        return camera

    def remove(self, name: str) -> None:
        """Stop and forget a camera, or an entry that did not read. Raises: NotFound."""
        with self._change() as cameras:
            camera = cameras.get(name)
            if camera is None and name not in self._problems:
                self.get(name)  # says which there are
            self._write({k: c.config for k, c in cameras.items() if k != name}, without=name)
            cameras.pop(name, None)
            with self._lock:
                self._cameras = cameras
            if camera is not None:
                camera.stop()
        log.info("camera removed camera=%s", name)
        self._tell(name, None)

    @contextmanager
    def _change(self) -> Iterator[dict[str, Camera]]:
        with self._changing:
            yield self._snapshot()

    def _replace(self, cameras: dict[str, Camera], config: CameraConfig, at: Start) -> Camera:
        """Write, then switch, then start; if the disk refuses, the old camera goes on."""
        old = cameras.get(config.name)
        try:
            configs = {k: c.config for k, c in cameras.items()}
            self._write(configs | {config.name: config}, without=config.name)
        except ApplianceError:
            if old is not None and self._is_started:
                old.start()
            raise
        camera = self._make(config, at)
        with self._lock:
            self._cameras = cameras | {config.name: camera}
        if self._is_started:
            camera.start()
        return camera

    def _snapshot(self) -> dict[str, Camera]:
        with self._lock:
            return dict(self._cameras)

    def _tell(self, name: str, camera: Camera | None) -> None:
        for listener in list(self._listeners):
            listener(name, camera)

    def _write(self, configs: dict[str, CameraConfig], *, without: str) -> None:
        """Write all; an unread entry of the changed camera's name has been dealt with."""
        self._unread = [entry for entry in self._unread if _name_in(entry) != without]
        self._problems.pop(without, None)
        entries = [c.model_dump(mode="json", exclude_defaults=True) for c in configs.values()]
        text = json.dumps({"version": VERSION, "cameras": entries + self._unread}, indent=1)
        make_dirs(self._path.parent)
        write_atomic(self._path, text.encode() + b"\n", mode=0o600)

    def _load(self) -> None:
        cameras: dict[str, Camera] = {}
        self._unread, self._problems = [], {}
        for place, entry in enumerate(self._entries()):
            label = _name_in(entry) or f"entry {place}"
            try:
                config = CameraConfig.model_validate(entry)
                if config.name in cameras:
                    raise Conflict("the name is taken by an earlier entry")
            except (ValidationError, ApplianceError) as exc:
                reason = redact(_reason(exc))
                log.error("camera not read camera=%s reason=%s", label, reason)
                self._unread.append(entry)
                self._problems[label] = reason
                continue
            cameras[config.name] = self._make(config, Start())
        with self._lock:
            self._cameras = cameras

    def _entries(self) -> list[Any]:
        try:
            table = json.loads(read_bounded(self._path, max_bytes=_MAX_FILE_BYTES))
            entries = table["cameras"]
            if table["version"] != VERSION or not isinstance(entries, list):
                raise ValueError(f"wanted version {VERSION} and a list of cameras")
        except NotFound:
            return []
        except (ValueError, KeyError, TypeError, RecursionError, ApplianceError) as exc:
            aside = set_aside(self._path)
            kept = "" if aside is None else f" and is now {aside.name}"
            log.error("cameras.json is no table reason=%s", exc)
            self._problems[FILE] = f"it was no table{kept}; add the cameras anew"
            return []
        return entries


def _stable(config: CameraConfig) -> CameraConfig:
    return config.model_copy(update={"url": stable_url(config.url)})


def _name_in(entry: Any) -> str:
    """Find the name in an entry that may be anything; "" if there is none to show."""
    name = entry.get("name") if isinstance(entry, dict) else None
    return name if isinstance(name, str) and name.isprintable() and len(name) < 64 else ""


def _reason(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    is_table = error.errors(include_url=False)[0]["type"] != "model_type"
    return explain(error, CameraConfig) if is_table else "wanted a table with name and url"
