"""Pushed frames: the same camera to whoever looks, without a worker."""

import io

import numpy as np
import pytest
from PIL import Image

from appliance.cameras.config import CameraConfig
from appliance.cameras.push import PushCamera
from appliance.cameras.states import CameraState, Drop
from appliance.cameras.synthetic import paint, read_counter
from appliance.errors import BadPicture, Conflict


def png(number: int = 0, size_wh: tuple[int, int] = (64, 48)) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(paint(number, size_wh)).save(encoded, "PNG")
    return encoded.getvalue()


def camera(**config: object) -> PushCamera:
    """A camera that takes frames of up to 64 by 48."""
    one = PushCamera(
        CameraConfig.model_validate({"name": "door", "url": "push:", **config}),
        max_pixels=64 * 48, first_sequence=7,
    )  # fmt: skip
    one.start()
    return one


def test_a_picture_becomes_a_frame() -> None:
    """Decoded once, with the picture as it came."""
    one = camera()
    picture = png(5)
    number = one.push(picture)
    lease = one.wait_newer(-1, 0)
    assert lease is not None
    frame = lease.frame

    assert (7, 7, "door", picture, "image/png") == (
        number, frame.sequence, frame.source, frame.encoded, frame.media_type,
    )  # fmt: skip
    assert 5 == read_counter(frame.pixels)


def test_pixels_become_a_frame() -> None:
    """As they are, read-only."""
    one = camera()
    one.push(paint(3, (32, 24)))
    lease = one.wait_newer(-1, 0)
    assert lease is not None

    assert (3, None) == (read_counter(lease.frame.pixels), lease.frame.encoded)
    assert not lease.frame.pixels.flags.writeable


def test_the_latest_wins() -> None:
    """Two that nobody took in time are counted."""
    one = camera()
    numbers = [one.push(png()) for _ in range(3)]
    lease = one.wait_newer(-1, 0)
    assert lease is not None

    assert ([7, 8, 9], 9) == (numbers, lease.frame.sequence)
    assert (3, 2) == (one.status().frames, one.status().dropped[Drop.OLDEST])


def test_frames_above_the_rate_are_dropped() -> None:
    """Before they are decoded; the client is told by the number."""
    one = camera(fps=0.01)

    assert [7, -1] == [one.push(png()), one.push(b"not even a picture")]
    assert 1 == one.status().dropped[Drop.RATE]


def test_large_frames_are_scaled_down() -> None:
    """As other cameras' are; the picture as it came is no longer the one shown."""
    one = camera(size_wh=(16, 100))
    one.push(png())
    lease = one.wait_newer(-1, 0)
    assert lease is not None

    assert (16, 12, None) == (lease.frame.width, lease.frame.height, lease.frame.encoded)


@pytest.mark.parametrize(
    ("picture", "reason"),
    [
        (b"", "got nothing"),
        (b"GIF89a", "a GIF"),
        (png(0, (65, 48)), "at most 3072 pixels"),
        (np.zeros((65, 48, 3), np.uint8), "at most 3072 pixels"),
        (np.zeros((4, 4), np.uint8), r"wanted uint8 \(height, width, 3\)"),
        (np.zeros((4, 4, 3), np.float32), "got float32"),
    ],
    ids=["nothing", "gif", "too large", "pixels too large", "grey pixels", "float pixels"],
)
def test_what_is_no_frame(picture: bytes, reason: str) -> None:
    """Refused and counted; the camera goes on, and no number is lost."""
    one = camera()
    with pytest.raises(BadPicture, match=reason):
        one.push(picture)

    assert (1, 7) == (one.status().dropped[Drop.CORRUPT], one.push(png()))


def test_states() -> None:
    """Nothing yet, live, silent for too long, stopped."""
    one = camera(stall_s=0.5)
    states = [one.status().state]
    one.push(png())
    states.append(one.status().state)
    assert one.wait_newer(7, 0.6) is None
    states.append(one.status().state)
    one.stop()
    states.append(one.status().state)

    assert [
        CameraState.CONNECTING, CameraState.LIVE, CameraState.STALLED, CameraState.DISABLED,
    ] == states  # fmt: skip


def test_a_disabled_camera_takes_nothing() -> None:
    """The client is told what to do."""
    with pytest.raises(Conflict, match="enable it first"):
        camera(is_enabled=False).push(png())
