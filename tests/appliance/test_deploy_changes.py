"""Rolling back, switching off and deleting: what answers, what is on disk, what a restart finds."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from appliance import files, versions
from appliance.deploy import Deployed, Deployer
from appliance.errors import BadGuest, Conflict, NotFound, Unavailable
from appliance.files import read_pointer
from appliance.records import Frame
from appliance.standings import AppState
from tests.appliance import watguests as guests
from tests.appliance.deploybench import Bench, answer, deploy, restarted
from tests.appliance.workshop import Workshop, bundle, put_model

# -- rollback --------------------------------------------------------------------------------------


def test_a_rollback_lets_the_version_before_answer(bench: Bench, frame: Frame) -> None:
    """On disk too; and twice is there and back again."""
    old, new = deploy(bench, "old"), deploy(bench, "new")

    assert Deployed("cat", old, True) == bench.deployer.rollback("cat")
    assert answer("old") == bench.labels("cat", frame)
    assert old == read_pointer(bench.folder / "cat" / "current")
    assert Deployed("cat", new, True) == bench.deployer.rollback("cat")
    assert answer("new") == bench.labels("cat", frame)


def test_the_version_before_is_the_one_that_answered_last(bench: Bench) -> None:
    """A version deployed again counts from then; the clock here stands still."""
    first, second, third = deploy(bench, "1"), deploy(bench, "2"), deploy(bench, "3")
    assert first == deploy(bench, "1")

    listed = bench.deployer.versions("cat")
    assert [first, third, second] == [version.version for version in listed]
    assert [True, False, False] == [version.is_current for version in listed]
    assert third == bench.deployer.rollback("cat").version


def test_a_version_may_be_named(bench: Bench, frame: Frame) -> None:
    """Any of those kept; the one that answers already is not new."""
    oldest, _, newest = deploy(bench, "1"), deploy(bench, "2"), deploy(bench, "3")

    assert Deployed("cat", oldest, True) == bench.deployer.rollback("cat", oldest)
    assert answer("1") == bench.labels("cat", frame)
    assert Deployed("cat", oldest, False) == bench.deployer.rollback("cat", oldest)
    assert newest in {version.version for version in bench.deployer.versions("cat")}


@pytest.mark.parametrize(
    "version", ["", "..", "../dog/1", "current", ".", "\0", "x" * 5000, "000000000000"]
)
def test_only_a_version_on_disk_can_be_named(bench: Bench, version: str) -> None:
    """What a client writes never becomes a path."""
    deploy(bench, "old")
    with pytest.raises(NotFound, match=r"app cat: version .* not found; versions on this box: "):
        bench.deployer.rollback("cat", version)

    assert () == bench.deployer.failures()


def test_with_one_version_there_is_no_way_back(bench: Bench) -> None:
    """The sentence says how many are kept."""
    deploy(bench, "only")
    with pytest.raises(Conflict, match="no version to go back to; the box keeps the last 3"):
        bench.deployer.rollback("cat")


def test_a_damaged_version_is_not_rolled_back_to(bench: Bench, frame: Frame) -> None:
    """The current one goes on answering, and the reason is kept."""
    old = deploy(bench, "old")
    new = deploy(bench, "new")
    (bench.folder / "cat" / old / "app.wasm").write_bytes(guests.labelled("evil"))
    with pytest.raises(BadGuest, match="damaged on disk"):
        bench.deployer.rollback("cat")

    assert answer("new") == bench.labels("cat", frame)
    assert new == read_pointer(bench.folder / "cat" / "current")
    standing = bench.deployer.standing("cat")
    assert (AppState.LIVE, new) == (standing.state, standing.version)
    assert standing.failure is not None
    assert "damaged" in standing.failure.reason


def test_a_disk_that_refuses_a_rollback_leaves_the_current_one(
    bench: Bench, frame: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What answers is what the pointer names."""
    deploy(bench, "old")
    new = deploy(bench, "new")

    def full(*_: object) -> None:
        raise Unavailable("cannot write current: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(versions, "replace_pointer", full)
        with pytest.raises(Unavailable, match="No space left"):
            bench.deployer.rollback("cat")

    assert answer("new") == bench.labels("cat", frame)
    assert new == read_pointer(bench.folder / "cat" / "current")


def test_frames_under_way_are_finished_by_the_version_that_began_them(
    bench: Bench, workshop: Workshop, frame: Frame
) -> None:
    """While a frame computes in the new version, the rollback already answers others."""
    arrived, gate = threading.Event(), threading.Event()

    def wait(_: float) -> None:
        arrived.set()
        assert gate.wait(30)

    put_model(workshop.models, delay_s=1)
    workshop.gate = wait
    deploy(bench, "old")
    bench.deployer.deploy(bundle(guests.computing("tiny", "new")), "cat")
    with ThreadPoolExecutor(1) as thread:
        under_way = thread.submit(bench.labels, "cat", frame)
        assert arrived.wait(30)
        bench.deployer.rollback("cat")
        assert answer("old") == bench.labels("cat", frame)
        assert 1 == workshop.backend.open_graphs
        gate.set()
        assert (b'{"label": "new"}',) == under_way.result()

    assert 0 == workshop.backend.open_graphs


def test_changes_of_many_threads_leave_disk_and_table_agreed(bench: Bench, frame: Frame) -> None:
    """Rollbacks, deploys and frames at once: every frame is answered by one version or another."""
    for label in ("1", "2", "3"):
        deploy(bench, label)

    def change(number: int) -> tuple[bytes, ...]:
        bench.deployer.rollback("cat") if number % 3 else deploy(bench, str(number % 4))
        return bench.labels("cat", frame)

    with ThreadPoolExecutor(4) as threads:
        answers = set(threads.map(change, range(24)))

    assert answers <= {answer(str(number)) for number in range(4)}
    with bench.table.using("cat") as app:
        assert app.version == read_pointer(bench.folder / "cat" / "current")


# -- disable and enable ----------------------------------------------------------------------------


def test_a_disabled_app_says_how_to_enable_it(
    bench: Bench, workshop: Workshop, tmp_path: Path, frame: Frame
) -> None:
    """Before and after a restart; its version and its files stay."""
    version = deploy(bench, "a")
    bench.deployer.disable("cat")
    again = restarted(workshop, tmp_path)

    for one in (bench, again):
        with pytest.raises(Conflict, match=r"app cat: disabled, .* `appliance enable cat`"):
            one.labels("cat", frame)
        standing = one.deployer.standing("cat")
        assert (AppState.DISABLED, version) == (standing.state, standing.version)
    assert Deployed("cat", version, True) == again.deployer.enable("cat")
    assert answer("a") == again.labels("cat", frame)
    third = restarted(workshop, tmp_path)
    assert answer("a") == third.labels("cat", frame)


def test_disabling_and_enabling_twice_is_once(bench: Bench) -> None:
    """Both say what is, not what was done."""
    version = deploy(bench, "a")
    bench.deployer.disable("cat")
    bench.deployer.disable("cat")

    assert AppState.DISABLED is bench.deployer.standing("cat").state
    assert Deployed("cat", version, True) == bench.deployer.enable("cat")
    assert Deployed("cat", version, False) == bench.deployer.enable("cat")


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda d: d.deploy(bundle(guests.labelled("old")), "cat"), id="deploy"),
        pytest.param(
            lambda d: d.deploy(bundle(guests.labelled("new")), "cat"), id="the same deploy"
        ),
        pytest.param(lambda d: d.rollback("cat"), id="rollback"),
    ],
)
def test_what_is_deployed_or_rolled_back_to_answers(
    bench: Bench, workshop: Workshop, tmp_path: Path, frame: Frame,
    change: Callable[[Deployer], Deployed],
) -> None:  # fmt: skip
    """Somebody wants it to run; the app is enabled, restarts included."""
    deploy(bench, "old")
    deploy(bench, "new")
    bench.deployer.disable("cat")
    done = change(bench.deployer)

    assert done.is_new
    assert AppState.LIVE is bench.deployer.standing("cat").state
    again = restarted(workshop, tmp_path)
    assert bench.labels("cat", frame) == again.labels("cat", frame)


def test_an_app_that_cannot_come_up_stays_disabled(bench: Bench) -> None:
    """Enabling goes through the checks of a deploy."""
    version = deploy(bench, "a")
    bench.deployer.disable("cat")
    (bench.folder / "cat" / version / "app.wasm").unlink()
    with pytest.raises(NotFound, match=r"app\.wasm: no such file"):
        bench.deployer.enable("cat")

    standing = bench.deployer.standing("cat")
    assert AppState.DISABLED is standing.state
    assert standing.failure is not None


def test_a_frame_under_way_is_finished_though_its_app_is_disabled(
    bench: Bench, workshop: Workshop, frame: Frame
) -> None:
    """Then its graphs are closed."""
    arrived, gate = threading.Event(), threading.Event()

    def wait(_: float) -> None:
        arrived.set()
        assert gate.wait(30)

    put_model(workshop.models, delay_s=1)
    workshop.gate = wait
    bench.deployer.deploy(bundle(guests.computing("tiny", "done")), "cat")
    with ThreadPoolExecutor(1) as thread:
        under_way = thread.submit(bench.labels, "cat", frame)
        assert arrived.wait(30)
        bench.deployer.disable("cat")
        gate.set()
        assert (b'{"label": "done"}',) == under_way.result()

    assert 0 == workshop.backend.open_graphs


# -- delete ----------------------------------------------------------------------------------------


def test_a_deleted_app_is_gone(
    bench: Bench, workshop: Workshop, tmp_path: Path, frame: Frame
) -> None:
    """From the table, the disk and the next start; the name is free."""
    deploy(bench, "a")
    deploy(bench, "b", "dog")
    bench.deployer.delete("cat")

    with pytest.raises(NotFound, match="app cat: not found; apps on this box: dog"):
        bench.labels("cat", frame)
    assert ["dog"] == sorted(path.name for path in bench.folder.iterdir())
    again = restarted(workshop, tmp_path)
    assert ["dog"] == [standing.name for standing in again.deployer.standings()]
    assert bench.deployer.deploy(bundle(guests.labelled("c")), "cat").is_new


@pytest.mark.parametrize("is_live", [True, False], ids=["disabled before", "failed before"])
def test_what_does_not_answer_can_be_deleted(bench: Bench, *, is_live: bool) -> None:
    """A failed name is cleared, a disabled one is not remembered as such."""
    if is_live:
        deploy(bench, "a")
        bench.deployer.disable("cat")
    else:
        with pytest.raises(BadGuest):
            bench.deployer.deploy(bundle(guests.TRUNCATED), "cat")
    bench.deployer.delete("cat")

    assert ((), frozenset(), set()) == (
        bench.deployer.standings(), bench.table.disabled(), bench.files()
    )  # fmt: skip


def test_a_disk_that_refuses_to_delete_leaves_the_app(
    bench: Bench, frame: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must not answer no more now and be back after a restart."""
    deploy(bench, "a")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse)
        with pytest.raises(Unavailable, match="Permission denied"):
            bench.deployer.delete("cat")

    assert answer("a") == bench.labels("cat", frame)


def test_files_that_stay_behind_are_swept_at_the_next_start(
    bench: Bench, workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the name is free the app is deleted, whatever the disk says to the rest."""
    deploy(bench, "a")

    def refuse(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(files.shutil, "rmtree", refuse)
        bench.deployer.delete("cat")

    assert () == bench.deployer.standings()
    assert 1 == len(list(bench.folder.iterdir()))
    restarted(workshop, tmp_path)
    assert [] == list(bench.folder.iterdir())


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda d, n: d.rollback(n), id="rollback"),
        pytest.param(lambda d, n: d.enable(n), id="enable"),
        pytest.param(lambda d, n: d.disable(n), id="disable"),
        pytest.param(lambda d, n: d.delete(n), id="delete"),
    ],
)
@pytest.mark.parametrize("name", ["dog", "..", "../apps/cat", ".tmp-1", ""])
def test_an_app_that_is_not_there_cannot_be_changed(
    bench: Bench, change: Callable[[Deployer, str], object], name: str
) -> None:
    """And a name never becomes a path before it is known."""
    deploy(bench, "a")
    (bench.folder / ".tmp-1").mkdir()
    before = bench.files()
    with pytest.raises(NotFound, match="not found; apps on this box: cat"):
        change(bench.deployer, name)

    assert before == bench.files()


@pytest.mark.parametrize("change", [Deployer.enable, Deployer.disable])
def test_an_app_that_never_was_live_has_no_switch(
    bench: Bench, change: Callable[[Deployer, str], object]
) -> None:
    """There is nothing that could answer."""
    with pytest.raises(BadGuest):
        bench.deployer.deploy(bundle(guests.TRUNCATED), "cat")
    with pytest.raises(Conflict, match="app cat: no version of it was ever live"):
        change(bench.deployer, "cat")
