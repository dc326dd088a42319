"""RTSP, by a real server (Debian's GStreamer) that is killed and started again."""

import logging
from collections.abc import Callable, Iterator

import pytest

from appliance.cameras.lifecycle import Rules
from appliance.cameras.states import CameraState
from tests.appliance.cameras.conftest import Run
from tests.appliance.cameras.servers import RtspServer, free_port, need_rtsp_server
from tests.appliance.cameras.watching import counters, next_frame, until, until_state

SOON = Rules(stall_s=1, first_s=0.05, cap_s=0.2)

Serve = Callable[..., RtspServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a server, with a user and a password or open to all."""
    need_rtsp_server()
    servers = []

    def start(*credentials: str) -> RtspServer:
        server = RtspServer(*credentials)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.kill()


@pytest.mark.parametrize("path", ["h264", "mjpeg"])
def test_streams(run: Run, serve: Serve, path: str) -> None:
    """Frames come, in order, with size and decoder."""
    camera = run(serve().url(path))
    found = counters(camera, 10)
    status = camera.status()

    assert sorted({sequence for sequence, _ in found}) == [sequence for sequence, _ in found]
    assert (CameraState.LIVE, 320, 240, path) == (
        status.state, status.width, status.height, status.decoder,
    )  # fmt: skip


def test_over_udp(run: Run, serve: Serve) -> None:
    """Only if asked for."""
    counters(run(f"{serve().url()}#transport=udp"), 3)


def test_two_cameras_of_one_server_killed_and_back(run: Run, serve: Serve) -> None:
    """Frames resume by themselves, numbers go on, and another camera notices nothing."""
    server = serve()
    cameras = [run(server.url(path), rules=SOON) for path in ("h264", "mjpeg")]
    other = run("test:?size=64x48&fps=50")
    before = [counters(camera, 5)[-1][0] for camera in cameras]
    server.kill()
    for camera in cameras:
        until(camera, lambda status: status.state is CameraState.FAILED and status.reconnects >= 2)
    server.start()
    for camera, sequence in zip(cameras, before, strict=True):
        with next_frame(camera, camera.next_sequence):
            assert camera.next_sequence > sequence
        assert CameraState.LIVE is until_state(camera, CameraState.LIVE).state

    assert (0, 0) == (other.status().reconnects, other.status().restarts)


def test_the_password(run: Run, serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """The right one opens; the wrong one is said; neither is shown anywhere."""
    caplog.set_level(logging.DEBUG)
    server = serve("joe", "r1ght-pw")
    right = run(server.url(user="joe:r1ght-pw@"))
    counters(right, 2)
    wrong = run(server.url(user="joe:wr0ng-pw@"), rules=SOON)
    status = until(wrong, lambda status: status.reconnects >= 1)
    seen = f"{caplog.text} {right.status()} {status} {right.log_lines()} {wrong.log_lines()}"

    assert CameraState.FAILED is status.state
    assert "user name or password" in status.reason
    assert [] == [secret for secret in ("r1ght-pw", "wr0ng-pw") if secret in seen]


def test_no_such_stream(run: Run, serve: Serve) -> None:
    """The path is wrong, the camera is there."""
    status = until_state(run(serve().url("other"), rules=SOON), CameraState.FAILED)

    assert "no such stream" in status.reason


def test_nobody_there(run: Run) -> None:
    """Nothing listens; no server is needed for that."""
    camera = run(f"rtsp://127.0.0.1:{free_port()}/1", rules=SOON)
    status = until(camera, lambda status: status.reconnects >= 1)

    assert "nothing listens there" in status.reason


def test_no_such_host(run: Run) -> None:
    """The name leads nowhere."""
    status = until_state(run("rtsp://camera.invalid/1", rules=SOON), CameraState.FAILED)

    assert "no such host: camera.invalid" == status.reason
