"""Films and pictures, decoded by a real worker: codecs, loops, what is damaged or too large."""

import io
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from appliance.cameras.lifecycle import Rules
from appliance.cameras.states import CameraState, Drop
from appliance.cameras.synthetic import paint, read_counter
from tests.appliance.cameras.conftest import Run
from tests.appliance.cameras.films import encode
from tests.appliance.cameras.watching import counters, next_frame, until, until_state

SOUND = b"RIFF$\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x40\x1f\0\0\1\0\x08\0data\0\0\0\0"
QUICK = Rules(stall_s=5, first_s=0.05, cap_s=0.1)


@pytest.mark.parametrize(
    ("name", "codec", "decoder"),
    [("a.mp4", "libx264", "h264"), ("a.avi", "mjpeg", "mjpeg"), ("a.webm", "libvpx-vp9", "vp9")],
)
def test_codecs(run: Run, tmp_path: Path, name: str, codec: str, decoder: str) -> None:
    """Every frame arrives, in order, and can be read."""
    options = {"deadline": "realtime", "cpu-used": "8"} if codec == "libvpx-vp9" else {}
    film = encode(tmp_path / name, codec, frames=20, options=options)
    camera = run(str(film))
    found = counters(camera, 10)
    status = until_state(camera, CameraState.ENDED)

    assert [sequence for sequence, _ in found] == [painted for _, painted in found]
    assert (decoder, 20) == (status.decoder, status.frames)


def test_colours(run: Run, tmp_path: Path) -> None:
    """Red, green and blue are where they were, within what coding loses."""
    film = encode(tmp_path / "a.mp4", frames=3, options={"crf": "5"})
    with next_frame(run(str(film))) as lease:
        painted = paint(lease.frame.sequence, (320, 240))
        difference = np.abs(lease.frame.pixels.astype(int) - painted)

    assert difference.mean() < 6


def test_a_film_loops_at_its_rate(run: Run, tmp_path: Path) -> None:
    """The first frame follows the last one after its time; numbers go on."""
    film = encode(tmp_path / "a.mp4", frames=10, fps=50)
    found = counters(run(f"{film}?loop=1"), 30)

    assert [sequence % 10 for sequence, _ in found] == [painted for _, painted in found]


def test_a_film_as_fast_as_possible(run: Run, tmp_path: Path) -> None:
    """A film of five minutes is over at once."""
    film = encode(tmp_path / "a.mp4", frames=300, fps=1, size_wh=(64, 48))
    status = until_state(run(str(film), realtime=False), CameraState.ENDED)

    assert 300 == status.frames


def test_the_url_beats_the_configuration(run: Run, tmp_path: Path) -> None:
    """What stands with the film is about this film."""
    film = encode(tmp_path / "a.mp4", frames=5)
    camera = run(f"{film}?loop=0&realtime=0", loop=True)

    assert 5 == until_state(camera, CameraState.ENDED).frames


def test_the_rate_of_a_film_is_in_its_own_time(run: Run, tmp_path: Path) -> None:
    """Also when it is shown as fast as possible: 10 of 30 a second."""
    film = encode(tmp_path / "a.mp4", frames=90)
    status = until_state(run(str(film), fps=10, realtime=False), CameraState.ENDED)

    assert 60 == pytest.approx(status.dropped[Drop.RATE], abs=2)


def test_intra_films_are_thinned_before_decoding(run: Run, tmp_path: Path) -> None:
    """MJPEG: what is not wanted is not decoded, and counted all the same."""
    film = encode(tmp_path / "a.avi", "mjpeg", frames=90)
    status = until_state(run(str(film), fps=10, realtime=False), CameraState.ENDED)

    assert 60 == pytest.approx(status.dropped[Drop.RATE], abs=2)


@pytest.mark.parametrize(("fps", "frames"), [(1, 2), (120, 60)])
def test_slow_and_fast_films(run: Run, tmp_path: Path, fps: int, frames: int) -> None:
    """One a second and a hundred and twenty."""
    film = encode(tmp_path / "a.mp4", frames=frames, fps=fps)
    camera = run(f"{film}?loop=1")
    counters(camera, frames // 2 + 1)
    status = until(camera, lambda status: status.fps > 0)

    assert CameraState.LIVE is status.state
    assert fps == pytest.approx(status.fps, rel=0.5)


def test_8k_frames_are_scaled_down(run: Run, tmp_path: Path) -> None:
    """A frame has at most 8.3 million pixels; its shape and content stay."""
    film = encode(tmp_path / "a.mp4", "libx264", size_wh=(7680, 4320), frames=1,
                  options={"preset": "ultrafast"})  # fmt: skip
    with next_frame(run(str(film))) as lease:
        assert (3840, 2160) == (lease.frame.width, lease.frame.height)
        assert 0 == read_counter(lease.frame.pixels)


def test_the_size_may_change_midway(run: Run, tmp_path: Path) -> None:
    """As cameras do when they are set up anew; the ring grows and the frames are right."""
    parts = [
        encode(tmp_path / f"{n}.h264", size_wh=size_wh, frames=10).read_bytes()
        for n, size_wh in enumerate([(160, 120), (640, 480), (320, 240)])
    ]
    (tmp_path / "all.h264").write_bytes(b"".join(parts))
    camera = run(str(tmp_path / "all.h264"))
    sizes = []
    sequence = -1
    while CameraState.ENDED is not camera.status().state or sequence < 0:
        lease = camera.wait_newer(sequence, 0.1)
        if lease is not None:
            with lease:
                sequence = lease.frame.sequence
                sizes.append((lease.frame.width, lease.frame.height))
                assert sequence % 10 == read_counter(lease.frame.pixels)

    assert [(160, 120), (640, 480), (320, 240)] == list(dict.fromkeys(sizes))


def test_damaged_packets_are_counted(run: Run, tmp_path: Path) -> None:
    """The film goes on behind them."""
    film = encode(tmp_path / "a.avi", "mjpeg", frames=30)
    content = bytearray(film.read_bytes())
    starts = [n for n in range(len(content) - 3) if content[n : n + 4] == b"00dc"]
    for start, end in pairwise(starts[5:16]):
        content[start + 8 : end] = bytes(end - start - 8)
    film.write_bytes(content)
    status = until_state(run(str(film), realtime=False), CameraState.ENDED)

    assert status.dropped[Drop.CORRUPT] >= 10
    assert status.frames == 30


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.mp4", b"", "the file is empty"),
        ("a.mp4", b"no film at all " * 100, "no video that this box reads"),
        ("a.mp4", None, "no such file"),
        ("a.wav", SOUND, "no picture"),
        ("folder/", None, "no JPEG, PNG or WebP there"),
    ],
    ids=["empty", "text", "absent", "sound", "empty folder"],
)  # fmt: skip
def test_what_is_no_film(
    run: Run, tmp_path: Path, name: str, content: bytes | None, reason: str
) -> None:
    """The state says so, without the folder; it is tried again, since it may come."""
    if content is not None:
        (tmp_path / name).write_bytes(content)
    camera = run(f"{tmp_path}/{name}", rules=QUICK)
    status = until(camera, lambda status: status.reconnects >= 1)

    assert CameraState.FAILED is status.state
    assert reason in status.reason
    assert str(tmp_path) not in f"{status.reason} {camera.log_lines()}"
    assert 0 == status.restarts


def test_a_film_that_comes_later_is_found(run: Run, tmp_path: Path) -> None:
    """Nobody has to ask for it."""
    camera = run(str(tmp_path / "a.mp4"), rules=QUICK)
    until_state(camera, CameraState.FAILED)
    encode(tmp_path / "b.mp4").rename(tmp_path / "a.mp4")

    counters(camera, 2)


def picture(number: int, kind: str) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(paint(number, (64, 48))).save(encoded, kind)
    return encoded.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures, one that is damaged, and a text."""
    for name, content in (
        ("a.jpg", picture(0, "JPEG")), ("b.PNG", picture(1, "PNG")), ("c.webp", picture(2, "WEBP")),
        ("d.jpg", picture(3, "JPEG")[:100]), ("e.txt", b"hello"),
    ):  # fmt: skip
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_pictures_of_a_folder(run: Run, folder: Path) -> None:
    """By name; a damaged one is counted and left out."""
    camera = run(f"{folder}/?fps=20")
    found = counters(camera, 3)
    status = until_state(camera, CameraState.ENDED)

    assert [(0, 0), (1, 1), (2, 2)] == found
    assert 1 == status.dropped[Drop.CORRUPT]


def test_a_folder_without_a_slash(run: Run, folder: Path) -> None:
    """Only the disk knows."""
    assert [(0, 0), (1, 1)] == counters(run(f"{folder}?fps=20"), 2)


def test_a_pattern(run: Run, folder: Path) -> None:
    """Those that fit, again and again."""
    found = counters(run(f"{folder}/[ab].*?fps=50&loop=1"), 4)

    assert [0, 1, 0, 1] == [painted for _, painted in found]


def test_a_film_that_loops_keeps_the_wanted_rate(run: Run, tmp_path: Path) -> None:
    """Over many passes, while all is decoded and then key frames alone: 6 of 30 a second."""
    film = encode(tmp_path / "a.mp4", frames=120, options={"g": "5"}, size_wh=(64, 48))
    camera = run(f"{film}?loop=1&realtime=0", fps=6)
    status = until(camera, lambda status: status.frames > 2000)
    shown = status.frames - status.dropped[Drop.RATE]

    assert 0.2 == pytest.approx(shown / status.frames, rel=0.1)
