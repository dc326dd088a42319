"""A camera and its real worker: frames in order, faults noticed, the worker gone at the end."""

import logging
import os
import signal
from pathlib import Path

import pytest

from appliance.cameras.camera import Start, WatchedCamera, make_camera
from appliance.cameras.config import CameraConfig, MotionGate
from appliance.cameras.lifecycle import Rules
from appliance.cameras.push import PushCamera
from appliance.cameras.states import CameraState, Drop
from appliance.cameras.synthetic import read_counter
from appliance.errors import BadRequest
from tests.appliance.cameras.conftest import Run
from tests.appliance.cameras.watching import counters, next_frame, until, until_state

SOON = Rules(stall_s=1, frozen_s=0.5, first_s=0.05, cap_s=0.1)
HARD = Rules(stall_s=1, grace_s=0.1, first_s=0.05, cap_s=0.1)


def is_gone(pid: int) -> bool:
    """Whether there is no such process, not even as a zombie."""
    return not Path(f"/proc/{pid}").exists()


def test_frames_come_in_order(run: Run) -> None:
    """Each with its number, its size, its source and its times."""
    camera = run("test:?size=320x240&fps=60")
    with next_frame(camera) as lease:
        frame = lease.frame
        assert ("door", 320, 240) == (frame.source, frame.width, frame.height)
        assert frame.captured_monotonic_s > 0
        assert not frame.pixels.flags.writeable
    found = counters(camera, 20)

    assert [sequence for sequence, _ in found] == [painted for _, painted in found]
    assert sorted(set(found)) == found


def test_status_tells_how_it_is(run: Run) -> None:
    """State, size, rate, counts."""
    camera = run("test:?size=320x240&fps=60")
    counters(camera, 30)
    status = camera.status()

    assert (CameraState.LIVE, "", 320, 240) == (
        status.state, status.reason, status.width, status.height,
    )  # fmt: skip
    assert status.fps > 0
    assert status.frames >= 30
    assert (0, 0, "synthetic") == (status.reconnects, status.restarts, status.decoder)
    assert status.last_frame_age_s is not None


def test_a_slow_reader_gets_the_newest(run: Run) -> None:
    """What it missed is counted; the camera did not wait."""
    camera = run("test:?size=64x48&fps=100")
    with next_frame(camera):
        first = until(camera, lambda status: status.frames >= 30)
    with next_frame(camera) as lease:
        assert lease.frame.sequence >= 20

    assert first.dropped[Drop.OLDEST] >= 20


def test_a_frame_on_loan_stays_as_it_is(run: Run) -> None:
    """However many come meanwhile."""
    camera = run("test:?size=64x48&fps=200")
    with next_frame(camera) as lease:
        before = lease.frame.pixels.copy()
        until(camera, lambda status: status.frames >= 50)

        assert lease.frame.sequence == read_counter(lease.frame.pixels)
        assert bool((before == lease.frame.pixels).all())


def test_all_slots_on_loan_is_busy(run: Run) -> None:
    """The worker drops what has no place, says so, and goes on when there is one."""
    camera = run("test:?size=64x48&fps=100")
    leases = []
    for _ in range(4):
        leases.append(next_frame(camera, leases[-1].frame.sequence if leases else -1))
    until(camera, lambda status: status.dropped[Drop.BUSY] > 3)
    busy = camera.status().state
    for lease in leases:
        lease.close()
    with next_frame(camera, leases[-1].frame.sequence):
        pass

    assert CameraState.LIVE is busy


def test_rate_and_size_are_as_wanted(run: Run) -> None:
    """Scaled down within the bounds, in its shape; dropped frames are counted."""
    camera = run("test:?size=640x480&fps=100", fps=20, size_wh=(100, 100))
    with next_frame(camera) as lease:
        assert (100, 75) == (lease.frame.width, lease.frame.height)
    status = until(camera, lambda status: status.dropped[Drop.RATE] >= 40)

    assert status.fps < 30


def test_a_camera_that_ends_says_so(run: Run) -> None:
    """And its last frame can still be seen."""
    camera = run("test:?size=64x48&fps=100&frames=5")
    until_state(camera, CameraState.ENDED)
    until(camera, lambda _: camera.worker_pid is None)

    with next_frame(camera) as lease:
        assert 4 == lease.frame.sequence


def test_a_stalled_camera_is_tried_again(run: Run) -> None:
    """It was open and sent nothing more; its numbers go on."""
    camera = run("test:?size=64x48&fps=100&stall_after=5", rules=SOON)
    until_state(camera, CameraState.STALLED)
    status = until(camera, lambda status: status.reconnects >= 1 and status.frames >= 8)
    with next_frame(camera) as lease:
        assert lease.frame.sequence >= 5

    assert 0 == status.restarts


def test_a_frozen_camera_is_tried_again(run: Run) -> None:
    """The same bytes for half a second; a moving picture makes it live again."""
    camera = run("test:?size=64x48&fps=100&freeze_after=5", rules=SOON)
    status = until_state(camera, CameraState.FROZEN)
    until(camera, lambda status: status.reconnects >= 1 and status.state is CameraState.LIVE)

    assert "byte for byte" in status.reason


def test_a_worker_that_dies_is_started_again(run: Run) -> None:
    """Counted, its reason said, no zombie, numbers go on."""
    camera = run("test:?size=64x48&fps=100", rules=SOON)
    with next_frame(camera) as lease:
        first = lease.frame.sequence
    pid = camera.worker_pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    status = until(camera, lambda status: status.restarts == 1)
    with next_frame(camera, first + 1):
        pass

    assert status.restarts == 1
    assert is_gone(pid)


def test_a_worker_that_does_not_listen_is_killed(run: Run) -> None:
    """TERM, a moment, KILL."""
    camera = run("test:?size=64x48&fps=100&deaf=1", rules=HARD)
    with next_frame(camera):
        pid = camera.worker_pid
    camera.stop()

    assert pid is not None
    assert is_gone(pid)
    assert CameraState.DISABLED is camera.status().state


def test_a_hung_worker_is_noticed(run: Run) -> None:
    """One that the kernel holds sends nothing; it is killed and replaced."""
    camera = run("test:?size=64x48&fps=100", rules=HARD)
    with next_frame(camera):
        pid = camera.worker_pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    until_state(camera, CameraState.STALLED)
    until_state(camera, CameraState.LIVE)

    assert is_gone(pid)


def test_memory_does_not_leak_with_attempts(run: Run) -> None:
    """Ten attempts leave as many descriptors and mappings as one."""
    camera = run("test:?size=64x48&fps=100&crash_after=3",
                 rules=Rules(stall_s=5, first_s=0.01, cap_s=0.01, max_restarts=100))  # fmt: skip
    until(camera, lambda status: status.restarts >= 2)
    before = len(os.listdir("/proc/self/fd"))
    until(camera, lambda status: status.restarts >= 6)

    assert len(os.listdir("/proc/self/fd")) <= before + 20
    assert Path("/proc/self/maps").read_text().count("camera-slot") <= 8


def test_a_still_scene_is_not_given_out(run: Run) -> None:
    """The motion gate drops frames, which is counted; the camera lives and does not stall."""
    camera = run(
        "test:?size=640x480&fps=100&freeze_after=3", motion=MotionGate(), stall_s=0.5,
        frozen_s=None,
    )  # fmt: skip
    status = until(camera, lambda status: status.dropped[Drop.MOTION] > 100)

    assert CameraState.LIVE is status.state
    assert 0 == status.reconnects


def test_a_moving_scene_passes_the_gate(run: Run) -> None:
    """All of it."""
    camera = run("test:?size=640x480&fps=50", motion=MotionGate(threshold=2, min_area=0))
    counters(camera, 10)

    assert 0 == camera.status().dropped[Drop.MOTION]


def test_stopping_and_starting_again(run: Run) -> None:
    """Numbers go on; what has been counted stays."""
    camera = run("test:?size=64x48&fps=100")
    counters(camera, 5)
    camera.stop()
    stopped_at = camera.next_sequence
    camera.start()
    with next_frame(camera, stopped_at - 1) as lease:
        assert lease.frame.sequence >= stopped_at

    assert camera.status().frames > 5


def test_a_disabled_camera_does_not_start(run: Run) -> None:
    """No process, no thread."""
    camera = run("test:", is_enabled=False)

    assert (CameraState.DISABLED, None) == (camera.status().state, camera.worker_pid)


def test_changes_of_state_are_logged_once(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """Not each attempt."""
    caplog.set_level(logging.INFO)
    camera = run("/films/none.mp4", rules=SOON)
    until(camera, lambda status: status.reconnects >= 2)
    camera.stop()

    assert ["connecting", "failed", "disabled"] == [
        record.getMessage().split()[1] for record in caplog.records
    ]


def test_frames_are_posted_to_push_cameras_only(run: Run) -> None:
    """The others have a source."""
    with pytest.raises(BadRequest, match="has a source of its own"):
        run("test:", is_enabled=False).push(b"")


def test_a_url_decides_what_a_camera_is() -> None:
    """Pushed frames need no worker."""
    assert isinstance(make_camera(CameraConfig(name="a", url="push:")), PushCamera)
    assert isinstance(make_camera(CameraConfig(name="a", url="test:"), Start(5)), WatchedCamera)
