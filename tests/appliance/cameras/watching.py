"""Waiting for what a real worker does: by its frames where there are any, else by looking."""

import time
from collections.abc import Callable

from appliance.cameras.newest import Lease
from appliance.cameras.states import Camera, CameraState, CameraStatus
from appliance.cameras.synthetic import read_counter

# Of a test that fails; on a busy machine a worker takes a second to start.
TIMEOUT_S = 30.0


def next_frame(camera: Camera, sequence: int = -1) -> Lease:
    """Borrow the next frame; fails the test if none comes."""
    lease = camera.wait_newer(sequence, TIMEOUT_S)
    assert lease is not None, f"no frame: {camera.status()} {camera.log_lines()}"
    return lease


def counters(camera: Camera, count: int) -> list[tuple[int, int]]:
    """Take so many frames: their sequence numbers and the numbers painted in them."""
    found: list[tuple[int, int]] = []
    sequence = -1
    while len(found) < count:
        with next_frame(camera, sequence) as lease:
            sequence = lease.frame.sequence
            found.append((sequence, read_counter(lease.frame.pixels)))
    return found


def until(camera: Camera, wanted: Callable[[CameraStatus], bool]) -> CameraStatus:
    """Look until the status is as wanted; fails the test if it does not become so."""
    ends_at = time.monotonic() + TIMEOUT_S
    while not wanted(status := camera.status()):
        assert time.monotonic() < ends_at, f"{status} {camera.log_lines()}"
        # Ends early with each frame; a camera without frames is looked at 50 times a second.
        lease = camera.wait_newer(1 << 62, 0.02)
        assert lease is None
    return status


def until_state(camera: Camera, state: CameraState) -> CameraStatus:
    """Look until the camera is in a state."""
    return until(camera, lambda status: status.state is state)
