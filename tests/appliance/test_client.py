"""Talking to a box: answers as dictionaries, refusals as sentences."""

import gc
import socket
import threading
from pathlib import Path

import pytest

from appliance.client import Client, Refused
from appliance.errors import Unavailable
from tests.appliance import watguests as guests
from tests.appliance.service import Service


def test_everything_a_client_does(service: Service, picture: bytes) -> None:
    """Deploy, list, predict, query, health."""
    with Client(service.socket) as box:
        done = box.deploy("steady", guests.STEADY)
        (prediction,) = box.predict("steady", picture)["predictions"]

        assert ("steady", True) == (done["name"], done["is_new"])
        assert "steady" == prediction["label"]
        assert [prediction] == box.predictions(label="steady", app=None, limit=1)["predictions"]
        assert [] == box.predictions(label="cat")["predictions"]
        assert ["steady"] == [app["name"] for app in box.apps()]
        assert "ok" == box.health()["status"]


def test_a_refusal_is_the_boxs_sentence(service: Service, picture: bytes) -> None:
    """Word for word."""
    with Client(service.socket) as box:
        with pytest.raises(Refused, match="app nobody: not found"):
            box.predict("nobody", picture)
        with pytest.raises(Refused, match=r"limit: got 5000, wanted 1\.\.1000"):
            box.predictions(limit=5000)


# httpcore 1.0 does not close a Unix socket whose connect failed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_no_box_is_said_with_what_to_do(tmp_path: Path) -> None:
    """Neither a missing socket nor a dead one is a traceback."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(tmp_path / "dead"))
    for name in ("missing", "dead"):
        with Client(tmp_path / name) as box, pytest.raises(Unavailable, match="appliance serve"):
            box.health()
    gc.collect()  # here, where the warning is expected


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        pytest.param(b"", "did not answer", id="hangs up"),
        pytest.param(b"SSH-2.0-hello\r\n", "did not answer", id="speaks something else"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "no JSON .status 200.", id="no JSON"
        ),
        pytest.param(
            b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\n[]", "refused with status 500",
            id="no sentence",
        ),
    ],
)  # fmt: skip
def test_somebody_else_on_the_socket_is_noticed(tmp_path: Path, answer: bytes, words: str) -> None:
    """Whatever comes back, the caller gets one of our errors."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen(1)

        def talk() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        stranger = threading.Thread(target=talk)
        stranger.start()
        with Client(tmp_path / "s") as box, pytest.raises((Unavailable, Refused), match=words):
            box.health()
        stranger.join()
