"""Apps in a throw-away process: what passes, what is refused and with which words, what is kept."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from appliance.errors import (
    ApplianceError,
    BadGuest,
    BadManifest,
    BadPicture,
    FailureReason,
    GuestFailed,
    Unavailable,
)
from appliance.guests.engine import GuestEngine
from appliance.policies import PolicySettings
from appliance.settings import AppLimits
from appliance.trials.trials import TrialBounds
from tests.appliance import watguests as guests
from tests.appliance.trials.rig import POISON, Rig, uniform_png

SAMPLE = '[sample]\npicture = "s.png"\n'
FILES = {"s.png": uniform_png()}
TRIED = ["compile", "instantiate", "show"]
# For tests in which something hangs: as long as importing takes a busy machine.
SHORT = TrialBounds(grace_s=3.0)


def test_a_good_guest_passes_and_is_not_tried_again(rig: Rig) -> None:
    """What it said about the box's picture is known the second time, too."""
    first, stages = rig.app(guests.STEADY), rig.stages
    second = rig.app(guests.STEADY)

    assert ("", "steady", 0.5, ()) == (first.picture, first.label, first.score, first.warnings)
    assert (TRIED, []) == (stages, rig.stages)
    assert (False, True) == (first.is_remembered, second.is_remembered)
    assert (first.label, first.seconds) == (second.label, second.seconds)


def test_a_restart_tries_nothing_again(rig: Rig, engine: GuestEngine, tmp_path: Path) -> None:
    """What passed is in a file."""
    rig.app(guests.STEADY)
    again = Rig(engine, tmp_path)
    again.app(guests.STEADY)

    assert [] == again.stages


def test_limits_are_part_of_what_was_tried(rig: Rig, engine: GuestEngine, tmp_path: Path) -> None:
    """The box's, too: what fits in 256 MiB may not fit in 100."""
    rig.app(guests.STEADY)
    other = Rig(engine, tmp_path, limits=AppLimits(memory_bytes=100 * 1024**2))
    other.app(guests.STEADY)

    assert TRIED == other.stages


def test_the_policy_holds_over_there(rig: Rig, engine: GuestEngine, tmp_path: Path) -> None:
    """And another one is a reason to try again."""
    rig.put_model()
    free = rig.app(guests.computing("tiny", "seen"))
    bound = Rig(engine, tmp_path, policy=PolicySettings(models=frozenset()))
    trial = bound.app(guests.computing("tiny", "seen"))

    assert ("seen", TRIED) == (free.label, bound.stages)
    assert "model tiny: not among this app's models" in trial.warnings[0]


def test_a_model_that_changes_is_a_reason_to_try_again(rig: Rig) -> None:
    """The one it asked for; that another comes is none."""
    folder = rig.put_model()
    trial = rig.app(guests.computing("tiny", "seen"))
    rig.put_model(name="other")
    rig.app(guests.computing("tiny", "seen"))
    unchanged = rig.stages
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes())
    rig.app(guests.computing("tiny", "seen"))

    assert (("tiny",), "seen") == (trial.models, trial.label)
    assert ([], TRIED) == (unchanged, rig.stages)


def test_what_was_refused_is_tried_again(rig: Rig) -> None:
    """The reason may have been the box's."""
    for _ in range(2):
        with pytest.raises(BadGuest, match="magic: not offered"):
            rig.app(guests.unknown_import())

        assert TRIED[:2] == rig.stages


@pytest.mark.parametrize(
    ("wasm", "words"),
    [
        pytest.param(guests.trapping, "the guest trapped: wasm `unreachable`", id="trap"),
        pytest.param(lambda: guests.printing(b"", status=3), "exited with status 3", id="exit"),
        pytest.param(guests.looping, "no answer about the box's own picture", id="loop"),
        pytest.param(
            lambda: guests.computing("absent", "x"), "model absent: not found", id="no model"
        ),
    ],
)
def test_a_failure_on_the_boxs_own_picture_is_a_warning(
    rig: Rig, wasm: Callable[[], bytes], words: str
) -> None:
    """The guest may want other pictures."""
    trial = rig.app(wasm(), "[limits]\ndeadline_s = 0.3")

    (warning,) = trial.warnings
    assert words in warning
    assert warning.endswith("give it a [sample] to be sure")


@pytest.mark.parametrize(
    ("wasm", "reason"),
    [
        pytest.param(guests.trapping, FailureReason.TRAP, id="trap"),
        pytest.param(guests.looping, FailureReason.DEADLINE, id="loop"),
    ],
)
def test_a_failure_on_its_own_sample_is_none_to_live_with(
    rig: Rig, wasm: Callable[[], bytes], reason: FailureReason
) -> None:
    """The reason is the guest's."""
    with pytest.raises(GuestFailed, match=r"^sample s\.png: the guest") as caught:
        rig.app(wasm(), SAMPLE + "[limits]\ndeadline_s = 0.3", FILES)

    assert reason is caught.value.reason


def test_the_sample_must_be_recognised(rig: Rig) -> None:
    """One of the labels first; the sentence says got and wanted."""
    wanted = SAMPLE + 'label = ["cat", "steady"]'
    trial = rig.app(guests.STEADY, wanted, FILES)

    assert ("s.png", "steady") == (trial.picture, trial.label)
    with pytest.raises(BadGuest, match=r"sample s\.png: got other at 0\.500, wanted cat or steady"):
        rig.app(guests.labelled("other"), wanted, FILES)


def test_a_command_is_shown_the_sample(rig: Rig) -> None:
    """Its lines are its answer."""
    wanted = SAMPLE + 'label = "cat"'
    trial = rig.app(guests.printing(b'{"label": "cat"}'), wanted, FILES)

    assert ("cat", None) == (trial.label, trial.score)


@pytest.mark.parametrize(
    ("files", "error", "words"),
    [
        pytest.param({}, BadManifest, r"s\.png did not come with it; pack guest", id="absent"),
        pytest.param({"s.png": b"GIF89a"}, BadPicture, r"sample s\.png: .* got a GIF", id="gif"),
    ],
)
def test_a_sample_that_is_none_is_refused(
    rig: Rig, files: dict[str, bytes], error: type[ApplianceError], words: str
) -> None:
    """It can be neither shown nor left out."""
    with pytest.raises(error, match=words):
        rig.app(guests.STEADY, SAMPLE, files)


@pytest.mark.parametrize(
    ("wasm", "error", "words"),
    [
        pytest.param(guests.TRUNCATED, BadGuest, "does not compile", id="truncated"),
        pytest.param(guests.no_entry(), BadGuest, "exports neither _start", id="no entry"),
        pytest.param(guests.traps_at_start(), GuestFailed, "trapped", id="trap at start"),
        pytest.param(guests.hungry(), BadGuest, "its memory begins with", id="memory"),
    ],
)
def test_what_cannot_start_is_refused(
    rig: Rig, wasm: bytes, error: type[ApplianceError], words: str
) -> None:
    """With the words that the box itself has for it."""
    with pytest.raises(error, match=words):
        rig.app(wasm)


def test_a_crash_over_there_is_a_reason_here(rig: Rig) -> None:
    """A runtime that aborts takes the throw-away process along, and nothing else."""
    rig.put_model(abort_on_value=POISON)
    with pytest.raises(BadGuest, match=r"crashed \(signal 6\) while showing it a picture"):
        rig.app(guests.computing("tiny", "x"), SAMPLE, FILES)


def test_a_hang_over_there_is_ended(engine: GuestEngine, tmp_path: Path) -> None:
    """A runtime that never returns is past any deadline that the engine can hold."""
    rig = Rig(engine, tmp_path, SHORT)
    rig.put_model(delay_s=1000)
    with pytest.raises(BadGuest, match="gave no answer for 3 s and was stopped while showing"):
        rig.app(guests.computing("tiny", "x"), "[limits]\ndeadline_s = 0.05")

    assert [] == list(tmp_path.glob("trial-*"))


def test_a_box_that_stops_waits_for_no_trial(rig: Rig) -> None:
    """Who asked is told at once; what was tried is no worse for it."""
    rig.put_model(delay_s=1000)
    guest = guests.computing("tiny", "x")
    with ThreadPoolExecutor(1) as thread:
        shown = threading.Event()
        asked = thread.submit(rig.app, guest, on_show=shown.set)
        assert shown.wait(60)
        rig.trials.close()
        with pytest.raises(Unavailable, match="the box stops; try again later"):
            asked.result(60)

    with pytest.raises(Unavailable, match="the box stops"):
        rig.app(guests.STEADY)
