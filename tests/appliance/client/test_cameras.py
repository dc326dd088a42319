"""Cameras by a client, blocking and asynchronous."""

from tests.appliance.client.conftest import Call
from tests.appliance.service import Service


def test_the_life_of_a_camera(service: Service, picture: bytes, call: Call) -> None:
    """Every method once, with typed answers."""
    at = service.socket
    added = call(at, "add_camera", "door", "push:", fps=50, apps=["later"])
    pushed = call(at, "push", "door", picture)
    jpeg = call(at, "snapshot", "door", has_labels=False, width=64)
    changed = call(at, "change_camera", "door", fps=None)
    states = [call(at, f"{verb}able_camera", "door").state for verb in ("dis", "en")]
    listed = call(at, "cameras").cameras
    shown = call(at, "camera", "door")
    devices = call(at, "devices").devices
    call(at, "remove_camera", "door")

    assert ("door", 50.0, "later") == (
        added.name, added.settings.fps, added.settings.apps[0].app
    )  # fmt: skip
    assert (1, b"\xff\xd8\xff") == (pushed.taken, jpeg[:3])
    assert (None, ["disabled", "connecting"]) == (changed.settings.fps, states)
    assert (["door"], "door") == ([camera.name for camera in listed], shown.name)
    assert isinstance(devices, tuple)
    assert () == call(at, "cameras").cameras
