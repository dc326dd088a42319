"""A box that something ends or stops from inside and outside, and that comes back."""

import os
import shutil
import signal
import socket
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.appliance import watguests as guests
from tests.appliance.service import Service, wait_until
from tests.appliance.workshop import put_model

POISON = 7.0
SETTINGS = 'isolation = "none"\nwatchdog_s = 3\nmax_run_s = 2\n'


@pytest.fixture
def box(state: Path) -> Service:
    """A box with a fake runtime in its own process, and a polite app; not started."""
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir(parents=True)
    (state / "settings.toml").write_text(SETTINGS)
    return Service(state, "tests.appliance.crashing_service")


def ask(box: Service, model: str, value: float) -> httpx.Response:
    """Ask a model."""
    image = {"name": "image", "shape": [1, 3, 2, 4], "datatype": "FP32", "data": [value] * 24}
    return box.http.post(f"/v2/models/{model}/infer", json={"inputs": [image]})


def crash(box: Service, model: str) -> None:
    """Give a model what ends it, and wait until the box is back."""
    pid = box.pid
    with suppress(httpx.TransportError):
        ask(box, model, POISON)
    back(box, pid)


def back(box: Service, pid: int) -> None:
    """Wait until another process than this one serves."""
    wait_until(lambda: is_up(box) and box.pid != pid)


def is_up(box: Service) -> bool:
    """Tell whether a box takes work."""
    with suppress(httpx.TransportError):
        return box.http.get("/readyz").status_code == 200
    return False


def is_gone(pid: int) -> bool:
    """Tell whether a process has ended."""
    try:
        return " Z " in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_poison_model_is_quarantined_and_the_rest_goes_on(box: Service, picture: bytes) -> None:
    """Each crash costs a restart; after three of them the model is refused and says why."""
    put_model(box.state / "models", "poison", abort_on_value=POISON)
    put_model(box.state / "models", "good")
    with box:
        box.deploy("polite", guests.STEADY)
        assert 200 == ask(box, "poison", 1.0).status_code
        for _ in range(3):
            crash(box, "poison")
            assert ["steady"] == box.labels("polite", picture)

        pid = box.pid
        refused = ask(box, "poison", POISON)
        listed = box.http.get("/v1/models").json()["models"]
        (entry,) = [model for model in listed if model["name"] == "poison"]
        assert 400 <= refused.status_code < 600
        assert "quarantined" in refused.text
        assert "model poison:1: quarantined" in entry["reason"]
        assert "SIGABRT" in entry["reason"]
        assert 200 == ask(box, "good", 1.0).status_code
        assert ["steady"] == box.labels("polite", picture)
        assert pid == box.pid

        released = box.http.post("/v1/models/poison/1/release")
        assert (200, "") == (released.status_code, released.json()["reason"])
        assert 200 == ask(box, "poison", 1.0).status_code
        assert 409 == box.http.post("/v1/models/poison/1/release").status_code


def test_a_killed_service_is_started_again(box: Service, picture: bytes) -> None:
    """Nobody gets a strike for that; a client that comes meanwhile waits and is answered."""
    with box:
        box.deploy("polite", guests.STEADY)
        pid = box.pid
        os.kill(pid, signal.SIGKILL)
        # In the queue of the socket that stayed open: never refused.
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as early:
            early.connect(str(box.socket))
            early.sendall(b"GET /healthz HTTP/1.1\r\nHost: box\r\n\r\n")
            assert early.recv(12) == b"HTTP/1.1 200"
        back(box, pid)

        assert ["steady"] == box.labels("polite", picture)
        assert not (box.state / "quarantine.json").exists()
    assert not box.socket.exists()


def test_with_its_supervisor_the_service_ends(box: Service) -> None:
    """No orphan holds the state folder; the next start is as any."""
    with box:
        pid = box.pid
        assert -signal.SIGKILL == box.end(signal.SIGKILL)
        wait_until(lambda: is_gone(pid))
        box.start()
        assert is_up(box)


def test_a_service_that_is_stopped_from_outside_is_replaced(box: Service) -> None:
    """It shows no progress for watchdog_s; it gets no chance to say anything."""
    with box:
        pid = box.pid
        os.kill(pid, signal.SIGSTOP)
        back(box, pid)

        assert is_gone(pid)
        assert "service hangs, killing it" in box.log.read_text()


def test_a_model_that_stops_everything_gets_the_strike(box: Service, picture: bytes) -> None:
    """It sleeps with the interpreter's lock: no thread of the service goes on."""
    put_model(box.state / "models", "sleepy", delay_s=1000.0)
    with box:
        box.deploy("polite", guests.STEADY)
        pid = box.pid
        with suppress(httpx.TransportError):
            ask(box, "sleepy", 1.0)
        back(box, pid)

        assert ["steady"] == box.labels("polite", picture)
        log = box.log.read_text()
        assert "suspects=model=sleepy:1" in log
        assert "sleepy:1" in (box.state / "quarantine.json").read_text()


def test_a_run_without_end_gets_the_strike(box: Service, picture: bytes) -> None:
    """The rest of the service goes on meanwhile, and says itself who it is."""
    put_model(box.state / "models", "endless", delay_s=900.0)
    with box:
        box.deploy("polite", guests.STEADY)
        pid = box.pid
        with suppress(httpx.TransportError):
            ask(box, "endless", 1.0)
        back(box, pid)

        assert ["steady"] == box.labels("polite", picture)
        assert "model endless:1 runs longer than 2 s" in box.log.read_text()
        assert "endless:1" in (box.state / "quarantine.json").read_text()


def test_signals_pass_through_after_a_restart(box: Service) -> None:
    """Stopped in order: status 0, and the socket is gone."""
    with box:
        pid = box.pid
        os.kill(pid, signal.SIGKILL)
        back(box, pid)

        assert 0 == box.end(signal.SIGINT)
        assert not box.socket.exists()
