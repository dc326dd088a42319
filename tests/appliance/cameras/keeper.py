"""A box with one camera, in a process of its own that tests can kill: prints its worker's id."""

import sys
import threading

from appliance.cameras.camera import Start, WatchedCamera
from appliance.cameras.config import CameraConfig


def main(url: str) -> None:
    """Run a camera until killed."""
    camera = WatchedCamera(CameraConfig(name="door", url=url), Start())
    camera.start()
    lease = camera.wait_newer(-1, 30)
    assert lease is not None
    sys.stdout.write(f"{camera.worker_pid} {'av' in sys.modules}\n")
    sys.stdout.flush()
    threading.Event().wait()


main(*sys.argv[1:])
