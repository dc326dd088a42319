"""One app over the socket: its detail, its log, and every change of it."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.appliance import watguests as guests
from tests.appliance.service import Service

LIMITS = {
    "memory_bytes": 64 << 20, "deadline_s": 10.0, "fuel": None, "output_bytes": 1 << 20,
    "log_lines_per_s": 50, "handles": 64, "graphs": 8, "tensor_bytes": 256 << 20,
    "table_elements": 100_000, "instances": None, "frames": 16, "host_calls": 500_000,
    "log_bytes": 256 << 10,
}  # fmt: skip
MANIFEST = b"""
models = {classifier = "efficientnet-lite0"}
cameras = ["door"]
[limits]
memory_bytes = "64MiB"
"""


def talking(label: str) -> bytes:
    """Log a line at each level, then answer with a label."""
    calls = " ".join(
        f"(drop (call $log (i32.const {level}) (i32.const {guests.TEXT_AT}) (i32.const 4)))"
        for level in range(4)
    )
    text = b"line" + b'{"label": "%s"}' % label.encode()
    body = (
        f"{calls} (drop (call $emit (i32.const {guests.TEXT_AT + 4})"
        f" (i32.const {len(text) - 4}))) (i32.const 0)"
    )
    return guests.reactor(body, ("emit", "log"), text)


def test_the_detail_says_all(service: Service, picture: bytes) -> None:
    """State, limits as they hold, versions, manifest, and what became of the frames."""
    old = service.deploy("cat", guests.trapping()).json()["version"]
    new = service.deploy("cat", talking("a"), MANIFEST).json()["version"]
    service.show("cat", picture)
    service.show("cat", b"no picture")
    detail = service.http.get("/v1/apps/cat").json()

    assert ("cat", "live", True, "", new, "reactor") == tuple(
        detail[key] for key in ("name", "state", "is_enabled", "reason", "version", "mode")
    )
    assert LIMITS == detail["limits"]
    assert ({"classifier": "efficientnet-lite0"}, ["door"]) == (detail["models"], detail["cameras"])
    assert [(new, True), (old, False)] == [(v["version"], v["is_current"])
                                           for v in detail["versions"]]  # fmt: skip
    assert all(v["size_bytes"] > 50 and v["deployed_at"] > 1.7e9 for v in detail["versions"])
    assert (1, 1, {}, 1, 0) == tuple(
        detail[key]
        for key in ("frames", "predictions", "failures", "frames_last_minute", "log_dropped")
    )
    assert detail["guest_ms"] > 0
    assert ("", "") == (detail["last_error"], detail["last_deploy_error"])


def test_failures_are_in_the_detail_by_reason(service: Service, picture: bytes) -> None:
    """With the last one's sentence, and that of the last deploy that failed."""
    service.deploy("trap", guests.trapping())
    service.show("trap", picture)
    service.deploy("trap", guests.TRUNCATED)
    detail = service.http.get("/v1/apps/trap").json()

    assert ("live", {"trap": 1}) == (detail["state"], detail["failures"])
    assert "trapped" in detail["last_error"]
    assert "does not compile" in detail["last_deploy_error"]


def test_an_app_that_never_came_up_says_why(service: Service) -> None:
    """Failed, without a version that answers; its log is empty."""
    service.deploy("broken", guests.NOT_WASM)
    detail = service.http.get("/v1/apps/broken").json()

    assert ("failed", True, [], None, None) == tuple(
        detail[key] for key in ("state", "is_enabled", "versions", "limits", "mode")
    )
    assert "not wasm" in detail["reason"]
    assert {"lines": [], "dropped": 0} == service.http.get("/v1/apps/broken/log").json()
    assert 204 == service.http.delete("/v1/apps/broken").status_code
    assert 404 == service.http.get("/v1/apps/broken").status_code


@pytest.mark.parametrize(
    ("query", "levels"),
    [
        pytest.param("", ["debug", "info", "warning", "error"] * 2, id="all"),
        pytest.param("?lines=3", ["info", "warning", "error"], id="the last"),
        pytest.param("?level=warning", ["warning", "error"] * 2, id="a level and above"),
        pytest.param("?level=error&lines=1", ["error"], id="both"),
    ],
)
def test_the_log_is_the_last_lines(
    service: Service, picture: bytes, query: str, levels: list[str]
) -> None:
    """Oldest first, with time and level."""
    service.deploy("talk", guests.STEADY)
    service.deploy("talk", talking("t"))
    service.show("talk", picture)
    service.show("talk", picture)
    log = service.http.get(f"/v1/apps/talk/log{query}").json()

    assert levels == [line["level"] for line in log["lines"]]
    assert {"line"} == {line["text"] for line in log["lines"]}
    assert all(line["at"] > 1.7e9 for line in log["lines"])
    assert 0 == log["dropped"]


def test_back_and_forth(service: Service, picture: bytes) -> None:
    """An empty body and {} are the version before; a version may be named."""
    old = service.deploy("roll", guests.labelled("old")).json()["version"]
    new = service.deploy("roll", guests.labelled("new")).json()["version"]

    back = service.http.post("/v1/apps/roll/rollback")
    assert {"name": "roll", "version": old, "is_new": True} == back.json()
    assert ["old"] == service.labels("roll", picture)
    assert new == service.http.post("/v1/apps/roll/rollback", json={}).json()["version"]
    assert ["new"] == service.labels("roll", picture)
    named = service.http.post("/v1/apps/roll/rollback", json={"version": old})
    assert old == named.json()["version"]
    again = service.http.post("/v1/apps/roll/rollback", content=b'{"version": "%s"}' % old.encode())
    assert not again.json()["is_new"]


def test_every_frame_is_answered_while_versions_change(service: Service, picture: bytes) -> None:
    """Rolled back and forth under four clients: each frame gets one version's whole answer."""
    for label in ("one", "two"):
        service.deploy("busy", guests.labelled(label))

    def show(_: int) -> tuple[str, ...]:
        return tuple(service.labels("busy", picture))

    with ThreadPoolExecutor(4) as threads:
        shown = [threads.submit(show, number) for number in range(200)]
        rolled = [service.http.post("/v1/apps/busy/rollback").status_code for _ in range(20)]
        answers = {future.result() for future in shown}

    assert answers <= {("one",), ("two",)}
    assert [200] * 20 == rolled


def test_off_and_on(service: Service, picture: bytes) -> None:
    """A frame to a disabled app is a conflict that says what to do; the list shows it."""
    service.deploy("switch", guests.labelled("on"))
    off = service.http.post("/v1/apps/switch/disable")
    assert (200, "disabled") == (off.status_code, off.json()["state"])
    refused = service.show("switch", picture)
    assert (409, "conflict") == (refused.status_code, refused.json()["code"])
    assert "POST /v1/apps/switch/enable" in refused.json()["error"]
    detail = service.http.get("/v1/apps/switch").json()
    assert ("disabled", False) == (detail["state"], detail["is_enabled"])
    assert "enable" in detail["reason"]
    assert 256 << 20 == detail["limits"]["memory_bytes"]
    listed = {app["name"]: app["state"] for app in service.http.get("/v1/apps").json()}
    assert "disabled" == listed["switch"]

    on = service.http.post("/v1/apps/switch/enable")
    assert (200, "live") == (on.status_code, on.json()["state"])
    assert ["on"] == service.labels("switch", picture)


def test_a_deleted_app_leaves_its_predictions(service: Service, picture: bytes) -> None:
    """History is not an app's to take along."""
    service.deploy("gone", guests.labelled("was here"))
    service.show("gone", picture)
    done = service.http.delete("/v1/apps/gone")

    assert (204, b"") == (done.status_code, done.content)
    assert 404 == service.show("gone", picture).status_code
    page = service.http.get("/v1/predictions?app=gone").json()
    assert ["was here"] == [row["label"] for row in page["predictions"]]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        pytest.param("GET", "nobody", b"", 404, "app nobody: not found", id="detail"),
        pytest.param("GET", "nobody/log", b"", 404, "app nobody: not found", id="log"),
        pytest.param("POST", "nobody/rollback", b"", 404, "app nobody: not found", id="rollback"),
        pytest.param("POST", "nobody/enable", b"", 404, "app nobody: not found", id="enable"),
        pytest.param("POST", "nobody/disable", b"", 404, "app nobody: not found", id="disable"),
        pytest.param("DELETE", "nobody", b"", 404, "app nobody: not found", id="delete"),
        pytest.param("DELETE", ".tmp-1", b"", 404, "not found", id="hidden"),
        pytest.param("DELETE", "%2e%2e", b"", 404, "not found", id="parent"),
        pytest.param("DELETE", "x" * 3000, b"", 404, "app x{80}: not found", id="long"),
        pytest.param("GET", "one/log?lines=0", b"", 400, "query.lines", id="no lines"),
        pytest.param("GET", "one/log?lines=9999", b"", 400, "query.lines", id="many lines"),
        pytest.param("GET", "one/log?level=loud", b"", 400, "query.level", id="level"),
        pytest.param(
            "POST", "one/rollback", b"", 409, "no version to go back to", id="one version"
        ),
        pytest.param(
            "POST", "one/rollback", b'{"version": "../../x"}', 404, "version ../../x not found",
            id="path for a version",
        ),
        pytest.param("POST", "one/rollback", b'{"verison": "x"}', 400, "wanted", id="typing error"),
        pytest.param("POST", "one/rollback", b'{"version": 1}', 400, "string", id="number"),
        pytest.param("POST", "one/rollback", b"[" * 1000, 400, "json", id="deep"),
        pytest.param("POST", "one/rollback", b"x" * 2000, 413, "at most 1024", id="long body"),
        pytest.param("POST", "one/rollback", b"[]", 400, "object", id="list"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_explained(
    service: Service, picture: bytes, method: str, path: str, body: bytes, status: int, words: str
) -> None:
    """In the one shape; the apps there are go on."""
    service.deploy("one", guests.labelled("one"))
    response = service.http.request(method, f"/v1/apps/{path}", content=body)

    assert (status, {"error", "code"}) == (response.status_code, set(response.json()))
    assert re.search(words, response.json()["error"]), response.json()
    assert ["one"] == service.labels("one", picture)
