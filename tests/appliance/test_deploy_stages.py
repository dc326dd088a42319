"""What a deploy goes through, on record and shown while it runs."""

import gc
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from appliance import versions
from appliance.bundles import Bundle
from appliance.deploy import JOURNAL, Deployed
from appliance.deploying.stages import Asker, Deploy, Kind, Stage
from appliance.deploysettings import DeploySettings
from appliance.errors import BadGuest, BadManifest, Conflict, GuestFailed, Unavailable
from appliance.manifests import AppManifest
from appliance.records import Frame
from appliance.standings import AppState
from tests.appliance import watguests as guests
from tests.appliance.deploybench import Bench, answer, deploy, restarted
from tests.appliance.workshop import Workshop, bundle, put_model

UP = [Stage.RECEIVED, Stage.VALIDATED, Stage.COMPILED, Stage.WARMED, Stage.LIVE]


def stages(entry: Deploy) -> list[Stage]:
    return [step.stage for step in entry.steps]


class Slow:
    """A trial that takes until it is let go."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.go = threading.Event()

    def __call__(self, bundle: Bundle, manifest: AppManifest) -> Sequence[str]:
        if manifest.name == "slow":
            self.began.set()
            assert self.go.wait(30)
        return ()


def test_a_deploy_goes_through_its_stages(bench: Bench) -> None:
    """With who asked and what answered before, the newest first; the old version goes."""
    old = deploy(bench, "old")
    new = bench.deployer.deploy(bundle(guests.labelled("new")), "cat", by=Asker.INBOX).version

    last, first = bench.deployer.history("cat")
    assert (new, old, Kind.DEPLOY, Asker.INBOX) == (last.version, last.before, last.kind, last.by)
    assert (old, "", Asker.API) == (first.version, first.before, first.by)
    assert [UP, [*UP, Stage.DRAINING, Stage.GONE]] == [stages(last), stages(first)]
    assert {1000.0} == {step.at for step in last.steps}


@pytest.mark.parametrize(
    ("wasm", "manifest", "error", "reached"),
    [
        pytest.param(guests.STEADY, "][", BadManifest, UP[:1], id="manifest"),
        pytest.param(guests.TRUNCATED, None, BadGuest, UP[:2], id="does not compile"),
        pytest.param(guests.no_entry(), None, BadGuest, UP[:3], id="cannot be linked"),
    ],
)
def test_a_failure_is_on_record_at_its_stage(
    bench: Bench, wasm: bytes, manifest: str | None, error: type[Exception], reached: list[Stage]
) -> None:
    """With the sentence that the client got."""
    with pytest.raises(error) as raised:
        bench.deployer.deploy(bundle(wasm, manifest), "cat")

    (entry,) = bench.deployer.history("cat")
    assert ([*reached, Stage.FAILED], str(raised.value)) == (stages(entry), entry.reason)
    assert {("deploy", "failed"): 1} == bench.deployer.outcomes()


def test_every_change_of_what_answers_is_on_record(bench: Bench) -> None:
    """A deploy of what answers already is none."""
    deploy(bench, "old")
    deploy(bench, "new")
    bench.deployer.rollback("cat", by=Asker.CLI)
    bench.deployer.disable("cat")
    bench.deployer.enable("cat")
    deploy(bench, "old")

    history = bench.deployer.history("cat")
    kinds = [Kind.ENABLE, Kind.ROLLBACK, Kind.DEPLOY, Kind.DEPLOY]
    assert kinds == [entry.kind for entry in history]
    assert [Stage.LIVE, *[Stage.GONE] * 3] == [entry.stage for entry in history]
    assert [Asker.API, Asker.CLI] == [entry.by for entry in history[:2]]
    assert {("deploy", "live"): 2, ("rollback", "live"): 1, ("enable", "live"): 1} == (
        bench.deployer.outcomes()
    )


def test_a_disk_that_refuses_the_record_refuses_the_deploy(
    bench: Bench, tmp_path: Path, frame: Frame
) -> None:
    """Before anything is tried or written; afterwards all is as before."""
    deploy(bench, "old")
    before = bench.files()
    (tmp_path / JOURNAL).unlink()
    (tmp_path / JOURNAL).mkdir()
    with pytest.raises(Unavailable, match=r"cannot write deploys\.jsonl"):
        deploy(bench, "new")
    with pytest.raises(Unavailable, match=r"cannot write deploys\.jsonl"):
        deploy(bench, "new", "dog")
    assert (answer("old"), before) == (bench.labels("cat", frame), bench.files())
    (tmp_path / JOURNAL).rmdir()

    assert deploy(bench, "new")
    assert answer("new") == bench.labels("cat", frame)


def test_gate_and_trial_come_before_anything_of_ours(workshop: Workshop, tmp_path: Path) -> None:
    """First the gate, then the trial, then the version is brought up; the gate at each start."""
    seen: list[object] = []
    bench = Bench(
        workshop, tmp_path, gate=lambda b, m: seen.append(("gate", b.version, m.name)),
        trial=lambda b, m: seen.append(("trial", b.version, m.name)) or (),
    )  # fmt: skip
    bench.deployer.restore()
    version = deploy(bench, "a")
    assert [("gate", version, "cat"), ("trial", version, "cat")] == seen
    restarted(workshop, tmp_path, gate=lambda b, m: seen.append("again"))

    assert "again" == seen[-1]


def test_what_the_trial_saw_used_is_loaded_before_the_version_answers(
    workshop: Workshop, tmp_path: Path, frame: Frame
) -> None:
    """The first frame need not wait for it; a model that is gone is the guest's to meet."""
    put_model(workshop.models)
    bench = restarted(workshop, tmp_path, trial=lambda b, m: ("tiny", "gone"))
    bench.deployer.deploy(bundle(guests.computing("tiny", "x")), "cat")
    loaded = [graph.name for graph in workshop.host.registry.statistics().graphs]
    loads = workshop.host.registry.statistics().loads
    bench.labels("cat", frame)

    assert ["tiny:1"] == loaded
    assert loads == workshop.host.registry.statistics().loads
    bench.deployer.delete("cat")
    assert () == workshop.host.registry.statistics().graphs


def test_models_of_a_version_that_does_not_come_up_are_let_go(
    workshop: Workshop, tmp_path: Path
) -> None:
    """Whatever was loaded for it."""
    put_model(workshop.models)
    bench = restarted(workshop, tmp_path, trial=lambda b, m: ("tiny",))
    with pytest.raises(GuestFailed):
        bench.deployer.deploy(bundle(guests.traps_at_start()), "cat")

    assert () == workshop.host.registry.statistics().graphs


def test_what_gate_or_trial_refuse_is_refused(workshop: Workshop, tmp_path: Path) -> None:
    """With their reason, and nothing on disk; a policy that changed holds at the next start."""

    def refuse(_: Bundle, manifest: AppManifest) -> None:
        raise Conflict(f"app {manifest.name}: not here")

    made = restarted(workshop, tmp_path, trial=refuse)
    with pytest.raises(Conflict, match="app cat: not here"):
        deploy(made, "a")
    assert set() == made.files()
    deploy(restarted(workshop, tmp_path), "a")
    again = restarted(workshop, tmp_path, gate=refuse)

    standing = again.deployer.standing("cat")
    assert AppState.FAILED is standing.state
    assert standing.failure is not None
    assert "app cat: not here" == standing.failure.reason


def test_other_apps_do_not_wait_for_a_slow_one(workshop: Workshop, tmp_path: Path) -> None:
    """They are deployed, rolled back and deleted meanwhile; the stage of the slow one is shown."""
    slow = Slow()
    bench = restarted(workshop, tmp_path, trial=slow)
    with ThreadPoolExecutor(1) as thread:
        under_way = thread.submit(deploy, bench, "a", "slow")
        assert slow.began.wait(30)
        deploy(bench, "1")
        deploy(bench, "2")
        bench.deployer.rollback("cat")
        bench.deployer.delete("cat")
        (standing,) = bench.deployer.standings()
        slow.go.set()
        version = under_way.result()

    assert ("slow", AppState.DEPLOYING, version) == (
        standing.name, standing.state, standing.version
    )  # fmt: skip
    assert standing.under_way is not None
    assert Stage.VALIDATED is standing.under_way.stage
    assert bench.deployer.standing("slow").under_way is None


def test_the_old_version_answers_while_the_new_one_is_on_its_way(
    workshop: Workshop, tmp_path: Path, frame: Frame
) -> None:
    """Whoever asks is told both; the same bundle meanwhile waits and is no second deploy."""
    slow = Slow()
    bench = restarted(workshop, tmp_path, trial=slow)
    slow.go.set()
    old = deploy(bench, "old", "slow")
    slow.began.clear()
    slow.go.clear()
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(bench.deployer.deploy, bundle(guests.labelled("new")), "slow")
        assert slow.began.wait(30)
        second = threads.submit(bench.deployer.deploy, bundle(guests.labelled("new")), "slow")
        assert answer("old") == bench.labels("slow", frame)
        standing = bench.deployer.standing("slow")
        slow.go.set()
        version = first.result().version

    assert (AppState.LIVE, old) == (standing.state, standing.version)
    assert standing.under_way is not None
    assert version == standing.under_way.version
    assert Deployed("slow", version, is_new=False) == second.result()
    assert 2 == len(bench.deployer.history("slow"))


def test_a_version_drains_until_its_last_frame_is_finished(
    bench: Bench, workshop: Workshop, frame: Frame
) -> None:
    """Then it is gone."""
    arrived, gate = threading.Event(), threading.Event()

    def wait(_: float) -> None:
        arrived.set()
        assert gate.wait(30)

    put_model(workshop.models, delay_s=1)
    workshop.gate = wait
    bench.deployer.deploy(bundle(guests.computing("tiny", "old")), "cat")
    with ThreadPoolExecutor(1) as thread:
        under_way = thread.submit(bench.labels, "cat", frame)
        assert arrived.wait(30)
        deploy(bench, "new")
        draining = bench.deployer.history("cat")[1].stage
        gate.set()
        under_way.result()

    assert (Stage.DRAINING, Stage.GONE) == (draining, bench.deployer.history("cat")[1].stage)


def test_a_drained_version_is_freed(bench: Bench, frame: Frame) -> None:
    """Its program, its instances and its watch: nothing of ours holds them."""
    deploy(bench, "old")
    bench.labels("cat", frame)
    with bench.table.using("cat") as app:
        held = [
            weakref.ref(part)
            for part in (app.runner, app.runner.watched, app.program.keeper, app.on_frame)
        ]
    del app
    deploy(bench, "new")
    gc.collect()

    assert [None] * 4 == [part() for part in held]


def test_versions_that_never_answered_leave_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a folder of their own nor one of the app; the disk refused the pointer."""

    def full(*_: object) -> None:
        raise Unavailable("cannot write current: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("appliance.versions.replace_pointer", full)
        with pytest.raises(Unavailable, match="No space left"):
            deploy(bench, "a")

    assert set() == bench.files()


def test_the_version_before_is_always_kept(workshop: Workshop, tmp_path: Path) -> None:
    """The operator chooses how many are; one may be redeployed and is then the newest."""
    bench = restarted(workshop, tmp_path, settings=DeploySettings(kept_versions=2))
    versions = [deploy(bench, label) for label in ("1", "2", "3", "2", "4")]

    kept = [stored.version for stored in bench.deployer.versions("cat")]
    assert [versions[4], versions[1]] == kept


def test_a_box_that_stops_in_order_takes_no_version_away(bench: Bench) -> None:
    """What answered till the end is live on record, for the next start to go on with."""
    deploy(bench, "a")
    bench.table.close()

    assert Stage.LIVE is bench.deployer.history("cat")[0].stage


def test_a_rollback_that_the_disk_refused_costs_no_version(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It left a younger folder than that of what answered; the latter is kept all the same."""
    bench = restarted(workshop, tmp_path, settings=DeploySettings(kept_versions=2))
    deploy(bench, "1")
    second = deploy(bench, "2")

    def full(*_: object) -> None:
        raise Unavailable("cannot write current: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(versions, "replace_pointer", full)
        with pytest.raises(Unavailable, match="No space left"):
            bench.deployer.rollback("cat")
    third = deploy(bench, "3")

    kept = {stored.version for stored in bench.deployer.versions("cat")}
    assert {second, third} <= kept


def test_what_the_pointer_names_is_never_removed(
    bench: Bench, frame: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk refused to enable the app after the pointer had switched: it stays disabled."""
    deploy(bench, "old")
    bench.deployer.disable("cat")
    remove = versions.remove_tree

    def refuse(path: Path) -> bool:
        if path.name == versions.DISABLED:
            raise Unavailable("cannot write disabled: Input/output error")
        return remove(path)

    with monkeypatch.context() as patch:
        patch.setattr(versions, "remove_tree", refuse)
        with pytest.raises(Unavailable, match="Input/output error"):
            deploy(bench, "new")
    assert AppState.DISABLED is bench.deployer.standing("cat").state
    bench.deployer.enable("cat")

    assert answer("new") == bench.labels("cat", frame)
