"""Marks in a file that is read after the process has gone."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from appliance.marks import SLOTS, Doing, Mark, Marks, _marks_in, text_of
from tests.appliance.service import ROOT


def names(marks: tuple[Mark, ...]) -> list[tuple[Doing, str, str]]:
    """Leave the time out."""
    return [(mark.doing, mark.name, mark.version) for mark in marks]


def test_what_was_under_way_is_found_by_the_next(tmp_path: Path) -> None:
    """What had ended is not."""
    before = Marks()
    assert () == before.open(tmp_path / "inflight")
    before.end(before.begin(Doing.LOAD, text_of("done:1", "00")))
    before.begin(Doing.RUN, text_of("cats:1", "aa"))
    before.begin(Doing.APP, text_of("über", "v1"))

    left = Marks().open(tmp_path / "inflight")

    assert {(Doing.RUN, "cats:1", "aa"), (Doing.APP, "über", "v1")} == set(names(left))


def test_a_killed_process_leaves_its_marks(tmp_path: Path) -> None:
    """The kernel keeps the memory."""
    program = """
import os, sys
from pathlib import Path
from appliance.marks import Doing, Marks, text_of
marks = Marks()
marks.open(Path(sys.argv[1]))
marks.begin(Doing.RUN, text_of("cats:1", "aa"))
os.abort()
"""
    command = [sys.executable, "-c", program, str(tmp_path / "inflight")]
    assert -signal.SIGABRT == subprocess.run(command, check=False, cwd=ROOT).returncode

    assert [(Doing.RUN, "cats:1", "aa")] == names(Marks().open(tmp_path / "inflight"))


def test_a_close_leaves_none(tmp_path: Path) -> None:
    """And what begins after it is not marked."""
    marks = Marks()
    marks.open(tmp_path / "inflight")
    marks.begin(Doing.RUN, text_of("cats:1", "aa"))
    marks.close()
    marks.end(marks.begin(Doing.RUN, text_of("late:1", "aa")))

    assert () == Marks().open(tmp_path / "inflight")


def test_more_than_there_are_slots_run_unmarked(tmp_path: Path) -> None:
    """None fails; a slot that is given back is used again."""
    marks = Marks()
    marks.open(tmp_path / "inflight")
    taken = [marks.begin(Doing.RUN, text_of(str(i), "")) for i in range(SLOTS + 1)]
    marks.end(taken[0])
    assert 0 == taken[-1]

    assert taken[0] == marks.begin(Doing.RUN, text_of("again", ""))
    assert SLOTS == len(marks.under_way())


def test_a_damaged_file_says_nothing(tmp_path: Path) -> None:
    """It is replaced."""
    (tmp_path / "inflight").write_bytes(os.urandom(5000))

    assert () == Marks().open(tmp_path / "inflight")


def test_without_a_disk_there_are_no_marks(tmp_path: Path) -> None:
    """And no failure."""
    marks = Marks()
    assert () == marks.open(tmp_path / "absent" / "inflight")

    assert 0 == marks.begin(Doing.RUN, text_of("cats:1", "aa"))


def test_long_names_are_cut() -> None:
    """A slot has room for what comes after."""
    assert 247 >= len(text_of("n" * 500, "v" * 500))


@given(st.binary(max_size=600), st.integers(0, 600))
def test_no_slot_of_noise_keeps_a_box_from_starting(noise: bytes, at: int) -> None:
    """After a crash any byte of the file may be anything; what makes no sense is skipped."""
    content = b"appliance marks1" + bytes(512)
    marks = _marks_in(content[: 16 + at] + noise + content[16 + at :])

    assert all(isinstance(mark, Mark) for mark in marks)


def test_a_slot_without_its_ends_is_skipped() -> None:
    """A name that runs to the end of the slot was never written by us."""
    assert () == _marks_in(b"appliance marks1" + bytes([Doing.RUN]) + b"x" * 255)
