"""Models over the socket: what they are, how they run, what they say; and how they come and go."""

import json
import re
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.shipped import models_folder
from tests.appliance import watguests as guests
from tests.appliance.archives import gzipped, tarred, zipped
from tests.appliance.service import Service

LITE0 = models_folder() / "efficientnet-lite0" / "1"
INT8 = models_folder() / "efficientnet-lite0-int8" / "1"
# The smallest real models there are; see scripts/make_test_models.py.
SCALE = Path(__file__).parents[2] / "wasi_nn" / "backends" / "data" / "scale.onnx"
FORM = "multipart/form-data; boundary=XX"


def folder_of(path: Path, *names: str) -> dict[str, bytes]:
    chosen = names or tuple(file.name for file in path.iterdir())
    return {name: (path / name).read_bytes() for name in chosen}


def small() -> dict[str, bytes]:
    return {"model.onnx": SCALE.read_bytes()}


def tflite_only() -> dict[str, bytes]:
    """A copy of the shipped int8 model with one encoding."""
    files = folder_of(INT8, "model.tflite", "labels.txt", "sample.jpg", "model.toml")
    head, *tables = files["model.toml"].decode().split("[[files]]")
    (table,) = [t for t in tables if "tensorflowlite" in t]
    return {**files, "model.toml": f"{head}[[files]]{table}".encode()}


def models_on_disk(service: Service) -> set[str]:
    return {name for name in service.files() if name.startswith("models/")}


@pytest.fixture
def put(service: Service) -> Iterator[Callable[..., Any]]:
    """Upload a model; it is deleted when the test ends."""
    added = []

    def do(name: str, version: str, files: dict[str, bytes]) -> Any:
        added.append((name, version))
        return service.http.put(
            f"/v1/models/{name}/{version}", content=gzipped(tarred(*files.items()))
        )

    yield do
    for name, version in added:
        service.http.delete(f"/v1/models/{name}/{version}")


def test_a_shipped_model_in_all_detail(service: Service) -> None:
    """Preprocessing and labels are shown: they are what goes wrong without a sound."""
    (detail,) = service.http.get("/v1/models/efficientnet-lite0").json()["versions"]

    assert ("1", "ready", "", True, True, "espresso") == tuple(
        detail[k] for k in ("version", "state", "reason", "is_shipped", "is_default", "sample")
    )
    assert [{"name": "logits", "kind": "logits", "labels": 1000}] == detail["outputs"]
    (image,) = detail["inputs"]
    assert ([224, 224], "rgb", "bicubic", 0.875, [127.0] * 3) == tuple(
        image[key] for key in ("size_wh", "color", "resize", "crop_fraction", "mean")
    )
    assert [("onnx", "NCHW"), ("openvino", "NCHW"), ("tensorflowlite", "NHWC")] == [
        (file["encoding"], file["layout"]) for file in detail["files"]
    ]
    assert all(file["is_verified"] for file in detail["files"])
    assert detail["size_bytes"] == sum(file.stat().st_size for file in LITE0.iterdir())
    assert "Apache-2.0" == detail["licence"]
    assert "arXiv:1905.11946" in detail["origin"]
    assert str(models_folder()) not in json.dumps(detail)


@pytest.mark.parametrize("name", ["efficientnet-lite0", "efficientnet-lite0-int8"])
def test_a_shipped_model_knows_its_sample(service: Service, name: str) -> None:
    """In the encoding that it prefers; five scores that fall, and where the time went."""
    seen = service.http.post(f"/v1/models/{name}/sample").json()

    assert ("espresso", True, "logits", "1") == tuple(
        seen[key] for key in ("expected", "is_as_expected", "kind", "version")
    )
    assert ("onnx", "cpu") == (seen["encoding"], seen["device"])
    assert "espresso" == seen["top"][0]["label"]
    scores = [score["score"] for score in seen["top"]]
    assert 5 == len(scores)
    assert scores == sorted(scores, reverse=True)
    timing = seen["timing_ms"]
    assert timing["total"] >= timing["compute"] + timing["preprocess"] > 0


@pytest.mark.parametrize("encoding", ["onnx", "openvino", "tensorflowlite"])
def test_any_picture_in_any_encoding(
    service: Service, read_sample: Callable[[str], bytes], encoding: str
) -> None:
    """Of a picture that was sent nothing is expected."""
    answer = service.http.post(
        f"/v1/models/efficientnet-lite0/sample?version=1&encoding={encoding}",
        content=read_sample("rocket.jpg"),
    ).json()

    assert ("missile", encoding) == (answer["top"][0]["label"], answer["encoding"])
    assert (None, None) == (answer["expected"], answer["is_as_expected"])


def test_the_plan_of_what_is_loaded(service: Service, picture: bytes) -> None:
    """With every way that was timed; a model that nobody uses has none."""
    guest = guests.computing("efficientnet-lite0-int8", "seen")
    assert service.deploy("user", guest).is_success
    assert ["seen"] == service.labels("user", picture)
    (graph,) = service.http.get("/v1/models/efficientnet-lite0-int8/plan").json()["graphs"]
    idle = service.http.get("/v1/models/efficientnet-lite0/plan?version=1").json()

    plan = graph["plan"]
    assert ("onnx", "onnx", "cpu") == (graph["encoding"], graph["backend"], graph["device"])
    assert {1, plan["threads"]} <= {figure["threads"] for figure in plan["figures"]}
    best = max(figure["rows_per_s"] for figure in plan["figures"])
    assert 0 < plan["rows_per_s"] <= best
    assert {"name": "efficientnet-lite0", "version": "1", "graphs": []} == idle
    (detail,) = service.http.get("/v1/models/efficientnet-lite0-int8").json()["versions"]
    (loaded,) = detail["graphs"]
    assert loaded["counts"]["rows"] >= 1
    service.http.delete("/v1/apps/user")


@pytest.mark.parametrize(
    "send",
    [
        pytest.param(lambda h, u, f: h.put(u, content=tarred(*f.items())), id="tar"),
        pytest.param(lambda h, u, f: h.put(u, content=gzipped(tarred(*f.items()))), id="tar.gz"),
        pytest.param(lambda h, u, f: h.put(u, content=zipped(*f.items())), id="zip"),
        pytest.param(
            lambda h, u, f: h.put(u, content=iter([tarred(*f.items())])), id="chunked tar"
        ),
        pytest.param(
            lambda h, u, f: h.put(u, files=[("file", (k, v)) for k, v in f.items()]), id="form"
        ),
        pytest.param(
            lambda h, u, f: h.put(u, files={"file": ("My Model.zip", zipped(*f.items()))}),
            id="form with an archive",
        ),
    ],
)
def test_a_model_comes_and_goes(
    service: Service, send: Callable[..., Any], read_sample: Callable[[str], bytes]
) -> None:
    """However it is packed: found, shown a picture, gone, and nothing left on disk."""
    before = models_on_disk(service)
    done = send(service.http, "/v1/models/efficientnet-lite0-int8/2", tflite_only_as("2"))

    assert 201 == done.status_code, done.text
    assert {
        "name": "efficientnet-lite0-int8", "version": "2", "loaded": ["tensorflowlite"],
        "untried": [], "is_default": True,
    } == done.json()  # fmt: skip
    seen = service.http.post("/v1/models/efficientnet-lite0-int8/sample").json()
    assert ("2", "tensorflowlite", True) == tuple(
        seen[key] for key in ("version", "encoding", "is_as_expected")
    )
    details = service.http.get("/v1/models/efficientnet-lite0-int8").json()["versions"]
    assert [("1", True, False), ("2", False, True)] == [
        (d["version"], d["is_shipped"], d["is_default"]) for d in details
    ]
    assert 204 == service.http.delete("/v1/models/efficientnet-lite0-int8/2").status_code
    assert before == models_on_disk(service)


def tflite_only_as(version: str) -> dict[str, bytes]:
    files = tflite_only()
    said = files["model.toml"].replace(b'version = "1"', b'version = "%s"' % version.encode())
    return {**files, "model.toml": said}


def test_a_guest_gets_the_new_version_when_it_loads_again(
    service: Service, picture: bytes, put: Callable[..., Any]
) -> None:
    """A warm instance goes on with what it has, a new one loads anew; a deleted one lives on."""
    name = "efficientnet-lite0-int8"
    assert service.deploy("hot", guests.computing(name, "x")).is_success
    assert ["x"] == service.labels("hot", picture)
    assert put(name, "2", tflite_only_as("2")).is_success
    assert ["x"] == service.labels("hot", picture)
    (warm, unused) = service.http.get(f"/v1/models/{name}").json()["versions"]
    assert (["onnx"], []) == ([graph["encoding"] for graph in warm["graphs"]], unused["graphs"])
    service.http.post("/v1/apps/hot/disable")
    service.http.post("/v1/apps/hot/enable")
    assert ["x"] == service.labels("hot", picture)
    details = service.http.get(f"/v1/models/{name}").json()["versions"]

    assert [("1", ["tensorflowlite"]), ("2", ["tensorflowlite"])] == [
        (d["version"], [graph["encoding"] for graph in d["graphs"]]) for d in details
    ], "the same bytes are one graph, whatever its name"
    assert 204 == service.http.delete(f"/v1/models/{name}/2").status_code
    assert ["x"] == service.labels("hot", picture)
    assert 204 == service.http.delete("/v1/apps/hot").status_code


def test_a_model_without_preprocessing_cannot_be_shown_a_picture(
    service: Service, picture: bytes, put: Callable[..., Any]
) -> None:
    """The sentence says what its manifest lacks."""
    assert put("plain", "1", small()).is_success
    refused = service.http.post("/v1/models/plain/sample", content=picture)
    without = service.http.post("/v1/models/plain/sample")

    assert (422, "bad_model") == (refused.status_code, refused.json()["code"])
    assert "one [[inputs]]" in refused.json()["error"]
    assert 400 == without.status_code
    assert "has no sample of its own; send a picture" in without.json()["error"]


@pytest.mark.parametrize("name", ["crash_recursion", "crash_mixed_types", "crash_split_options"])
def test_a_model_that_crashes_its_runtime_is_refused(service: Service, name: str) -> None:
    """It is tried in a process of its own; the box goes on and nothing of it is found."""
    content = zipped(("model.tflite", (SCALE.with_name(f"{name}.tflite")).read_bytes()))
    refused = service.http.put("/v1/models/crash/1", content=content)

    assert (422, "bad_model") == (refused.status_code, refused.json()["code"])
    assert "tensorflowlite does not load" in refused.json()["error"]
    assert 404 == service.http.get("/v1/models/crash").status_code


def form(*parts: bytes, end: bytes = b"--XX--\r\n") -> bytes:
    return b"".join(b"--XX\r\n" + part + b"\r\n" for part in parts) + end


def part(name: str, content: bytes) -> bytes:
    header = f'Content-Disposition: form-data; name="f"; filename="{name}"\r\n\r\n'
    return header.encode() + content


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status", "words"),
    [
        pytest.param("GET", "nobody", {}, b"", 404, "model nobody: not found; models", id="detail"),
        pytest.param("GET", "samples", {}, b"", 404, "not found", id="a folder of ours"),
        pytest.param("GET", ".tmp-1", {}, b"", 404, "not found", id="hidden"),
        pytest.param("GET", "nobody/plan", {}, b"", 404, "not found", id="plan"),
        pytest.param(
            "GET", "efficientnet-lite0/plan?version=*", {}, b"", 404, "not found", id="star"
        ),
        pytest.param("POST", "nobody/sample", {}, b"", 404, "not found", id="sample"),
        pytest.param(
            "POST", "efficientnet-lite0/sample?version=9", {}, b"", 404,
            "efficientnet-lite0:9: not found", id="version",
        ),
        pytest.param(
            "POST", "efficientnet-lite0/sample?encoding=ggml", {}, b"", 422, "ggml form",
            id="encoding",
        ),
        pytest.param(
            "POST", "efficientnet-lite0/sample?encoding=x", {}, b"", 422, "wanted one of",
            id="no encoding",
        ),
        pytest.param(
            "POST", "efficientnet-lite0/sample", {}, b"GIF89a", 400, "got a GIF", id="a GIF"
        ),
        pytest.param("DELETE", "nobody/1", {}, b"", 404, "not found", id="delete"),
        pytest.param(
            "DELETE", "efficientnet-lite0/1", {}, b"", 409, "comes with the box", id="shipped"
        ),
        pytest.param(
            "PUT", "efficientnet-lite0/1", {}, b"x", 409, "exists already", id="existing"
        ),
        pytest.param("PUT", "No_Good/1", {}, b"x", 400, "model name: got 'No_Good'", id="name"),
        pytest.param("PUT", "x/%2e%2e", {}, b"x", 400, "model version: got '..'", id="parent"),
        pytest.param("PUT", "x/.hidden", {}, b"x", 400, "model version", id="hidden version"),
        pytest.param("PUT", "x/1", {}, b"", 400, "body: empty, wanted a .tar", id="empty"),
        pytest.param("PUT", "x/1", {}, b"hello", 400, "got no archive", id="text"),
        pytest.param("PUT", "x/1", {}, zipped(), 400, "holds no files", id="empty zip"),
        pytest.param(
            "PUT", "x/1", {}, zipped(("model.onnx", b"?")), 422, "onnx does not load", id="damaged"
        ),
        pytest.param(
            "PUT", "x/1", {"content-length": str(2**40)}, b"", 413, "wanted at most 1073741824",
            id="announced too big",
        ),
        pytest.param(
            "PUT", "x/1", {"content-type": "multipart/form-data"}, b"x", 400,
            "without a boundary", id="no boundary",
        ),
        pytest.param(
            "PUT", "x/1", {"content-type": FORM}, b"hello", 400, "damaged multipart", id="no form"
        ),
        pytest.param(
            "PUT", "x/1", {"content-type": FORM}, form(part("a", b"1"), end=b""), 400,
            "ends without its last boundary", id="cut form",
        ),
        pytest.param(
            "PUT", "x/1", {"content-type": FORM}, form(part("../../evil", b"1")), 400,
            "got the name '../../evil'", id="form path",
        ),
        pytest.param(
            "PUT", "x/1", {"content-type": FORM}, form(part("a", b"1"), part("a", b"2")), 400,
            "comes twice", id="form twice",
        ),
        pytest.param(
            "PUT", "x/1", {"content-type": FORM},
            form(b'Content-Disposition: form-data; name="x"\r\n\r\n1'), 400,
            "a part without a filename", id="form field",
        ),
        pytest.param(
            "PUT", "x/1", {"content-type": FORM},
            form(*(part(f"{n}.txt", b"") for n in range(65))), 413, "over 64 files", id="form many",
        ),
        pytest.param(
            "PUT", "x/1", {"content-type": FORM}, form(b"X: " + b"y" * 9000 + b"\r\n\r\n1"), 400,
            "damaged multipart", id="form header",
        ),
        pytest.param(
            "PUT", "x/1", {"content-type": FORM}, form(), 400, "holds no files", id="empty form"
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_explained(
    service: Service, method: str, path: str, headers: dict[str, str], body: bytes, status: int,
    words: str,
) -> None:  # fmt: skip
    """In the one shape, without a path of the machine, and without a file left behind."""
    before = models_on_disk(service)
    request = service.http.build_request(method, f"/v1/models/{path}", content=body)
    request.headers.update(headers)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as raw:
        raw.connect(str(service.socket))
        raw.settimeout(60)
        lines = [f"{method} {request.url.raw_path.decode()} HTTP/1.1"]
        lines += [f"{key}: {value}" for key, value in request.headers.items()]
        raw.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode() + body)
        answer = raw.makefile("rb").read()

    head, _, text = answer.partition(b"\r\n\r\n")
    got = json.loads(text)
    assert (str(status), {"error", "code"}) == (head.split()[1].decode(), set(got)), got
    assert words in got["error"]
    assert re.search(r"/tmp/|\.tmp-", got["error"]) is None or path.startswith(".tmp")
    assert before == models_on_disk(service)


def test_a_client_that_leaves_in_the_middle_leaves_nothing(service: Service) -> None:
    """Half a model and a closed connection; the version is free again."""
    before = models_on_disk(service)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as raw:
        raw.connect(str(service.socket))
        raw.sendall(
            b"PUT /v1/models/half/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n"
            + bytes(2_000_000)
        )
    # Until its end is noticed the version is reserved.
    for _ in range(1000):
        done = service.http.put("/v1/models/half/1", content=zipped(*small().items()))
        if done.status_code != 409:
            break

    assert 201 == done.status_code, done.text
    service.http.delete("/v1/models/half/1")
    assert before == models_on_disk(service)


@pytest.mark.parametrize("change", ["upload", "delete"])
def test_a_box_killed_in_a_change_comes_back_whole(service: Service, change: str) -> None:
    """kill -9 at the first trace: the version is there, whole, or not at all; no file is left."""
    home = service.state / "models"
    content = tarred(*small().items())
    if change == "delete":
        assert service.http.put("/v1/models/killed/1", content=content).is_success
    traces = {"upload": lambda: any(home.glob(".tmp-*/*")),
              "delete": lambda: not (home / "killed" / "1").exists()}  # fmt: skip
    asks = {"upload": lambda: service.http.put("/v1/models/killed/1", content=content),
            "delete": lambda: service.http.delete("/v1/models/killed/1")}  # fmt: skip
    service.kill_when(traces[change], asks[change])
    service.start()

    assert [] == list(service.state.rglob(".tmp-*"))
    found = service.http.get("/v1/models/killed")
    if found.is_success:
        assert ["ready"] == [version["state"] for version in found.json()["versions"]]
        assert 204 == service.http.delete("/v1/models/killed/1").status_code
    assert 201 == service.http.put("/v1/models/killed/1", content=content).status_code
    assert 204 == service.http.delete("/v1/models/killed/1").status_code
    assert 0 == service.end(signal.SIGTERM)
    service.start()
