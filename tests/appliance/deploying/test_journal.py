"""What is on record: on disk before anything happens, whatever became of the file."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.deploying import journal as module
from appliance.deploying import lines
from appliance.deploying.journal import KEPT_DEPLOYS, DeployJournal
from appliance.deploying.probation import Probation, Verdict
from appliance.deploying.stages import Asker, Deploy, Kind, Stage
from appliance.errors import Unavailable

WATCHED = Probation(10)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "deploys.jsonl"


def opened(file: Path) -> DeployJournal:
    """Open what a start of the box would."""
    made = DeployJournal(file, lambda: 1000.0)
    made.open()
    return made


def begin(journal: DeployJournal, version: str = "v1", app: str = "cat") -> Deploy:
    return journal.begin(
        app, version, Kind.DEPLOY, Asker.INBOX, before="v0", had_files=False, probation=WATCHED
    )


def test_all_of_a_deploy_is_there_after_a_restart(file: Path) -> None:
    """Without an end of the process, let alone an orderly one."""
    journal = opened(file)
    first, second = begin(journal), begin(journal, "v2")
    journal.step(first.id, Stage.VALIDATED)
    journal.step(first.id, Stage.FAILED, "no wasm")
    journal.step(second.id, Stage.LIVE)
    journal.judge(second.id, WATCHED.crashed(), "the service ended")

    assert journal.of("cat") == opened(file).of("cat")
    newest, oldest = opened(file).of("cat")
    assert (Stage.FAILED, "no wasm", False) == (oldest.stage, oldest.reason, oldest.had_files)
    assert (Verdict.CRASHED, "v0") == (newest.probation.verdict, newest.before)


def test_a_deploy_is_on_disk_when_it_begins(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forced there, the folder's entry included; later stages do not wait for the disk."""
    synced: list[str] = []
    real = os.fsync

    def sync(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    journal = opened(file)
    number = begin(journal).id
    assert [str(file), str(file.parent)] == synced
    journal.step(number, Stage.VALIDATED)
    journal.judge(number, WATCHED.after(None))
    assert 2 == len(synced)
    journal.judge(number, WATCHED.crashed())

    assert 3 == len(synced)


def test_a_disk_that_refuses_refuses_the_deploy(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a line is taken back, and nothing is remembered; later ones are as ever."""
    journal = opened(file)
    begin(journal)
    before = file.read_bytes()
    real = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, line: real(descriptor, line[:20]))
        with pytest.raises(Unavailable, match=r"cannot write deploys\.jsonl: No space left"):
            begin(journal, "v2")

    assert before == file.read_bytes()
    assert ["v1"] == [deploy.version for deploy in journal.of("cat")]
    begin(journal, "v3")
    assert ["v3", "v1"] == [deploy.version for deploy in opened(file).of("cat")]


def test_a_stage_that_cannot_be_written_costs_its_line(file: Path) -> None:
    """What is under way goes on; the box knows all the same."""
    journal = opened(file)
    number = begin(journal).id
    file.unlink()
    file.mkdir()
    journal.step(number, Stage.LIVE)
    journal.judge(number, WATCHED.crashed())
    journal.forget("dog")
    journal.tidy()

    (deploy,) = journal.of("cat")
    assert (Stage.LIVE, Verdict.CRASHED) == (deploy.stage, deploy.probation.verdict)


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_torn_tail_costs_itself(file: Path, cut: int) -> None:
    """And the next line is not glued to it."""
    journal = opened(file)
    begin(journal)
    begin(journal, "v2")
    file.write_bytes(file.read_bytes()[:-cut])
    again = opened(file)
    begin(again, "v3")

    versions = [deploy.version for deploy in opened(file).of("cat")]
    assert ["v3", "v1"] == versions or (cut == 1 and ["v3", "v2", "v1"] == versions)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda file: file.write_bytes(b"\0\xff" * 3000), id="noise"),
        pytest.param(lambda file: file.write_bytes(b"[]\n1\n{}\n\n{"), id="other JSON"),
        pytest.param(lambda file: file.unlink(), id="missing"),
        pytest.param(lambda file: (file.unlink(), file.mkdir()), id="a folder"),
        pytest.param(lambda file: (file.unlink(), os.mkfifo(file)), id="a FIFO"),
        pytest.param(lambda file: os.truncate(file, module.MAX_BYTES + 1), id="huge"),
    ],
)
def test_a_lost_history_is_begun_anew(file: Path, damage: Callable[[Path], object]) -> None:
    """Nothing is raised, and deploys go on."""
    begin(opened(file))
    damage(file)
    again = opened(file)
    begin(again, "v2")

    assert ["v2"] == [deploy.version for deploy in opened(file).of("cat")]


def test_the_file_is_bounded_and_keeps_what_counts(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last deploys of each app, and what is live, however long ago and whoever crowds it."""
    monkeypatch.setattr(module, "_SLACK_BYTES", 4096)
    monkeypatch.setattr(module, "KEPT_APPS", 5)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    journal = opened(file)
    live = begin(journal, "old")
    journal.step(live.id, Stage.LIVE)
    for number in range(200):
        journal.step(begin(journal, f"v{number}").id, Stage.FAILED, "x" * 100)
    for number in range(100):
        journal.step(begin(journal, "v1", f"crowd-{number}").id, Stage.FAILED, "x" * 100)
    journal.tidy()

    kept = opened(file).of("cat")
    assert ("old", Stage.LIVE, KEPT_DEPLOYS + 1) == (kept[-1].version, kept[-1].stage, len(kept))
    assert ("cat", "crowd-96", "crowd-97", "crowd-98", "crowd-99") == opened(file).apps()
    assert file.stat().st_size < 20_000


def test_a_forgotten_app_is_gone(file: Path) -> None:
    """The others are not; what comes late about it is ignored."""
    journal = opened(file)
    number = begin(journal).id
    begin(journal, app="dog")
    journal.forget("cat")
    journal.step(number, Stage.LIVE)

    assert ("dog",) == journal.apps() == opened(file).apps()
    assert () == opened(file).of("cat")


def test_the_last_frame_may_end_at_once(file: Path) -> None:
    """It drained, however short that was."""
    journal = opened(file)
    number = begin(journal).id
    journal.step(number, Stage.LIVE)
    journal.step(number, Stage.GONE)
    journal.step(number, Stage.DRAINING)

    (deploy,) = opened(file).of("cat")
    assert [Stage.LIVE, Stage.DRAINING, Stage.GONE] == [s.stage for s in deploy.steps][1:]


@given(st.lists(st.binary(max_size=60) | st.sampled_from([
    b'{"id":1,"app":"cat","version":"v","before":"","kind":"deploy","by":"api","steps":'
    b'[["received",1e999]],"had_files":false,"reason":"","probation":[1,0,0,null]}',
    b'{"id":1,"app":"\\ud800","version":"v","before":"","kind":"deploy","by":"api","steps":'
    b'[["received",1]],"had_files":false,"reason":"","probation":[1,0,0,"passed"]}',
    b'{"id":1,"stage":"live","at":2,"reason":""}', b'{"id":1,"stage":"live","at":null,"reason":1}',
    b'{"id":1,"probation":[1,1e400,0,null],"reason":""}', b'{"id":[],"stage":1}', b'{"forget":[]}',
])))  # fmt: skip
def test_nothing_in_the_file_can_raise(content: list[bytes]) -> None:
    """And what is made of it can be shown and written again."""
    deploys, _ = lines.read(content)
    written = [lines.first_line(deploy) for deploy in deploys.values()]

    assert (deploys, 0) == lines.read(written)
