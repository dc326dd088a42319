"""The socket's manners: one error shape, a page of everything, and many clients at once."""

import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from appliance.shipped import classifier_folder
from tests.appliance import watguests as guests
from tests.appliance.service import Service


@pytest.fixture(scope="module", autouse=True)
def _apps(service: Service) -> None:
    folder = classifier_folder()
    wasm = (folder / "classifier.wasm").read_bytes()
    manifest = (folder / "app.toml").read_bytes()
    assert service.deploy("classifier", wasm, manifest).status_code == 200
    assert service.deploy("steady", guests.STEADY).status_code == 200


@pytest.mark.parametrize(
    ("name", "indices"),
    [
        pytest.param("chelsea.jpg", {281, 282, 285}, id="a cat"),
        pytest.param("coffee.jpg", {967, 968}, id="espresso or cup"),
    ],
)
def test_the_built_in_classifier_knows_the_samples(
    service: Service, read_sample: Callable[[str], bytes], name: str, indices: set[int]
) -> None:
    """The right class comes first, with five scores that fall and a label for each."""
    answer = service.show("classifier", read_sample(name)).json()

    (prediction,) = answer["predictions"]
    assert prediction["data"]["index"] in indices
    assert prediction["label"] == prediction["data"]["top"][0]["label"]
    scores = [entry["score"] for entry in prediction["data"]["top"]]
    assert scores == sorted(scores, reverse=True)
    assert 5 == len(scores)
    assert 0 < sum(scores) <= 1
    assert (True, "classifier") == (answer["is_stored"], answer["app"])
    timing = answer["timing_ms"]
    assert timing["total"] >= timing["guest"] >= timing["compute"] + timing["queue"]
    assert timing["guest"] > 0


def test_eight_clients_at_once_are_all_answered_right(
    service: Service, read_sample: Callable[[str], bytes]
) -> None:
    """Answers are never mixed up between frames that are under way together."""
    pictures = [read_sample("chelsea.jpg"), read_sample("coffee.jpg")] * 8

    def index_of(picture: bytes) -> int:
        response = service.show("classifier", picture)
        return int(response.json()["predictions"][0]["data"]["index"])

    with ThreadPoolExecutor(8) as threads:
        indices = list(threads.map(index_of, pictures))

    assert {indices[0]} == set(indices[0::2]) <= {281, 282, 285}
    assert {indices[1]} == set(indices[1::2]) <= {967, 968}


def test_the_box_says_that_it_is_well(service: Service) -> None:
    """Status, version, uptime and the number of apps."""
    health = service.http.get("/healthz").json()

    assert ("ok", 2) == (health["status"], health["apps"])
    assert health["uptime_s"] >= 0
    assert health["version"]


def test_openapi_lists_every_route_and_the_error_shape(service: Service) -> None:
    """The page is enough to write a client."""
    page = service.http.get("/openapi.json").json()

    assert {
        "/healthz": ["get"],
        "/v1/cameras": ["get", "post"],
        "/v1/cameras/discover": ["get"],
        "/v1/cameras/{name}": ["delete", "get", "patch", "put"],
        "/v1/cameras/{name}/disable": ["post"],
        "/v1/cameras/{name}/enable": ["post"],
        "/v1/cameras/{name}/frames": ["post"],
        "/v1/cameras/{name}/snapshot.jpg": ["get"],
        "/v1/cameras/{name}/stream.mjpg": ["get"],
        "/metrics": ["get"],
        "/readyz": ["get"],
        "/v1/apps": ["get"],
        "/v1/apps/{name}": ["delete", "get", "put"],
        "/v1/apps/{name}/disable": ["post"],
        "/v1/apps/{name}/enable": ["post"],
        "/v1/apps/{name}/frames": ["post"],
        "/v1/apps/{name}/log": ["get"],
        "/v1/apps/{name}/rollback": ["post"],
        "/v1/logs": ["get"],
        "/v1/models": ["get"],
        "/v1/models/{name}": ["get"],
        "/v1/models/{name}/plan": ["get"],
        "/v1/models/{name}/sample": ["post"],
        "/v1/models/{name}/{version}": ["delete", "put"],
        "/v1/models/{name}/{version}/release": ["post"],
        "/v1/predictions": ["get"],
        "/v1/predictions/stream": ["get"],
        "/v1/predictions/summary": ["get"],
    } == {
        path: sorted(methods)
        for path, methods in page["paths"].items()
        if not path.startswith("/v2")
    }
    assert {"/v2", "/v2/models/{model}/infer", "/v2/repository/index"} <= set(page["paths"])
    for methods in page["paths"].values():
        for operation in methods.values():
            for status in ("4XX", "5XX"):
                schema = operation["responses"][status]["content"]["application/json"]["schema"]
                assert {"$ref": "#/components/schemas/Error"} == schema
    assert {"error", "code", "reason"} == set(page["components"]["schemas"]["Error"]["properties"])


@pytest.mark.parametrize(
    ("method", "path"), [("put", "/v1/apps/{name}"), ("post", "/v1/apps/{name}/frames")]
)
def test_openapi_says_that_bodies_are_bytes(service: Service, method: str, path: str) -> None:
    """A generated client must know that there is a body to send."""
    operation = service.http.get("/openapi.json").json()["paths"][path][method]

    assert operation["requestBody"]["required"] is True
    assert set(operation["requestBody"]["content"]) >= {"application/octet-stream"}


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "words"),
    [
        pytest.param("GET", "/v1/nothing", 404, "not_found", ["/openapi.json"], id="no path"),
        pytest.param("GET", "/docs", 404, "not_found", [], id="pages that load from outside"),
        pytest.param("DELETE", "/v1/apps", 405, "bad_request", ["method"], id="method"),
        pytest.param(
            "POST", "/v1/apps/nobody/frames", 404, "not_found",
            ["app nobody", "classifier, steady"], id="unknown app",
        ),
        pytest.param("PUT", "/v1/apps/No_Good", 400, "bad_request", ["lower-case"], id="name"),
        pytest.param("PUT", "/v1/apps/..%2f..%2fetc", 404, "not_found", [], id="path in a name"),
        pytest.param(
            "GET", "/v1/predictions?limit=0", 400, "bad_request", ["query.limit"], id="limit 0"
        ),
        pytest.param(
            "GET", "/v1/predictions?limit=many", 400, "bad_request", ["query.limit"], id="words"
        ),
        pytest.param(
            "GET", "/v1/predictions?since=nan", 400, "bad_request", ["query.since"], id="NaN"
        ),
        pytest.param(
            "GET", "/v1/predictions?before=-1", 400, "bad_request", ["query.before"], id="before"
        ),
    ],
)  # fmt: skip
def test_every_refusal_has_the_one_shape(
    service: Service, picture: bytes, method: str, path: str, status: int, code: str,
    words: list[str],
) -> None:  # fmt: skip
    """JSON with a sentence and a code, whatever was wrong."""
    response = service.http.request(method, path, content=picture if method != "GET" else None)

    assert (status, {"error", "code"}) == (response.status_code, set(response.json()))
    assert code == response.json()["code"]
    assert [word for word in words if word not in response.json()["error"]] == []


def test_a_manifest_that_names_another_app_is_refused(service: Service) -> None:
    """Path and manifest must agree; neither is silently preferred."""
    response = service.deploy("one", guests.STEADY, b'name = "two"')

    assert (400, "bad_manifest") == (response.status_code, response.json()["code"])
    assert "got two, wanted one" in response.json()["error"]


def test_a_broken_app_manifest_is_explained(service: Service) -> None:
    """The wrong key is named, with the nearest right one."""
    response = service.deploy("one", guests.STEADY, b"[limits]\nmemory_byte = 1\n")

    assert (400, "bad_manifest") == (response.status_code, response.json()["code"])
    assert "limits.memory_byte: unknown key, did you mean memory_bytes?" in response.text


def test_the_same_content_again_changes_nothing(service: Service) -> None:
    """Deploying is idempotent: same bytes, same version, not new."""
    first = service.deploy("again", guests.labelled("a")).json()
    second = service.deploy("again", guests.labelled("a")).json()

    assert (True, False) == (first["is_new"], second["is_new"])
    assert first["version"] == second["version"]


def test_what_is_no_http_is_answered_and_survived(service: Service) -> None:
    """A client that talks nonsense gets a 400 and nothing else happens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as raw:
        raw.connect(str(service.socket))
        raw.sendall(b"\x16\x03\x01 hello?\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 400")

    assert 200 == service.http.get("/healthz").status_code


def test_a_client_that_leaves_in_the_middle_is_forgotten(service: Service) -> None:
    """Half a body and a closed connection leave the box answering."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as raw:
        raw.connect(str(service.socket))
        raw.sendall(
            b"POST /v1/apps/steady/frames HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n\r\nx"
        )

    assert 200 == service.http.get("/healthz").status_code
    assert "traceback" not in service.log.read_text()


def test_the_socket_is_for_the_owner_and_the_group(service: Service) -> None:
    """Mode 0660 by default, and never open to more in between (bound under a closed umask)."""
    assert 0o660 == service.socket.stat().st_mode & 0o777


def test_answers_do_not_name_the_server(service: Service) -> None:
    """What serves is nobody's business."""
    response: httpx.Response = service.http.get("/healthz")

    assert "server" not in response.headers
