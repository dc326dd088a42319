"""Cameras over the socket: settings, pushed frames, and hostile input."""

import io
import json
import socket
from collections.abc import Callable, Iterator

import httpx
import pytest
from PIL import Image

from tests.appliance import watguests as guests
from tests.appliance.service import Service


def jpeg(width: int = 32, height: int = 24) -> bytes:
    packed = io.BytesIO()
    Image.new("RGB", (width, height), (200, 30, 30)).save(packed, "JPEG")
    return packed.getvalue()


PICTURE = jpeg()
Add = Callable[..., httpx.Response]


@pytest.fixture(scope="module", autouse=True)
def _app(service: Service) -> None:
    assert service.deploy("steady", guests.STEADY).status_code == 200


@pytest.fixture
def add(service: Service) -> Iterator[Add]:
    """Add cameras that are removed again."""
    names = []

    def post(name: str, url: str = "push:", **settings: object) -> httpx.Response:
        names.append(name)
        return service.http.post("/v1/cameras", json={"name": name, "url": url, **settings})

    yield post
    for name in names:
        service.http.delete(f"/v1/cameras/{name}")


def push(service: Service, name: str, body: bytes, kind: str = "image/jpeg") -> httpx.Response:
    return service.http.post(
        f"/v1/cameras/{name}/frames", content=body, headers={"Content-Type": kind}
    )


def test_the_life_of_a_camera(service: Service, add: Add) -> None:
    """Added, shown, listed, changed, disabled, enabled, removed."""
    http = service.http
    added = add("door", fps=5, apps=["steady", {"app": "later", "fps": 1}])
    assert (201, "push:", ["steady"]) == (
        added.status_code, added.json()["url"], added.json()["apps"]
    )  # fmt: skip
    assert ["door"] == [camera["name"] for camera in http.get("/v1/cameras").json()["cameras"]]
    changed = http.patch("/v1/cameras/door", json={"fps": 3}).json()
    assert (3.0, 2) == (changed["settings"]["fps"], len(changed["settings"]["apps"]))
    disabled = http.post("/v1/cameras/door/disable").json()
    assert ("disabled", False, []) == (
        disabled["state"], disabled["is_enabled"], disabled["apps"]
    )  # fmt: skip
    assert 409 == push(service, "door", PICTURE).status_code
    assert "connecting" == http.post("/v1/cameras/door/enable").json()["state"]
    put = http.put("/v1/cameras/door", json={"url": "push:"}).json()
    assert (None, None) == (put["settings"]["fps"], put["settings"]["apps"])
    assert 204 == http.delete("/v1/cameras/door").status_code
    assert 404 == http.get("/v1/cameras/door").status_code
    assert [] == http.get("/v1/cameras").json()["cameras"]


def test_putting_adds_what_is_not_there(service: Service, add: Add) -> None:
    """For programs that say how it should be."""
    add("door")
    service.http.delete("/v1/cameras/door")

    assert 200 == service.http.put("/v1/cameras/door", json={"url": "push:"}).status_code


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param({"name": "x"}, "url: missing", id="no url"),
        pytest.param({"name": "x", "url": "gopher://h/"}, "url", id="scheme"),
        pytest.param({"name": "X y", "url": "push:"}, "a name of", id="name"),
        pytest.param({"name": "discover", "url": "push:"}, "choose another", id="reserved"),
        pytest.param({"name": "x", "url": "push:", "fsp": 3}, "did you mean fps", id="key"),
        pytest.param({"name": "x", "url": "push:", "fps": -1}, "greater than 0", id="rate"),
        pytest.param({"name": "x", "url": "push:", "apps": ["A b"]}, "a name of", id="app"),
        pytest.param({"name": "x", "url": "push:", "apps": {}}, "tuple", id="no list"),
        pytest.param([], "wanted an object", id="a list"),
    ],
)
def test_wrong_settings_are_explained(service: Service, body: object, words: str) -> None:
    """By key, got and wanted; nothing is added."""
    answer = service.http.post("/v1/cameras", json=body)

    assert (400, "bad_request") == (answer.status_code, answer.json()["code"])
    assert words in answer.json()["error"]
    assert [] == service.http.get("/v1/cameras").json()["cameras"]


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 400), (b"{", 400), (b"[" * 50_000, 400), (b'{"url": "' + b"x" * 70_000, 413)],
    ids=["empty", "cut", "deep", "large"],
)  # fmt: skip
def test_a_body_that_is_no_json_is_refused(service: Service, body: bytes, status: int) -> None:
    """Whatever it is."""
    assert status == service.http.post("/v1/cameras", content=body).status_code


def test_a_name_is_taken_once(add: Add) -> None:
    """Adding is not changing."""
    add("door")
    again = add("door")

    assert (409, "conflict") == (again.status_code, again.json()["code"])


def test_credentials_are_never_shown(service: Service, add: Add) -> None:
    """Neither by the API nor in metrics and the log."""
    secret = "Pa55word-of-mine"
    added = add("door", f"rtsp://admin:{secret}@127.0.0.1:1/live?token={secret}", is_enabled=False)
    shown = [
        added.text,
        *(service.http.get(path).text for path in ("/v1/cameras", "/v1/cameras/door", "/metrics")),
        service.http.patch("/v1/cameras/door", json={"fps": 2}).text,
        service.http.patch("/v1/cameras/door", json={"fps": 0}).text,
        service.http.patch("/v1/cameras/door", json={"url": f"rtsp://a:{secret}@[::/"}).text,
        service.log.read_text(),
    ]

    assert 201 == added.status_code
    assert [] == [text for text in shown if secret in text]


def test_a_change_keeps_the_url_that_is_not_shown(service: Service, add: Add) -> None:
    """The masked URL never replaces the real one."""
    add("door", "rtsp://admin:secret@127.0.0.1:1/live", is_enabled=False)
    service.http.patch("/v1/cameras/door", json={"fps": 2})

    kept = json.loads((service.state / "cameras.json").read_text())["cameras"]
    assert ["rtsp://admin:secret@127.0.0.1:1/live"] == [camera["url"] for camera in kept]


def test_a_pushed_picture_becomes_a_prediction(service: Service, add: Add) -> None:
    """Of the camera's name, and is there to see."""
    add("door")
    pushed = push(service, "door", PICTURE)
    found: list[object] = []
    while not found:  # the next request is the wait
        page = service.http.get("/v1/predictions", params={"camera": "door"}).json()
        found = page["predictions"]
    route = service.http.get("/v1/cameras/door").json()["routes"][0]
    metrics = service.http.get("/metrics").text

    assert {"taken": 1, "dropped": {}, "last_error": "", "last_sequence": 0} == pushed.json()
    assert ("steady", 0) == (route["app"], route["skipped"])
    assert 'edge_camera_frames_total{camera="door",outcome="captured"} 1.0' in metrics
    assert 'edge_camera_state{camera="door",state="live"} 1.0' in metrics
    assert 'edge_frame_to_prediction_seconds_bucket{app="steady",camera="door"' in metrics


def test_many_pictures_in_one_request_are_counted(service: Service, add: Add) -> None:
    """Each of them, good or not, however they are packed."""
    add("door")
    parts = [PICTURE, b"no picture", PICTURE, b""]
    multipart = b"".join(
        b"--x\r\nContent-Type: image/jpeg\r\n\r\n" + part + b"\r\n" for part in parts
    )
    mixed = push(service, "door", multipart + b"--x--", "multipart/x-mixed-replace; boundary=x")
    form = service.http.post(
        "/v1/cameras/door/frames", files=[("f", ("a.jpg", PICTURE)), ("f", ("b.png", PICTURE))]
    )
    row = push(service, "door", PICTURE * 3, "application/octet-stream")

    assert (2, {"corrupt": 2}, 1) == (
        mixed.json()["taken"], mixed.json()["dropped"], mixed.json()["last_sequence"]
    )  # fmt: skip
    assert "picture: got nothing" in mixed.json()["last_error"]
    assert [(2, {}), (3, {})] == [(a.json()["taken"], a.json()["dropped"]) for a in (form, row)]


def test_frames_over_the_rate_are_dropped_and_said(service: Service, add: Add) -> None:
    """A client that pushes too fast is told how many were for nothing."""
    add("door", fps=0.01)
    answer = push(service, "door", PICTURE * 5, "video/x-motion-jpeg").json()

    assert (1, {"rate": 4}) == (answer["taken"], answer["dropped"])


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        pytest.param(b"", "image/jpeg", 400, "bad_request", id="nothing"),
        pytest.param(b"garbage", "image/jpeg", 400, "bad_picture", id="garbage"),
        pytest.param(PICTURE[:-200], "image/jpeg", 400, "bad_picture", id="cut short"),
        pytest.param(b"\xff\xd8\xff" * 99, "", 400, "bad_picture", id="beginnings"),
        pytest.param(b"", "multipart/form-data; boundary=x", 400, "bad_request", id="no part"),
        pytest.param(PICTURE, "multipart/form-data", 400, "bad_request", id="no boundary"),
        pytest.param(PICTURE, "multipart/form-data; boundary=x", 400, "bad_request", id="no form"),
        pytest.param(b"\0asm" * 9, "application/wasm", 400, "bad_picture", id="wasm"),
    ],
)
def test_what_is_no_picture_is_refused(
    service: Service, add: Add, body: bytes, kind: str, status: int, code: str
) -> None:
    """With a sentence; the camera goes on."""
    add("door")
    answer = push(service, "door", body, kind)

    assert (status, code) == (answer.status_code, answer.json()["code"]), answer.text
    assert 1 == push(service, "door", PICTURE).json()["taken"]


def test_an_8k_picture_is_refused_by_its_header(service: Service, add: Add) -> None:
    """33 million pixels are more than a camera may give; nothing is decoded."""
    add("door")
    answer = push(service, "door", jpeg(7680, 4320))

    assert (400, "bad_picture") == (answer.status_code, answer.json()["code"])
    assert "7680x4320" in answer.json()["error"]


def test_an_upload_without_end_keeps_memory_flat(service: Service, add: Add) -> None:
    """Pictures are taken while they come; a part that never ends is not kept."""
    add("door")
    head = (
        b"POST /v1/cameras/door/frames HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n"
        b"Connection: close\r\n"
        b"Content-Type: multipart/x-mixed-replace; boundary=x\r\n\r\n"
    )
    part = b"--x\r\n\r\n" + PICTURE + b"\r\n"
    before = resident_bytes(service)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as raw:
        raw.connect(str(service.socket))
        raw.sendall(head)
        for _ in range(200):
            raw.sendall(b"%x\r\n%s\r\n" % (len(part), part))
        endless = b"--x\r\n\r\n" + b"\xff" * (1 << 20)
        for _ in range(100):
            raw.sendall(b"%x\r\n%s\r\n" % (len(endless), endless))
            endless = endless[7:] + endless[:7]
        last = b"\r\n--x--"
        raw.sendall(b"%x\r\n%s\r\n0\r\n\r\n" % (len(last), last))
        answer = raw.makefile("rb").read().split(b"\r\n\r\n")[1]

    said = json.loads(answer)
    assert 200 == said["taken"]
    assert {"too_big"} == set(said["dropped"])
    assert resident_bytes(service) - before < 150 * 1024**2


def resident_bytes(service: Service) -> int:
    return int(service.http.get("/healthz").json()["memory_bytes"])


def test_a_client_that_leaves_is_forgotten(service: Service, add: Add) -> None:
    """Half an upload, and the camera takes the next one's."""
    add("door")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as raw:
        raw.connect(str(service.socket))
        raw.sendall(
            b"POST /v1/cameras/door/frames HTTP/1.1\r\nHost: b\r\nContent-Length: 9999\r\n\r\n"
            + PICTURE[:50]
        )

    assert 1 == push(service, "door", PICTURE).json()["taken"]
    assert "Traceback" not in service.log.read_text()


def test_only_push_cameras_take_frames(service: Service, add: Add) -> None:
    """And an unknown camera is not found."""
    add("film", "test:", is_enabled=False)

    refused, unknown = push(service, "film", PICTURE), push(service, "nobody", PICTURE)
    assert (400, 404) == (refused.status_code, unknown.status_code)
    assert "wanted a camera whose url is push:" in refused.json()["error"]


def test_devices_are_listed(service: Service) -> None:
    """Those of this machine, of which a test knows nothing."""
    answer = service.http.get("/v1/cameras/discover")

    assert (200, ["devices"]) == (answer.status_code, list(answer.json()))


def test_a_restart_brings_cameras_back(service: Service, add: Add) -> None:
    """As they were, with what they feed."""
    add("door", fps=7, apps=["steady"])
    service.end()
    service.start()

    again = service.http.get("/v1/cameras/door").json()
    assert (7.0, ["steady"]) == (again["settings"]["fps"], again["apps"])
