"""The folder for command guests' frames."""

from pathlib import Path

import pytest

from appliance.errors import Unavailable
from appliance.scratch import Scratch


def test_it_is_there_between_open_and_close(tmp_path: Path) -> None:
    """Empty, and for nobody else."""
    scratch = Scratch(tmp_path / "state", memory=tmp_path)
    scratch.open()

    assert 0o700 == scratch.folder.stat().st_mode & 0o777
    assert [] == list(scratch.folder.iterdir())
    scratch.close()
    assert not scratch.folder.exists()


def test_what_a_killed_box_left_is_removed_by_the_next(tmp_path: Path) -> None:
    """The same state folder names the same scratch folder; another names another."""
    killed = Scratch(tmp_path / "state", memory=tmp_path)
    killed.open()
    (killed.folder / "frame-x").mkdir()
    again = Scratch(tmp_path / "state", memory=tmp_path)
    again.open()

    assert killed.folder == again.folder
    assert [] == list(again.folder.iterdir())
    assert again.folder != Scratch(tmp_path / "other", memory=tmp_path).folder


def test_without_memory_it_lies_on_the_states_disk(tmp_path: Path) -> None:
    """Slower, but there."""
    scratch = Scratch(tmp_path / "state", memory=tmp_path / "missing")
    scratch.open()

    assert tmp_path / "state" / "run" == scratch.folder.parent
    assert scratch.folder.is_dir()


def test_a_strangers_link_is_not_followed(tmp_path: Path) -> None:
    """What it points to is neither emptied nor used."""
    scratch = Scratch(tmp_path / "state", memory=tmp_path)
    target = tmp_path / "precious"
    target.mkdir()
    (target / "file").touch()
    scratch.folder.symlink_to(target)

    with pytest.raises(Unavailable, match=r"^scratch folder .*remove what is there$"):
        scratch.open()
    assert (target / "file").exists()
