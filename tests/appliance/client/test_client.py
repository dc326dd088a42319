"""Talking to a box: typed answers, refusals as sentences; the same from both clients."""

import gc
import inspect
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from appliance.client import AsyncClient, Client, Patience, Refused
from appliance.errors import BadRequest, Unavailable
from tests.appliance import watguests as guests
from tests.appliance.client.conftest import Call
from tests.appliance.client.peer import Peer, http
from tests.appliance.service import ROOT, Service


def test_everything_a_client_does(service: Service, picture: bytes, call: Call) -> None:
    """Deploy, list, predict, query, health."""
    call(service.socket, "deploy", "steady", guests.STEADY)
    (prediction,) = call(service.socket, "predict", "steady", picture).predictions

    assert "steady" == prediction.label
    newest = call(service.socket, "predictions", label="steady", app=None, limit=1)
    assert [prediction] == newest.predictions
    assert [] == call(service.socket, "predictions", label="cat").predictions
    assert ["steady"] == [app.name for app in call(service.socket, "apps")]
    assert "efficientnet-lite0" in [m.name for m in call(service.socket, "models").models]
    assert "ok" == call(service.socket, "health").status
    assert 'edge_app_frames_total{app="steady"' in call(service.socket, "metrics")


def test_the_history_is_paged_through(service: Service, picture: bytes) -> None:
    """All that match, newest first, whatever a page holds."""
    service.deploy("steady", guests.STEADY)
    made = [service.show("steady", picture).json()["predictions"][0]["id"] for _ in range(5)]
    with Client(service.socket) as box:
        found = [prediction.id for prediction in box.history(limit=2, app="steady")]

        assert made[::-1] == found[:5]
        assert sorted(found, reverse=True) == found


def test_a_refusal_has_the_boxs_sentence_and_word(
    service: Service, picture: bytes, call: Call
) -> None:
    """Word for word, for people and for programs."""
    with pytest.raises(Refused, match="app nobody: not found") as refused:
        call(service.socket, "predict", "nobody", picture)
    assert (404, "not_found", None) == (
        refused.value.status, refused.value.code, refused.value.reason
    )  # fmt: skip

    with pytest.raises(Refused, match=r"limit: got 5000, wanted 1\.\.1000"):
        call(service.socket, "predictions", limit=5000)


def test_a_failed_guest_says_why(service: Service, picture: bytes, call: Call) -> None:
    """The reason is a word, for programs that count or retry."""
    service.deploy("trap", guests.command("unreachable"))
    with pytest.raises(Refused, match="unreachable") as refused:
        call(service.socket, "predict", "trap", picture)

    assert (502, "guest_failed", "trap") == (
        refused.value.status, refused.value.code, refused.value.reason
    )  # fmt: skip


@pytest.mark.parametrize(
    ("headers", "retry_after_s"),
    [(b"Retry-After: 3\r\n", 3.0), (b"Retry-After: Fri, 31 Dec 1999\r\n", None), (b"", None)],
)
def test_a_refusal_says_when_to_come_again(
    peer: Peer, call: Call, headers: bytes, retry_after_s: float | None
) -> None:
    """If the box said so."""
    peer.play(http(b'{"error": "busy", "code": "unavailable"}', "503 Busy", headers))
    with pytest.raises(Refused, match="busy") as refused:
        call(peer.socket, "health")

    assert retry_after_s == refused.value.retry_after_s


def test_a_name_is_one_part_of_the_path(peer: Peer) -> None:
    """Whatever a caller passes on is quoted."""
    peer.play(http(b"{}", "404 Not Found"))
    with Client(peer.socket) as box, pytest.raises(Refused, match="404"):
        box.predict("a?b#c%2f d", b"x")

    assert peer.requests[0].startswith("POST /v1/apps/a%3Fb%23c%252f%20d/frames HTTP/1.1\r\n")


@pytest.mark.parametrize("name", ["", ".", "..", "../etc", "a/b"])
def test_a_name_cannot_leave_its_place_in_the_path(peer: Peer, name: str) -> None:
    """Nothing is sent: `delete_app("..")` must not reach another route."""
    with Client(peer.socket) as box, pytest.raises(BadRequest, match="wanted one without a slash"):
        box.delete_app(name)


def test_answers_are_frozen(service: Service) -> None:
    """They may be shared and kept."""
    with Client(service.socket) as box:
        health = box.health()

        with pytest.raises(ValidationError, match="frozen"):
            health.status = "bad"


def test_keys_of_a_newer_box_are_passed_over(peer: Peer, call: Call) -> None:
    """A client need not be updated with its box."""
    peer.play(http(b'{"version": "9", "uptime_s": 1, "apps": 0, "mood": "fine"}'))

    assert "9" == call(peer.socket, "health").version


# httpcore 1.0 does not close a Unix socket whose connect failed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_no_box_is_said_with_what_to_do(tmp_path: Path, call: Call) -> None:
    """Neither a missing socket nor a dead one nor a closed port is a traceback."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(tmp_path / "dead"))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        for where in (tmp_path / "missing", tmp_path / "dead", url):
            with pytest.raises(Unavailable, match=f"answers on {where}; .*appliance serve"):
                call(where, "health")
    gc.collect()  # here, where the warning is expected


def test_a_box_that_hangs_is_not_waited_for_for_ever(tmp_path: Path, call: Call) -> None:
    """Neither when it takes no connection nor when it takes one and says nothing."""
    patience = Patience(connect_s=0.05, answer_s=0.05)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as hung:
        hung.bind(str(tmp_path / "s"))
        hung.listen(1)

        with pytest.raises(Unavailable, match="did not answer in time"):
            call(tmp_path / "s", "health", patience=patience)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        pytest.param(b"", "did not answer", id="hangs up"),
        pytest.param(b"SSH-2.0-hello\r\n", "did not answer", id="speaks something else"),
        pytest.param(http(b"hi"), "no JSON .status 200.", id="no JSON"),
        pytest.param(http(b"[1]"), "not what was asked for", id="other JSON"),
        pytest.param(http(b'{"status": "up"}'), r"asked for .version: Field req", id="other box"),
        pytest.param(http(b"[]", "500 No"), "refused with status 500", id="no sentence"),
        pytest.param(http(b"", "302 Found"), "refused with status 302", id="elsewhere"),
    ],
)
def test_somebody_else_on_the_socket_is_noticed(
    peer: Peer, answer: bytes, words: str, call: Call
) -> None:
    """Whatever comes back, the caller gets one of our errors."""
    peer.play(answer)

    with pytest.raises((Unavailable, Refused), match=words):
        call(peer.socket, "health")


def test_a_token_goes_with_every_request(peer: Peer) -> None:
    """And is in no text about the client."""
    peer.play(http(b"[]"))
    with Client(peer.socket, token="s3cret") as box:
        box.apps()

        assert "authorization: bearer s3cret" in peer.requests[0].lower()
        assert "s3cret" not in repr(vars(box))


@pytest.mark.parametrize("where", ["http://", "https://:99"])
def test_an_address_without_a_host_is_refused(where: str) -> None:
    """At once, not as a failed connection."""
    with pytest.raises(BadRequest, match="wanted http://HOST:PORT or a socket path"):
        Client(where)


def test_certificates_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    """A missing file, and one that holds no certificate."""
    (tmp_path / "empty.pem").write_text("")
    for name, words in (("none.pem", "No such file"), ("empty.pem", "X509|certificate")):
        with pytest.raises(BadRequest, match=f"{name}: .*({words})"):
            Client("https://box", ca=tmp_path / name)


def test_both_clients_have_the_same_methods() -> None:
    """Name for name and parameter for parameter."""
    methods = [name for name in vars(Client) if not name.startswith("_")]

    assert methods == [name for name in vars(AsyncClient) if not name.startswith("_")]
    for name in ("__init__", *methods):
        blocking, other = (_parameters(of, name) for of in (Client, AsyncClient))
        assert blocking == other


def _parameters(of: type, name: str) -> list[inspect.Parameter]:
    return list(inspect.signature(getattr(of, name)).parameters.values())


def test_a_client_needs_no_web_framework() -> None:
    """Programs that only ask a box do not load what serves one."""
    program = "import sys, appliance.client; print([n for n in sys.modules if n in sys.argv])"
    done = subprocess.run(
        [sys.executable, "-c", program, "fastapi", "starlette", "uvicorn", "onnxruntime", "numpy"],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip

    assert "[]\n" == done.stdout
