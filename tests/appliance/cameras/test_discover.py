"""Discovery: capture devices by names that stay. The listing is that of a machine with a C920."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from appliance.cameras.discover import Places, discover, stable_url
from appliance.cameras.v4l2 import Ask
from tests.appliance.cameras.test_v4l2 import C920, C920_METADATA, answers

BY_ID = "usb-046d_HD_Pro_Webcam_C920_8F2C1A7F-video-index0"
BY_PATH = "pci-0000:00:14.0-usb-0:2:1.0-video-index0"
NODES = {"video0": C920, "video1": C920_METADATA, "video10": C920}


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """Three nodes; video0 has both names, video2 is busy, video10 has only a path."""
    found = Places(tmp_path / "sys", tmp_path / "dev")
    for node in (*NODES, "video2"):
        (found.classes / node).mkdir(parents=True)
        (found.classes / node / "name").write_text("HD Pro Webcam C920\n")
    for folder, link, node in (
        ("by-id", BY_ID, "video0"), ("by-path", BY_PATH, "video0"),
        ("by-path", "platform-x-video-index0", "video10"),
    ):  # fmt: skip
        (found.devices / "v4l" / folder).mkdir(parents=True, exist_ok=True)
        (found.devices / "v4l" / folder / link).symlink_to(f"../../{node}")
    return found


@contextmanager
def opened(path: str) -> Iterator[Ask]:
    if path == "/dev/video2":
        raise OSError(errno.EACCES, "Permission denied")
    yield answers(NODES[Path(path).name])


def test_capture_devices_are_listed(places: Places) -> None:
    """By number, the metadata node left out; one that cannot be asked is listed with its reason."""
    found = discover(places, opened)

    assert [
        (f"/dev/v4l/by-id/{BY_ID}", "/dev/video0", "HD Pro Webcam C920", ""),
        ("/dev/video2", "/dev/video2", "HD Pro Webcam C920", "Permission denied"),
        ("/dev/v4l/by-path/platform-x-video-index0", "/dev/video10", "HD Pro Webcam C920", ""),
    ] == [(d.url, d.node, d.name, d.problem) for d in found]
    assert ["yuyv422", "mjpeg", None] == [f.input_format for f in found[0].formats]


def test_a_machine_without_cameras(tmp_path: Path) -> None:
    """Has an empty list."""
    assert [] == discover(Places(tmp_path / "none", tmp_path / "none"), opened)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("/dev/video0?fps=30", f"/dev/v4l/by-id/{BY_ID}?fps=30"),
        ("v4l2:/dev/video10", "v4l2:/dev/v4l/by-path/platform-x-video-index0"),
        ("/dev/video7", "/dev/video7"),
        ("rtsp://cam/dev/video0", "rtsp://cam/dev/video0"),
    ],
    ids=["by id", "by path", "no such name", "another kind"],
)
def test_names_that_stay(places: Places, url: str, expected: str) -> None:
    """A number becomes a name where there is one; all else is left as it is."""
    assert expected == stable_url(url, places)
