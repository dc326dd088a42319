"""An app's log: bounded in rate, in length and in number."""

import logging

import pytest

from appliance.guests.journal import KEPT_LINES, MAX_LINE_LENGTH, Journal


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_lines_are_kept_with_time_and_level() -> None:
    """Oldest first."""
    journal = Journal("a", 10, Clock())
    journal.write(logging.INFO, "one")
    journal.write(logging.ERROR, "two")

    assert [(100.0, "info", "one"), (100.0, "error", "two")] == [
        (line.at, line.level, line.text) for line in journal.tail()
    ]


def test_lines_over_the_rate_are_dropped_and_counted() -> None:
    """A second's worth may come at once; the next second begins afresh."""
    clock = Clock()
    journal = Journal("a", 2, clock)
    for number in range(5):
        journal.write(logging.INFO, str(number))
    clock.now = 101.0
    journal.write(logging.INFO, "later")

    assert ["0", "1", "later"] == [line.text for line in journal.tail()]
    assert 3 == journal.dropped


def test_dropped_lines_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    """One line says how many are missing, when the next one comes through."""
    clock = Clock()
    journal = Journal("a", 1, clock)
    with caplog.at_level(logging.INFO):
        for _ in range(4):
            journal.write(logging.INFO, "x")
        clock.now = 101.0
        journal.write(logging.INFO, "y")

    assert any("dropped=3" in message for message in caplog.messages)


def test_only_the_last_lines_are_kept() -> None:
    """Memory is bounded however long the app lives."""
    clock = Clock()
    journal = Journal("a", 1000, clock)
    for number in range(KEPT_LINES + 5):
        journal.write(logging.INFO, str(number))

    assert (KEPT_LINES, "5") == (len(journal.tail()), journal.tail()[0].text)


def test_a_long_line_is_cut() -> None:
    """What a guest says cannot fill the log by one line either."""
    journal = Journal("a", 10, Clock())
    journal.write(logging.INFO, "x" * 10 * MAX_LINE_LENGTH)

    assert MAX_LINE_LENGTH == len(journal.tail()[0].text)


def test_printed_bytes_become_lines() -> None:
    """Empty ones are dropped, what is no UTF-8 is replaced."""
    journal = Journal("a", 10, Clock())
    journal.write_output(logging.WARNING, b"one\n\n  \ntwo \xff\n")

    assert ["one", "two \ufffd"] == [line.text for line in journal.tail()]


def test_no_rate_means_no_lines() -> None:
    """log_lines_per_s = 0 silences an app."""
    journal = Journal("a", 0, Clock())
    journal.write(logging.INFO, "x")

    assert ((), 1) == (journal.tail(), journal.dropped)
