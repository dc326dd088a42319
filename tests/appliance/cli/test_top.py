"""`appliance top`: what the box does, on a terminal, in a pipe, once."""

import os
import pty
import signal
import subprocess
import sys
import threading

import pytest

from appliance.api.shapes import Health
from appliance.cli.meters import Poll
from appliance.cli.top import head, tables_of
from tests.appliance import watguests as guests
from tests.appliance.cli.conftest import Command
from tests.appliance.cli.process import Process
from tests.appliance.service import Service


@pytest.fixture(scope="module", autouse=True)
def _apps(service: Service, picture: bytes) -> None:
    service.deploy("steady", guests.STEADY)
    service.deploy("trap", guests.command("unreachable"))
    service.deploy("lite", guests.computing("efficientnet-lite0", "x"))
    for name in ("steady", "steady", "trap", "lite"):
        service.show(name, picture)


def cells(line: str) -> list[str]:
    return line.split()


def test_once_prints_one_look_and_ends(command: Command, service: Service) -> None:
    """Apps and graphs with what they did, no control codes."""
    done = command("top", "--once", "--interval", 0.05, "--state", service.state)
    told = done.stdout.decode()
    lines = [cells(line) for line in told.splitlines()]

    assert (0, b"") == (done.returncode, done.stderr)
    assert "\x1b" not in told
    assert told.startswith("appliance 0.1.0, up 0:00:")
    assert "MiB, nothing queued" in told.splitlines()[0]
    assert ["steady", "live", "2", "0.0", "-", "0", "0.0"] in lines
    assert ["trap", "live", "1", "0.0", "-", "1", "0.0"] in lines
    assert ["efficientnet-lite0:1", "onnx", "cpu", "1", "0.0", "-", "-", "-", "0"] in lines


def test_rates_are_of_the_time_between_two_looks(
    command: Command, service: Service, picture: bytes
) -> None:
    """Frames shown meanwhile have a rate and a latency."""
    done = threading.Event()

    def show() -> None:
        while not done.is_set():
            service.show("steady", picture)

    camera = threading.Thread(target=show)
    camera.start()
    told = command("top", "--once", "--interval", 0.2, "--state", service.state).stdout.decode()
    done.set()
    camera.join()
    (row,) = [cells(line) for line in told.splitlines() if line.split()[:1] == ["steady"]]

    assert float(row[3]) > 0
    assert "-" != row[4]


def test_an_empty_box_says_so() -> None:
    """Tables without rows would look like a fault."""
    poll = Poll(0.0, Health(version="1", uptime_s=5, apps=0), (), (), {"cpu": 2, "gpu": 0})

    assert "appliance 1, up 0:00:05, 2 queued for cpu" == head(poll)
    assert ["no app is deployed", "no graph has computed"] == tables_of(poll, None)


def test_in_a_pipe_through_a_restart(service: Service) -> None:
    """Look after look as plain text; the outage is said once; Ctrl-C ends it quietly."""
    with Process("top", "--interval", 0.1, "--state", service.state) as top:
        top.until("steady")
        service.end()
        assert "waiting for it" in top.first_error()
        service.start()
        assert "is back" in top.first_error()
        top.until("steady")
        ended, rest = top.end(signal.SIGINT)

    assert (130, []) == (ended, rest)


def test_a_reader_that_leaves_ends_it_quietly(service: Service) -> None:
    """As with `| head -1`."""
    with Process("top", "--interval", 0.05, "--state", service.state) as top:
        top.until("steady")
        top.close_stdout()
        ended, rest = top.end()

    assert (1, []) == (ended, rest)


def test_on_a_terminal_the_screen_is_given_back(service: Service) -> None:
    """The alternate screen is left and the cursor shown again, also after Ctrl-C."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "appliance", "top", "--interval", "0.1", "--state",
         str(service.state)],
        stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while b"steady" not in shown:
        shown += os.read(ours, 65536)
    process.send_signal(signal.SIGINT)
    try:
        while more := os.read(ours, 65536):
            shown += more
    except OSError:  # Linux ends a terminal whose other side is closed so
        pass
    os.close(ours)

    assert 130 == process.wait(60)
    assert b"\x1b[?1049h" in shown
    assert shown.rindex(b"\x1b[?1049l") > shown.rindex(b"steady")
    assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l")
    assert b"Traceback" not in shown
