"""Cameras over HTTP, by a real server: MJPEG, HLS, films; passwords, pauses, noise."""

import io
from pathlib import Path

import av
import pytest
from av.video.frame import VideoFrame
from PIL import Image

from appliance.cameras.lifecycle import Rules
from appliance.cameras.states import CameraState
from appliance.cameras.synthetic import paint
from tests.appliance.cameras.conftest import Run
from tests.appliance.cameras.films import encode
from tests.appliance.cameras.servers import files, mjpeg
from tests.appliance.cameras.watching import counters, until, until_state

SOON = Rules(stall_s=1, first_s=0.05, cap_s=0.1)


def jpeg(number: int) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(paint(number, (160, 120))).save(encoded, "JPEG", quality=90)
    return encoded.getvalue()


PICTURES = tuple(jpeg(number) for number in range(30))


def test_mjpeg(run: Run) -> None:
    """Pictures as they come."""
    with mjpeg(PICTURES, "hang") as address:
        camera = run(f"http://{address}")
        found = counters(camera, 1)
        status = until(camera, lambda status: status.frames >= 20)
        camera.stop()

    assert found[0][1] in range(30)
    assert (160, 120, "mjpeg") == (status.width, status.height, status.decoder)


def test_few_pictures_are_enough(run: Run) -> None:
    """A camera that sends one a second is not looked at for minutes before the first is shown."""
    with mjpeg(PICTURES[:5], "hang") as address:
        counters(run(f"http://{address}", stall_s=60), 1)


def test_mjpeg_with_a_password(run: Run) -> None:
    """The right one opens it."""
    with mjpeg(PICTURES, "ask") as address:
        camera = run(f"http://joe:right@{address}")
        counters(camera, 1)
        camera.stop()


def test_mjpeg_with_a_wrong_password(run: Run) -> None:
    """It is said, and not shown."""
    with mjpeg(PICTURES, "ask") as address:
        camera = run(f"http://joe:wr0ng-pw@{address}", rules=SOON)
        status = until(camera, lambda status: status.reconnects >= 1)
        camera.stop()

    assert (CameraState.FAILED, True) == (status.state, "user name or password" in status.reason)
    assert "wr0ng-pw" not in f"{status} {camera.log_lines()}"


def test_a_camera_that_closes_the_connection(run: Run) -> None:
    """It is connected again, and numbers go on."""
    with mjpeg(PICTURES) as address:
        camera = run(f"http://{address}", rules=SOON)
        status = until(camera, lambda status: status.reconnects >= 2 and status.frames > 40)
        camera.stop()

    assert camera.next_sequence > 40
    assert 0 == status.restarts


def test_a_camera_that_falls_silent(run: Run) -> None:
    """The connection stands and nothing comes: stalled."""
    with mjpeg(PICTURES, "hang") as address:
        camera = run(f"http://{address}", rules=SOON)
        status = until_state(camera, CameraState.STALLED)
        camera.stop()

    assert "no frame for 1 s" == status.reason


def test_a_camera_that_sends_noise(run: Run) -> None:
    """It never shows a frame of it; it is tried again, and its log is bounded."""
    with mjpeg((), "noise") as address:
        camera = run(f"http://{address}", rules=SOON)
        status = until(camera, lambda status: status.reconnects >= 1)
        camera.stop()

    assert status.state in {CameraState.FAILED, CameraState.STALLED}
    assert camera.next_sequence == 0
    assert len(camera.log_lines()) <= 100


def test_hls(run: Run, tmp_path: Path) -> None:
    """A playlist and its segments; shown in their own time and once, since it has an end."""
    with av.open(str(tmp_path / "live.m3u8"), "w", format="hls",
                 options={"hls_time": "1", "hls_list_size": "0"}) as container:  # fmt: skip
        stream = container.add_stream("libx264", rate=30, options={"g": "15"})
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for number in range(45):
            picture = VideoFrame.from_ndarray(paint(number, (160, 120)), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    with files(tmp_path) as address:
        camera = run(f"{address}/live.m3u8")
        found = counters(camera, 20)
        status = until_state(camera, CameraState.ENDED)

    assert [sequence for sequence, _ in found] == [painted for _, painted in found]
    assert ("h264", 45) == (status.decoder, status.frames)


def test_a_film_over_http(run: Run, tmp_path: Path) -> None:
    """Played once, as from the disk."""
    encode(tmp_path / "a.mp4", frames=20)
    with files(tmp_path) as address:
        camera = run(f"{address}/a.mp4")
        status = until_state(camera, CameraState.ENDED)

    assert 20 == status.frames


@pytest.mark.parametrize(
    ("path", "reason"), [("none.mp4", "no such stream"), ("text.mp4", "no video")]
)
def test_what_is_no_stream(run: Run, tmp_path: Path, path: str, reason: str) -> None:
    """The answer says what to look at."""
    (tmp_path / "text.mp4").write_bytes(b"hello " * 1000)
    with files(tmp_path) as address:
        camera = run(f"{address}/{path}", rules=SOON)
        status = until_state(camera, CameraState.FAILED)
        camera.stop()

    assert reason in status.reason


def test_a_playlist_does_not_lead_to_files(run: Run, tmp_path: Path) -> None:
    """A hostile camera could have this machine's files decoded otherwise."""
    film = encode(tmp_path / "secret.ts", frames=30)
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "live.m3u8").write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{film}\n#EXT-X-ENDLIST\n"
    )
    with files(tmp_path / "web") as address:
        camera = run(f"{address}/live.m3u8", rules=SOON)
        until_state(camera, CameraState.FAILED)
        camera.stop()

    assert 0 == camera.next_sequence
