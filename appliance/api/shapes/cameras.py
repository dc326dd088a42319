"""Cameras, what became of their frames, and what a client pushed."""

from pydantic import Field

from appliance.api.shapes.shape import Shape


class Region(Shape):
    """A part of the picture in shares of its width and height: left, top, width, height."""

    x: float
    y: float
    width: float
    height: float


class Feed(Shape):
    """An app that a camera feeds, at most fps frames a second, of a region."""

    app: str
    fps: float | None = None
    region_xywh: Region | None = None


class MotionGate(Shape):
    """Frames in which nothing moved are dropped."""

    threshold: int
    min_area: float
    keep_every_s: float


class CameraSettings(Shape):
    """A camera as the operator wants it; all but url may be left out.

    url is shown without user, password and tokens. apps: null feeds those whose manifests want it.
    """

    url: str = Field(description="rtsp://, http://, /dev/video0, a file, a folder, test:, push:")
    fps: float | None = None
    size_wh: tuple[int, int] | None = None
    loop: bool = False
    realtime: bool = True
    stall_s: float = 20.0
    frozen_s: float | None = 60.0
    motion: MotionGate | None = None
    apps: tuple[Feed, ...] | None = None
    is_enabled: bool = True


class NewCamera(CameraSettings):
    """A camera to add."""

    name: str


class Camera(Shape):
    """One camera at one moment; times are Unix seconds.

    frames: captured, whatever became of them.   dropped: by reason.   age_s: of its last frame.
    apps: those it feeds now.
    """

    name: str
    url: str
    kind: str
    state: str = Field(description="connecting, live, stalled, frozen, failed, ended, disabled")
    reason: str
    since: float
    width: int
    height: int
    fps: float
    frames: int
    dropped: dict[str, int]
    reconnects: int
    restarts: int
    last_frame_at: float | None
    age_s: float | None
    decoder: str | None
    is_enabled: bool
    apps: tuple[str, ...]


class Route(Shape):
    """What became of a camera's frames at one app, since it feeds it.

    inferred: answered.   limited: over the feed's rate.   skipped: passed while an older one was
    under way.   refused: the box was too busy.   failed: by reason.
    p50_ms, p99_ms: from capture to stored prediction, estimated; null if there was none.
    """

    app: str
    fps: float | None
    region_xywh: Region | None
    inferred: int
    limited: int
    skipped: int
    refused: int
    failed: dict[str, int]
    last_error: str
    p50_ms: float | None
    p99_ms: float | None


class CameraDetail(Camera):
    """All about one camera; log: its decoder's last lines."""

    settings: CameraSettings
    routes: tuple[Route, ...]
    log: tuple[str, ...]


class Cameras(Shape):
    """All cameras, by name; problems: of entries on disk that could not be read."""

    cameras: tuple[Camera, ...]
    problems: dict[str, str]


class Pushed(Shape):
    """What became of the frames of an upload. dropped: by reason; last_error: of the last one."""

    taken: int
    dropped: dict[str, int]
    last_error: str = ""
    last_sequence: int | None = None


class PixelFormat(Shape):
    """One way in which a device gives pictures.

    code: four letters of V4L2.   input_format: FFmpeg's name, null if it has none.
    """

    code: str
    name: str
    input_format: str | None
    sizes_wh: tuple[tuple[int, int], ...]


class Device(Shape):
    """A capture device of this machine.

    url: for a camera, by a name that stays if there is one.   problem: why it could not be asked.
    """

    url: str
    node: str
    name: str
    driver: str
    bus: str
    formats: tuple[PixelFormat, ...]
    problem: str


class Devices(Shape):
    """What could be added as a camera."""

    devices: tuple[Device, ...]
