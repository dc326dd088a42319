"""The phase of the box: forward only, and whoever asked hears of the stop."""

import logging

import pytest

from appliance.errors import Unavailable
from appliance.readiness import Phase, Readiness


def test_it_is_ready_between_begin_and_stop() -> None:
    """Starting, ready, stopping."""
    readiness = Readiness()
    phases = [readiness.phase]
    readiness.begin()
    phases.append(readiness.phase)
    readiness.stop()
    phases.append(readiness.phase)

    assert [Phase.STARTING, Phase.READY, Phase.STOPPING] == phases


def test_a_stop_during_the_start_stays_one() -> None:
    """A box that is told to stop never says that it is ready."""
    readiness = Readiness()
    readiness.stop()
    readiness.begin()

    assert (Phase.STOPPING, False) == (readiness.phase, readiness.is_ready)


def test_callbacks_are_called_once_each() -> None:
    """Those that were forgotten are not; those that come late are called at once."""
    readiness, heard = Readiness(), []
    readiness.on_stopping(lambda: heard.append("kept"))
    forget = readiness.on_stopping(lambda: heard.append("forgotten"))
    forget()
    forget()
    readiness.stop()
    readiness.stop()
    readiness.on_stopping(lambda: heard.append("late"))

    assert ["kept", "late"] == heard


def test_a_callback_that_fails_keeps_nobody_from_hearing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is logged."""
    readiness, heard = Readiness(), []
    readiness.on_stopping(lambda: 1 / 0)
    readiness.on_stopping(lambda: heard.append("second"))
    with caplog.at_level(logging.ERROR):
        readiness.stop()

    assert (["second"], ["callback at the stop failed"]) == (heard, caplog.messages)


def test_check_says_what_the_box_does_instead() -> None:
    """For a route that must not work yet, or no more."""
    readiness = Readiness()
    with pytest.raises(Unavailable, match="the box is starting"):
        readiness.check()
    readiness.begin()
    readiness.check()
    readiness.stop()
    with pytest.raises(Unavailable, match="the box is stopping"):
        readiness.check()
