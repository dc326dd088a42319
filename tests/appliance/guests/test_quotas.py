"""The space of a folder: counted on disk, charged before, given back after."""

from pathlib import Path

import pytest

from appliance.guests.quotas import FolderSpace, Spaces

KIB = 1024


@pytest.fixture
def space(tmp_path: Path) -> FolderSpace:
    """An empty folder of 32 KiB."""
    return FolderSpace(tmp_path, 32 * KIB)


def test_writes_under_way_are_counted_together(space: FolderSpace) -> None:
    """Two that fit alone do not fit at once; when one is done, and wrote nothing, it fits again."""
    with space.taking(16 * KIB) as first, space.taking(16 * KIB) as second:
        pass
    with space.taking(16 * KIB) as third:
        pass

    assert (None, 48 * KIB, None) == (first, second, third)


def test_a_hole_takes_no_space(space: FolderSpace, tmp_path: Path) -> None:
    """What counts is what is on disk; a name counts a block at least."""
    with (tmp_path / "hole").open("wb") as file:
        file.truncate(10**9)
    (tmp_path / "empty").touch()

    assert 8 * KIB == space.used_bytes()


def test_links_are_not_followed(space: FolderSpace, tmp_path: Path) -> None:
    """A loop of folders is counted once, and so is what a link names elsewhere."""
    (tmp_path / "loop").symlink_to(tmp_path)

    assert 4 * KIB == space.used_bytes()


def test_all_apps_share_the_space_of_a_folder(tmp_path: Path) -> None:
    """By the folder that is meant, whatever it is called."""
    (tmp_path / "real").mkdir()
    (tmp_path / "other").symlink_to(tmp_path / "real")
    spaces = Spaces()

    assert spaces.of(tmp_path / "real", 1) is spaces.of(tmp_path / "other", 1)
    assert spaces.of(tmp_path / "real", 1) is not spaces.of(tmp_path, 1)
