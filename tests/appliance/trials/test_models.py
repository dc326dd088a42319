"""Models in a throw-away process: the same findings as here, and crashes that stay over there."""

import os
from pathlib import Path

import pytest

from appliance.errors import BadModel
from appliance.guests.engine import GuestEngine
from appliance.trials.model import ModelTrial
from appliance.trials.trials import TrialBounds
from tests.appliance.trials.rig import POISON, Rig

MIB = 1024 * 1024


def test_a_good_model_passes(rig: Rig, tmp_path: Path) -> None:
    """Loaded, of the shape that its model.toml says, and shown its sample."""
    assert ModelTrial(("onnx",), ()) == rig.model(tmp_path / "m")


def test_a_wrong_answer_comes_back_in_words(rig: Rig, tmp_path: Path) -> None:
    """The model says something else than its sample is."""
    with pytest.raises(BadModel, match=r"the sample s\.png gave class \d+, wanted dog"):
        rig.model(tmp_path / "m", label="dog")


def test_a_model_that_crashes_its_runtime_is_refused(rig: Rig, tmp_path: Path) -> None:
    """And whoever asked goes on."""
    with pytest.raises(
        BadModel, match=r"model tiny:1: the process that tried it crashed \(signal 6\) while comput"
    ):
        rig.model(tmp_path / "m", abort_on_value=POISON)

    assert ("onnx",) == rig.model(tmp_path / "n").loaded


def test_a_model_that_takes_too_much_memory_is_refused(engine: GuestEngine, tmp_path: Path) -> None:
    """The limit is the process's; the sentence says how much it was."""
    rig = Rig(engine, tmp_path, TrialBounds(memory_bytes=600 * MIB))
    rig.model(tmp_path / "m")
    # All zeros, and nothing on the disk.
    os.truncate(tmp_path / "m" / "model.onnx", 700 * MIB)
    with pytest.raises(BadModel, match=r"wanted more than its 600 MiB of memory and crashed while"):
        rig.trials.model(tmp_path / "m", "tiny", "1")
