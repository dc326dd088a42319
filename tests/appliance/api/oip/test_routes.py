"""The protocol over HTTP without a client of its own: as curl and proxies meet it."""

import gzip
import json
import socket
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.appliance.service import Service

MODEL = "efficientnet-lite0"
INFER = f"/v2/models/{MODEL}/infer"
LENGTH = "Inference-Header-Content-Length"
ZEROS = bytes(3 * 224 * 224 * 4)
ONE = {
    "name": "image", "shape": [1, 3, 224, 224], "datatype": "FP32",
    "parameters": {"binary_data_size": len(ZEROS)},
}  # fmt: skip


def body(said: Any, *, header: int | None = None) -> dict[str, Any]:
    """Make a request of a JSON and, behind it, zeros."""
    text = json.dumps(said).encode()
    length = len(text) if header is None else header
    return {"content": text + ZEROS, "headers": {LENGTH: str(length)}}


def test_a_picture_is_all_that_curl_has_to_send(
    service: Service, read_sample: Callable[[str], bytes]
) -> None:
    """The header 0 and the bare file; the answer is binary and says where its JSON ends."""
    response = service.http.post(INFER, content=read_sample("coffee.jpg"), headers={LENGTH: "0"})

    length = int(response.headers[LENGTH])
    said = json.loads(response.content[:length])
    logits = np.frombuffer(response.content[length:], np.float32)
    assert (200, "application/octet-stream") == (
        response.status_code, response.headers["content-type"]
    )  # fmt: skip
    assert [1, 1000] == said["outputs"][0]["shape"]
    assert 967 == int(logits.argmax())


def test_the_answer_says_where_the_time_went(service: Service) -> None:
    """Server-Timing, in milliseconds, as browsers and proxies read it."""
    response = service.http.post(INFER, **body({"inputs": [ONE]}))

    parts = [part.split(";dur=") for part in response.headers["server-timing"].split(", ")]
    spent = {name: float(ms) for name, ms in parts}
    assert {"queue", "input", "compute", "guest", "total"} == set(spent)
    assert spent["total"] >= spent["compute"] > 0


def test_without_a_wish_for_binary_the_answer_is_json(service: Service) -> None:
    """No header, flat data, the id."""
    response = service.http.post(INFER, **body({"id": "ü", "inputs": [ONE]}))

    assert "application/json" == response.headers["content-type"]
    assert LENGTH not in response.headers
    said = response.json()
    assert ("ü", MODEL, "1") == (said["id"], said["model_name"], said["model_version"])
    assert 1000 == len(said["outputs"][0]["data"])


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        pytest.param("GET", "/v2/health/live", {"live": True}, id="live"),
        pytest.param("GET", "/v2/health/ready", {"ready": True}, id="ready"),
        pytest.param(
            "GET", f"/v2/models/{MODEL}/ready", {"name": MODEL, "ready": True}, id="model"
        ),
        pytest.param(
            "GET", f"/v2/models/{MODEL}/versions/1/ready", {"name": MODEL, "ready": True},
            id="version",
        ),
        pytest.param(
            "GET", "/v2/models/efficientnet%2Dlite0/ready", {"name": MODEL, "ready": True},
            id="quoted",
        ),
        pytest.param("GET", "/v2/systemsharedmemory/status", [], id="regions"),
    ],
)  # fmt: skip
def test_short_answers_have_kserves_bodies(
    service: Service, method: str, path: str, expected: object
) -> None:
    """Triton's clients look at the status only; probes may look at more."""
    response = service.http.request(method, path)

    assert (200, expected) == (response.status_code, response.json())


@pytest.mark.parametrize("suffix", ["", "/versions/1"], ids=["newest", "version"])
@pytest.mark.parametrize("what", ["", "/config", "/stats"])
def test_everything_is_said_of_a_version_too(service: Service, suffix: str, what: str) -> None:
    """The same document with and without it."""
    plain = service.http.get(f"/v2/models/{MODEL}{what}").json()

    assert plain == service.http.get(f"/v2/models/{MODEL}{suffix}{what}").json()


def test_the_index_may_be_asked_without_a_body(service: Service) -> None:
    """And with {"ready": true} for those that are."""
    everything = service.http.post("/v2/repository/index")
    only_ready = service.http.post("/v2/repository/index", json={"ready": True})

    entry = {"name": MODEL, "version": "1", "state": "READY", "reason": ""}
    assert entry in everything.json()
    assert entry in only_ready.json()


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "words"),
    [
        pytest.param("GET", INFER, 405, "bad_request", "method", id="method"),
        pytest.param("POST", "/v2/health/live", 405, "bad_request", "method", id="post live"),
        pytest.param("POST", "/v2/models/nobody/infer", 404, "not_found", MODEL, id="model"),
        pytest.param("GET", "/v2/models/nobody/ready", 404, "not_found", MODEL, id="ready"),
        pytest.param("GET", "/v2/models/nobody/stats", 404, "not_found", MODEL, id="stats"),
        pytest.param(
            "POST", f"/v2/models/{MODEL}/versions/7/infer", 404, "not_found", "unknown model",
            id="version",
        ),
        pytest.param("GET", "/v2/nothing", 404, "not_found", "/openapi.json", id="path"),
        pytest.param("POST", "/v2/trace/setting", 501, "unsupported", "trace", id="trace"),
        pytest.param("GET", "/v2/logging", 501, "unsupported", "logging", id="logging"),
        pytest.param(
            "POST", "/v2/cudasharedmemory/unregister", 501, "unsupported", "cuda", id="cuda"
        ),
        pytest.param(
            "POST", "/v2/repository/models/nobody/load", 404, "not_found", MODEL, id="load"
        ),
        pytest.param(
            "POST", "/v2/repository/models/nobody/unload", 404, "not_found", MODEL, id="unload"
        ),
    ],
)  # fmt: skip
def test_refusals_have_the_boxes_one_shape(
    service: Service, method: str, path: str, status: int, code: str, words: str
) -> None:
    """`error` is the key that Triton's clients read."""
    response = service.http.request(method, path, content=b'{"inputs":[]}')

    assert (status, code) == (response.status_code, response.json()["code"])
    assert words in response.json()["error"]


@pytest.mark.parametrize(
    ("request_", "status", "words"),
    [
        pytest.param({"content": b""}, 400, "empty", id="no body"),
        pytest.param({"content": b"{"}, 400, "not JSON", id="half a JSON"),
        pytest.param({"content": b"[" * 10_000}, 400, "nested too deeply", id="10000 deep"),
        pytest.param(body({"inputs": [ONE]}, header=10**9), 400, "whole body", id="header"),
        pytest.param(body({"inputs": [ONE]}, header=5), 400, "not JSON", id="short header"),
        pytest.param(body({"inputs": []}), 400, "602112 bytes are left", id="nobody's bytes"),
        pytest.param(
            {"content": b"{}", "headers": {LENGTH: "-1"}}, 400, "wanted the length", id="negative"
        ),
        pytest.param(
            {"content": b"\x89PNG\r\n\x1a\n", "headers": {LENGTH: "0"}}, 400, "picture",
            id="damaged picture",
        ),
        pytest.param(
            {"content": gzip.compress(bytes(64 * 1024 * 1024), 1),
             "headers": {"Content-Encoding": "gzip"}}, 413, "once unpacked", id="bomb",
        ),
        pytest.param(
            {"content": bytes(33 * 1024 * 1024)}, 413, "wanted at most 33554432", id="too long"
        ),
        pytest.param(
            {"content": b" " * (9 * 1024 * 1024)}, 413, "bytes of JSON", id="too much JSON"
        ),
        pytest.param(
            {"json": {"inputs": [{**ONE, "parameters": {}, "data": [[1, "x"]]}]}}, 400,
            "nested otherwise", id="data",
        ),
        pytest.param(
            {"content": b'{"inputs":[],"id":"\\ud800"}'}, 400, "surrogate", id="no Unicode"
        ),
    ],
)  # fmt: skip
def test_bodies_that_are_wrong_are_the_clients_fault(
    service: Service, request_: dict[str, Any], status: int, words: str
) -> None:
    """A 4xx in the one shape, and the box goes on."""
    response = service.http.post(INFER, **request_)

    assert (status, True) == (response.status_code, words in response.json()["error"])
    assert 200 == service.http.get("/v2/health/live").status_code
    assert "traceback" not in service.log.read_text()


def test_a_body_in_chunks_is_understood(service: Service) -> None:
    """Without a Content-Length nothing is known of its size, and nothing is aligned."""
    whole = body({"inputs": [ONE]})

    def pieces() -> Any:
        yield whole["content"][:1000]
        yield whole["content"][1000:]

    response = service.http.post(INFER, content=pieces(), headers=whole["headers"])

    assert (200, 1000) == (response.status_code, len(response.json()["outputs"][0]["data"]))


@pytest.mark.parametrize(
    "said",
    [{"parameters": {"config": "{}"}}, {"parameters": {"file:1/model.onnx": "AAAA"}}],
    ids=["config", "file"],
)
def test_models_are_not_sent_by_load(service: Service, said: dict[str, Any]) -> None:
    """The box has a way for that, which the sentence names."""
    response = service.http.post(f"/v2/repository/models/{MODEL}/load", json=said)

    assert (501, "unsupported") == (response.status_code, response.json()["code"])
    assert "/v1/models" in response.json()["error"]


def test_a_client_that_leaves_within_its_body_is_forgotten(service: Service) -> None:
    """Half a tensor and a closed connection leave the box answering."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as raw:
        raw.connect(str(service.socket))
        raw.sendall(
            f"POST {INFER} HTTP/1.1\r\nHost: x\r\n{LENGTH}: 5\r\n"
            "Content-Length: 602112\r\n\r\n{\"in".encode()
        )  # fmt: skip

    assert 200 == service.http.get("/v2/health/live").status_code
    assert "traceback" not in service.log.read_text()
