"""The box as a whole, in this process."""

import threading
from pathlib import Path

import pytest

from appliance.app import Box
from appliance.errors import Unavailable
from appliance.records import Frame
from appliance.settings import load_settings
from appliance.store import PredictionQuery
from tests.appliance import watguests as guests
from tests.appliance.workshop import bundle


def test_making_a_box_touches_nothing(tmp_path: Path) -> None:
    """Constructors only store; the state folder is not even made."""
    Box(load_settings(state=tmp_path / "state"))

    assert [] == list(tmp_path.iterdir())


def test_a_box_goes_from_a_guest_to_a_kept_prediction(tmp_path: Path, frame: Frame) -> None:
    """Everything is wired, and all of it is still there in the next box."""
    settings = load_settings(state=tmp_path / "state")
    with Box(settings) as box:
        box.deployer.deploy(bundle(guests.STEADY), "steady")
        done = box.pipeline.process("steady", frame)
    with Box(settings) as box:
        again = box.pipeline.process("steady", frame)
        kept = box.store.query(PredictionQuery())

    assert [again.predictions[0], done.predictions[0]] == kept


def test_a_stopped_box_leaves_no_thread_and_no_scratch(tmp_path: Path) -> None:
    """Every thread is joined; what command guests read is gone."""
    before = set(threading.enumerate())
    with Box(load_settings(state=tmp_path / "state")) as box:
        names = {thread.name for thread in set(threading.enumerate()) - before}
        scratch = box._scratch.folder
        assert scratch.is_dir()

    assert {"inbox", "guest-epochs", "retention"} <= names
    assert before >= set(threading.enumerate())
    assert not scratch.exists()


def test_a_start_that_fails_leaves_no_thread(tmp_path: Path) -> None:
    """What had been started is stopped again in reverse."""
    settings = load_settings(state=tmp_path / "state")
    settings.state.mkdir()
    settings.inbox.symlink_to(tmp_path / "a disk that is not mounted")
    before = set(threading.enumerate())
    with pytest.raises(Unavailable, match="cannot write inbox"), Box(settings):
        pass

    assert before >= set(threading.enumerate())
