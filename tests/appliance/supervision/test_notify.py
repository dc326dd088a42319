"""What systemd is told, by a socket of our own in its place."""

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.supervision.notify import Notifier
from tests.appliance.service import Service


@pytest.fixture
def told(tmp_path: Path) -> Iterator[socket.socket]:
    """The socket that NOTIFY_SOCKET names."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(tmp_path / "notify"))
        made.settimeout(60)
        yield made


def until(told: socket.socket, word: str) -> list[str]:
    """Read up to a message with this word, and give them all."""
    found: list[str] = []
    while not any(word in message for message in found):
        found.append(told.recv(4096).decode())
    return found


def test_systemd_is_told_of_the_start_the_progress_and_the_stop(
    told: socket.socket, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Type=notify with a watchdog; the supervisor is the main process."""
    shutil.rmtree(state, ignore_errors=True)
    monkeypatch.setenv("NOTIFY_SOCKET", told.getsockname())
    with Service(state) as box:
        ready = until(told, "READY=1")
        assert f"MAINPID={box.supervisor}" in ready[-1]
        assert [] == [message for message in ready if "STOPPING" in message]
        assert until(told, "WATCHDOG=1")
        assert 0 == box.end()

        assert "STOPPING=1" in until(told, "STOPPING=1")


def test_an_abstract_address_begins_with_an_at() -> None:
    """As systemd writes it; nobody may listen, and that is no failure."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind("")  # the kernel chooses an abstract one
        Notifier("@" + made.getsockname()[1:].decode())("READY=1")

        assert b"READY=1" == made.recv(100)
    Notifier("@nobody-listens-here")("READY=1")
    Notifier("")("READY=1")
