"""What a restart makes of deploys that it interrupted, and of a record that is lost."""

from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.deploy import JOURNAL
from appliance.deploying.stages import Asker, Kind, Stage
from appliance.errors import BadGuest
from appliance.records import Frame
from appliance.standings import AppState
from tests.appliance import watguests as guests
from tests.appliance.deploybench import answer, deploy, restarted
from tests.appliance.workshop import Workshop, bundle


def test_an_interrupted_deploy_has_failed(workshop: Workshop, tmp_path: Path, frame: Frame) -> None:
    """The old version answers and the reason is shown; what it wrote is removed."""
    bench = restarted(workshop, tmp_path)
    deploy(bench, "old")
    before = bench.files()
    new = bundle(guests.labelled("new"))
    shelf, journal = bench.deployer._shelf, bench.deployer._journal
    journal.begin("cat", new.version, Kind.DEPLOY, Asker.API, before="x", had_files=False)
    shelf.write("cat", new)
    again = restarted(workshop, tmp_path)

    assert (answer("old"), before) == (again.labels("cat", frame), again.files())
    last, first = again.deployer.history("cat")
    assert (Stage.FAILED, Stage.LIVE) == (last.stage, first.stage)
    assert "interrupted by a restart; try again" == last.reason
    failure = again.deployer.standing("cat").failure
    assert failure is not None
    assert last.reason == failure.reason


def test_one_interrupted_after_the_pointer_is_live(
    workshop: Workshop, tmp_path: Path, frame: Frame
) -> None:
    """And the version before has gone with the process."""
    bench = restarted(workshop, tmp_path)
    deploy(bench, "old")
    new = bundle(guests.labelled("new"))
    shelf, journal = bench.deployer._shelf, bench.deployer._journal
    journal.begin("cat", new.version, Kind.DEPLOY, Asker.API, before="x", had_files=False)
    shelf.write("cat", new)
    shelf.put_in_front("cat", new.version)
    again = restarted(workshop, tmp_path)

    assert answer("new") == again.labels("cat", frame)
    assert [Stage.LIVE, Stage.GONE] == [e.stage for e in again.deployer.history("cat")]
    assert () == again.deployer.failures()


def test_a_failure_is_shown_after_a_restart(workshop: Workshop, tmp_path: Path) -> None:
    """Also of an app that never was; until it is deployed well, or deleted for good."""
    with pytest.raises(BadGuest):
        restarted(workshop, tmp_path).deployer.deploy(bundle(guests.TRUNCATED), "cat")
    again = restarted(workshop, tmp_path)
    (standing,) = again.deployer.standings()
    assert ("cat", AppState.FAILED) == (standing.name, standing.state)
    again.deployer.delete("cat")

    assert () == restarted(workshop, tmp_path).deployer.standings()


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda file: file.unlink(), id="lost"),
        pytest.param(lambda file: file.write_bytes(b"\0" * 999), id="noise"),
        pytest.param(lambda file: (file.unlink(), file.mkdir()), id="a folder"),
    ],
)
def test_a_lost_journal_costs_no_app(
    workshop: Workshop, tmp_path: Path, frame: Frame, damage: Callable[[Path], object]
) -> None:
    """Every version is still there and answers; a record is begun with what is live."""
    bench = restarted(workshop, tmp_path)
    deploy(bench, "old")
    deploy(bench, "new")
    before = bench.files()
    damage(tmp_path / JOURNAL)
    again = restarted(workshop, tmp_path)

    assert (answer("new"), before) == (again.labels("cat", frame), again.files())
    (entry,) = again.deployer.history("cat")
    assert (Kind.START, Stage.LIVE) == (entry.kind, entry.stage)
    assert entry == restarted(workshop, tmp_path).deployer.history("cat")[0]
    again.deployer.rollback("cat")
    assert answer("old") == again.labels("cat", frame)


def test_a_journal_of_lies_touches_nothing_outside(workshop: Workshop, tmp_path: Path) -> None:
    """Names in it become no paths."""
    (tmp_path / "models" / "m").mkdir(parents=True)
    bench = restarted(workshop, tmp_path)
    for app in ("../models", "..", ""):
        bench.deployer._journal.begin(app, "m", Kind.DEPLOY, Asker.API, had_files=False)
    restarted(workshop, tmp_path)

    assert (tmp_path / "models" / "m").is_dir()


def test_a_broken_app_is_on_record_once(workshop: Workshop, tmp_path: Path) -> None:
    """However often the box starts; and it is well again when it comes up."""
    bench = restarted(workshop, tmp_path)
    version = deploy(bench, "a")
    guest = bench.folder / "cat" / version / "app.wasm"
    content = guest.read_bytes()
    guest.unlink()
    for _ in range(3):
        broken = restarted(workshop, tmp_path)
    assert [Kind.START, Kind.DEPLOY] == [e.kind for e in broken.deployer.history("cat")]
    assert AppState.FAILED is broken.deployer.standing("cat").state
    guest.write_bytes(content)
    again = restarted(workshop, tmp_path)

    assert (AppState.LIVE, None) == (
        again.deployer.standing("cat").state, again.deployer.standing("cat").failure
    )  # fmt: skip


def test_a_rollback_interrupted_removes_nothing(workshop: Workshop, tmp_path: Path) -> None:
    """Its version was on disk before."""
    bench = restarted(workshop, tmp_path)
    old = deploy(bench, "old")
    deploy(bench, "new")
    before = bench.files()
    bench.deployer._journal.begin("cat", old, Kind.ROLLBACK, Asker.API)
    again = restarted(workshop, tmp_path)

    assert Stage.FAILED is again.deployer.history("cat")[0].stage
    assert before == again.files()
