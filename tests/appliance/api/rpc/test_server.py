"""The gRPC socket of `appliance serve`: rights, leftovers, rivals, and an orderly end."""

import queue
import shutil
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput, InferResult
from tritonclient.utils import InferenceServerException

from tests.appliance import watguests as guests
from tests.appliance.service import Service, appliance

MODEL = "efficientnet-lite0"
PATIENCE_S = 60


@pytest.fixture
def box(state: Path) -> Service:
    """A box over a fresh state folder, not started."""
    shutil.rmtree(state, ignore_errors=True)
    return Service(state)


@pytest.fixture
def path(state: Path) -> Path:
    return state / "run" / "grpc.sock"


def is_live(path: Path) -> bool:
    with InferenceServerClient(f"unix:{path}") as client:
        return bool(client.is_server_live())


def test_the_socket_is_for_the_owner_and_the_group(box: Service, path: Path) -> None:
    """Like the HTTP one, and no file of it is left at the end."""
    with box:
        mode = path.stat().st_mode & 0o777
        assert is_live(path)

    assert 0o660 == mode
    assert not path.exists()


def test_a_socket_left_by_a_kill_is_replaced(box: Service, path: Path) -> None:
    """Nobody answers on it, so it is nobody's."""
    with box:
        assert -signal.SIGKILL == box.end(signal.SIGKILL)
        assert path.exists()

        box.start()
        assert is_live(path)


def test_a_socket_that_answers_is_left_alone(box: Service, path: Path) -> None:
    """The box does not start, says why, and leaves nothing of its own behind."""
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as rival:
        rival.bind(str(path))
        rival.listen()

        done = appliance("serve", "--state", box.state)

    assert 1 == done.returncode
    assert b"grpc.sock: another appliance answers there" in done.stderr
    assert b"Traceback" not in done.stderr
    assert not box.socket.exists()


def test_a_box_without_it_does_not_load_it(box: Service, path: Path) -> None:
    """`grpc = false`: no socket, and gRPC is not in its memory."""
    box.state.mkdir()
    (box.state / "settings.toml").write_text("grpc = false\n")
    with box:
        maps = Path(f"/proc/{box.pid}/maps").read_text()
        assert not path.exists()

    assert "libpython" in maps or "python" in maps
    assert "cygrpc" not in maps


def test_deploys_go_on_beside_it(box: Service, path: Path) -> None:
    """They run programs of their own, and gRPC does not like forks."""
    with box:
        assert is_live(path)
        assert 200 == box.deploy("steady", guests.STEADY).status_code
        assert is_live(path)

    assert "fork" not in box.log.read_text()


def test_at_the_stop_what_is_under_way_is_finished(
    box: Service, path: Path, put_tensor: Callable[[int], InferInput]
) -> None:
    """Calls that are computed or queued are answered; then nobody answers any more."""
    told: queue.SimpleQueue[tuple[InferResult | None, InferenceServerException | None]]
    told = queue.SimpleQueue()
    box.state.mkdir()
    (box.state / "settings.toml").write_text("threads = 1\n")
    with box, InferenceServerClient(f"unix:{path}") as client:
        client.infer(MODEL, [put_tensor(1)])
        for _ in range(2):
            client.async_infer(
                MODEL, [put_tensor(32)], lambda result, error: told.put((result, error))
            )
        while 'count{device="cpu"} 1' not in box.http.get("/metrics").text:
            assert told.empty()

        assert 0 == box.end()

        answers = [told.get(timeout=PATIENCE_S) for _ in range(2)]
        assert [None, None] == [error for _, error in answers]
        with pytest.raises(InferenceServerException) as refused:
            client.is_server_live(client_timeout=PATIENCE_S)
        assert f"{grpc.StatusCode.UNAVAILABLE}" == refused.value.status()
