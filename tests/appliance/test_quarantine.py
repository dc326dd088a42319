"""Strikes over restarts, and what is refused then."""

from pathlib import Path

import pytest

from appliance.errors import Conflict
from appliance.marking import Guard
from appliance.marks import Doing, Mark, Marks, text_of
from appliance.quarantine import Quarantine
from appliance.records import Frame
from appliance.suspicion import Kind, Subject
from tests.appliance.deploybench import Bench, answer, deploy
from tests.appliance.workshop import Workshop

APP = Subject(Kind.APP, "cat", "v1")


def opened(folder: Path, now: float = 100.0) -> Quarantine:
    """Open what a start of the box would."""
    quarantine = Quarantine(folder / "quarantine.json", lambda: now)
    quarantine.open()
    return quarantine


def strike(folder: Path, subject: Subject, times: int, first: float = 100.0) -> Quarantine:
    """Die so often, starting anew each time."""
    for at in range(times):
        quarantine = opened(folder, first + at)
        mark = Mark(Doing.APP, subject.name, subject.version)
        quarantine.judge((mark,), "crash SIGSEGV", now_s=200.0)
    return opened(folder, 200.0)


def test_strikes_and_quarantines_outlive_restarts(tmp_path: Path) -> None:
    """Two make a suspect, the third is one too many."""
    twice = strike(tmp_path, APP, 2)
    assert (None, True) == (twice.sentence(APP), twice.is_suspect(APP))

    found = strike(tmp_path, APP, 1, first=102.0).sentence(APP)
    assert found is not None
    assert "app cat: quarantined, the box ended 3 times" in found.reason
    assert "appliance enable cat" in found.reason
    assert "SIGSEGV" in found.reason


def test_a_release_forgets_all(tmp_path: Path) -> None:
    """Also for the next start; a second one has nothing to do."""
    quarantine = strike(tmp_path, APP, 3)
    assert [True, False] == [quarantine.release(Kind.APP, "cat") for _ in range(2)]

    assert opened(tmp_path).sentence(APP) is None
    assert not opened(tmp_path).is_suspect(APP)


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"strikes": [1], "quarantined": []}', "[" * 20_000,
     '{"strikes": [["app", "a", "b", [1%s]]], "quarantined": []}' % ("0" * 400)],
    ids=["cut", "list", "shape", "nested", "huge"],
)  # fmt: skip
def test_a_damaged_file_costs_only_itself(tmp_path: Path, text: str) -> None:
    """The box starts without, and says so; the file is kept beside."""
    (tmp_path / "quarantine.json").write_text(text)
    first = opened(tmp_path)

    assert (None, True) == (first.sentence(APP), "quarantine.json was damaged" in first.problem())
    (aside,) = tmp_path.glob("quarantine.json.corrupt-*")
    assert text == aside.read_text()
    assert "" == opened(tmp_path).problem()
    assert strike(tmp_path, APP, 3).sentence(APP) is not None


def test_an_app_that_crashed_the_box_is_not_brought_up(workshop: Workshop, tmp_path: Path) -> None:
    """The others are; its own reason is shown; another version, or enabling it, lets it answer."""
    bench = Bench(workshop, tmp_path)
    bench.deployer.restore()
    version = deploy(bench, "bad", "cat")
    deploy(bench, "good", "dog")
    quarantine = strike(tmp_path, Subject(Kind.APP, "cat", version), 3)
    bench = Bench(workshop, tmp_path, Guard(Marks(), quarantine))

    bench.deployer.restore()

    assert ("dog",) == bench.table.names()
    failure = bench.deployer.standing("cat").failure
    assert failure is not None
    assert "quarantined" in failure.reason
    with pytest.raises(Conflict, match="app cat: quarantined"):
        deploy(bench, "bad", "cat")
    deploy(bench, "better", "cat")
    with pytest.raises(Conflict, match="app cat: quarantined"):
        bench.deployer.rollback("cat", version)
    assert ("cat", "dog") == bench.table.names()


def test_enabling_lifts_it(workshop: Workshop, tmp_path: Path, frame: Frame) -> None:
    """The operator says that the same bytes may try again."""
    bench = Bench(workshop, tmp_path)
    bench.deployer.restore()
    version = deploy(bench, "bad", "cat")
    quarantine = strike(tmp_path, Subject(Kind.APP, "cat", version), 3)
    bench = Bench(workshop, tmp_path, Guard(Marks(), quarantine))
    bench.deployer.restore()

    assert version == bench.deployer.enable("cat").version
    assert answer("bad") == bench.labels("cat", frame)


def test_what_runs_is_marked(workshop: Workshop, tmp_path: Path) -> None:
    """While it is brought up; afterwards nothing is."""
    guard = Guard(Marks(), opened(tmp_path))
    guard.open(tmp_path, "")
    with guard.bringing_up("cat", "v1"):
        (mark,) = guard.marks.under_way()

    assert (Doing.APP, "cat", "v1") == (mark.doing, mark.name, mark.version)
    assert () == guard.marks.under_way()


def test_a_run_that_takes_for_ever_is_found(tmp_path: Path) -> None:
    """A load is none: it may take minutes."""
    guard = Guard(Marks(), opened(tmp_path))
    guard.open(tmp_path, "")
    guard.marks.begin(Doing.LOAD, text_of("dogs:1", "bb"))
    assert guard.stuck(-1.0) is None

    guard.marks.begin(Doing.RUN, text_of("cats:1", "aa"))
    stuck = guard.stuck(-1.0)
    assert stuck is not None
    assert (None, "cats:1") == (guard.stuck(1000.0), stuck.name)
