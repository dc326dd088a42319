"""Cameras to look at: snapshots and MJPEG, for viewers of every kind."""

import io
import itertools
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx
import numpy as np
import pytest
from PIL import Image

from appliance.splitting import Multipart
from appliance.viewing import MAX_VIEWERS
from tests.appliance import watguests as guests
from tests.appliance.api.test_cameras import jpeg, push
from tests.appliance.service import Service

MAX_BYTES = 1 << 24
TEST = "test:?size=320x240&fps=30"
# A few of its pictures fill every buffer on the way.
BIG = "test:?size=1280x720&fps=30"


@pytest.fixture(scope="module", autouse=True)
def _cameras(service: Service) -> None:
    assert service.deploy("steady", guests.STEADY).status_code == 200
    for name, url in (("film", TEST), ("big", BIG), ("door", "push:"), ("mute", "push:")):
        added = service.http.post("/v1/cameras", json={"name": name, "url": url})
        assert added.status_code == 201, added.text


def see(service: Service, path: str, **params: object) -> httpx.Response:
    return service.http.get(f"/v1/cameras/{path}", params=params)


def pictures(stream: httpx.Response) -> Iterator[bytes]:
    """Take a stream of pictures apart."""
    kind = stream.headers["content-type"]
    assert kind == "multipart/x-mixed-replace; boundary=frame"
    splitter = Multipart(b"frame", MAX_BYTES)
    for chunk in stream.iter_bytes():
        yield from splitter.feed(chunk)


def watch(service: Service, path: str, count: int, **params: object) -> list[bytes]:
    """Look at so many pictures."""
    with service.http.stream("GET", f"/v1/cameras/{path}", params=params) as stream:
        shown = pictures(stream)
        return [next(shown) for _ in range(count)]


def size_of(picture: bytes) -> tuple[int, int]:
    return Image.open(io.BytesIO(picture)).size


def banner(picture: bytes) -> float:
    """Tell how dark the bottom is against the top of a plain picture."""
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("L")).astype(float)
    return float(pixels[-12:].mean() / pixels[:12].mean())


def test_a_snapshot_has_the_labels_drawn_in(service: Service) -> None:
    """On a dark banner; without one if asked."""
    number = push(service, "door", jpeg(640, 480)).json()["last_sequence"]
    labelled, raw = (see(service, "door/snapshot.jpg", labels=n) for n in (1, 0))

    assert ["image/jpeg"] * 2 == [one.headers["content-type"] for one in (labelled, raw)]
    assert [str(number)] * 2 == [one.headers["x-frame-sequence"] for one in (labelled, raw)]
    assert "no-store" == labelled.headers["cache-control"]
    assert banner(labelled.content) < 0.6
    assert 0.95 < banner(raw.content) < 1.05


@pytest.mark.parametrize(("width", "size"), [(160, (160, 120)), (3840, (640, 480))])
def test_a_snapshot_is_as_wide_as_asked(
    service: Service, width: int, size: tuple[int, int]
) -> None:
    """Never wider than the frame."""
    push(service, "door", jpeg(640, 480))

    assert size == size_of(see(service, "door/snapshot.jpg", width=width).content)


@pytest.mark.parametrize(
    ("path", "params", "status"),
    [
        pytest.param("nobody/snapshot.jpg", {}, 404, id="unknown camera"),
        pytest.param("mute/snapshot.jpg", {}, 503, id="no frame yet"),
        pytest.param("film/snapshot.jpg", {"width": 1}, 400, id="too small"),
        pytest.param("film/snapshot.jpg", {"width": 99999}, 400, id="too large"),
        pytest.param("film/snapshot.jpg", {"labels": "some"}, 400, id="labels"),
        pytest.param("nobody/stream.mjpg", {}, 404, id="stream of an unknown camera"),
        pytest.param("film/stream.mjpg", {"fps": 0}, 400, id="no rate"),
        pytest.param("film/stream.mjpg", {"fps": 99}, 400, id="too fast"),
    ],
)
def test_what_cannot_be_shown_is_refused(
    service: Service, path: str, params: dict[str, object], status: int
) -> None:
    """With a sentence."""
    answer = see(service, path, **params)

    assert (status, True) == (answer.status_code, "error" in answer.json()), answer.text


def test_a_stream_shows_picture_after_picture(service: Service) -> None:
    """Each a JPEG of its own, of the size asked for."""
    shown = watch(service, "film/stream.mjpg", 4, width=160)

    assert [(160, 120)] * 4 == [size_of(picture) for picture in shown]
    assert 4 == len(set(shown))


def test_a_stream_may_be_asked_about(service: Service) -> None:
    """HEAD is answered with the head, and ends."""
    answer = service.http.head("/v1/cameras/film/stream.mjpg")

    assert (200, b"") == (answer.status_code, answer.content)
    assert "Traceback" not in service.log.read_text()


def test_a_stream_goes_on_when_its_camera_is_changed(service: Service) -> None:
    """Who looks sees the camera as it now is, and the end when it is removed."""
    service.http.post("/v1/cameras", json={"name": "gone", "url": "push:"})
    push(service, "gone", jpeg(64, 48))
    with service.http.stream("GET", "/v1/cameras/gone/stream.mjpg") as stream:
        shown = pictures(stream)
        first = next(shown)
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(service.socket))) as other:
            other.patch("http://b/v1/cameras/gone", json={"fps": 20})
            other.post("http://b/v1/cameras/gone/frames", content=jpeg(80, 60))
            second = next(shown)
            other.delete("http://b/v1/cameras/gone")
        rest = list(shown)

    assert ((64, 48), (80, 60), []) == (size_of(first), size_of(second), rest)


def test_viewers_are_bounded(service: Service) -> None:
    """One too many is told so; a seat that is left is free again."""
    limits = httpx.Limits(max_connections=None)
    transport = httpx.HTTPTransport(uds=str(service.socket), limits=limits)
    with httpx.Client(transport=transport, base_url="http://b") as http, ExitStack() as seats:
        for _ in range(MAX_VIEWERS):
            seats.enter_context(http.stream("GET", "/v1/cameras/mute/stream.mjpg"))
        refused = http.get("/v1/cameras/film/stream.mjpg")

    assert (503, "unavailable") == (refused.status_code, refused.json()["code"])
    assert f"{MAX_VIEWERS} already" in refused.json()["error"]
    wait_for_seats(service)


def wait_for_seats(service: Service) -> None:
    """Return when all have left: that is noticed a moment later."""
    while "edge_camera_viewers 0.0" not in service.http.get("/metrics").text:
        pass


def test_a_slow_viewer_gets_the_newest_and_holds_up_nobody(service: Service) -> None:
    """What it did not read in time is skipped, not kept for it."""
    with deaf_viewer(service, "big") as slow:
        others = [watch(service, "big/stream.mjpg", 8, fps=15) for _ in range(3)]
        now = int(see(service, "big/snapshot.jpg").headers["x-frame-sequence"])
        late = sequences(slow, beyond=now)

    assert [8] * 3 == [len(set(shown)) for shown in others]
    assert max(b - a for a, b in itertools.pairwise(late)) > 10


@contextmanager
def deaf_viewer(service: Service, camera: str) -> Iterator[socket.socket]:
    """Ask for a stream and do not read it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as deaf:
        deaf.connect(str(service.socket))
        request = f"GET /v1/cameras/{camera}/stream.mjpg?fps=15 HTTP/1.1\r\nHost: b\r\n\r\n"
        deaf.sendall(request.encode())
        assert deaf.recv(64).startswith(b"HTTP/1.1 200")
        yield deaf


def sequences(stream: socket.socket, beyond: int) -> list[int]:
    """Read the numbers of the pictures that come, until one is beyond a number."""
    found: list[int] = []
    with stream.makefile("rb") as lines:
        while not found or found[-1] <= beyond:
            line = lines.readline()
            if line.startswith(b"X-Frame-Sequence: "):
                found.append(int(line.split()[1]))
    return found


def test_the_stop_ends_all_streams(service: Service) -> None:
    """Those that are read and those that are not; the box does not wait for them."""
    looking, ended = threading.Event(), threading.Event()

    def look() -> None:
        with service.http.stream("GET", "/v1/cameras/film/stream.mjpg") as stream:
            for _ in pictures(stream):
                looking.set()
            ended.set()

    viewer = threading.Thread(target=look)
    with deaf_viewer(service, "big"):
        watch(service, "big/stream.mjpg", 16, fps=15)
        viewer.start()
        assert looking.wait(30)
        status = service.end(signal.SIGTERM)
        viewer.join(30)

    assert (0, True) == (status, ended.is_set())
    assert "cut off" not in service.log.read_text()
    assert "Traceback" not in service.log.read_text()
    service.start()
