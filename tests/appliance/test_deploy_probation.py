"""A new version that fails its first frames, or ends the service, gives way to the one before."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from appliance.bundles import Bundle
from appliance.deploying.chores import Chores
from appliance.deploying.probation import Verdict
from appliance.deploying.stages import Asker, Kind, Stage
from appliance.deploysettings import DeploySettings
from appliance.errors import ApplianceError, BadGuest, FailureReason, GuestFailed, Unavailable
from appliance.feed import Feed
from appliance.manifests import AppManifest
from appliance.marking import Guard
from appliance.marks import Doing, Marks, text_of
from appliance.pipeline import Pipeline
from appliance.quarantine import Quarantine
from appliance.records import Frame
from appliance.standings import AppState
from appliance.store import PredictionStore
from tests.appliance import watguests as guests
from tests.appliance.deploybench import Bench, answer, deploy, restarted
from tests.appliance.workshop import Workshop, bundle

BAD = bundle(guests.trapping())
CRASH = "crash SIGSEGV"


class Camera:
    """Shows frames to an app as the box does, however it answers."""

    def __init__(self, store: PredictionStore, frame: Frame) -> None:
        self._store = store
        self._frame = frame

    def show(self, bench: Bench, count: int, name: str = "cat") -> None:
        pipeline = Pipeline(bench.table, self._store, Feed(max_subscribers=1))
        for _ in range(count):
            with suppress(ApplianceError):
                pipeline.process(name, self._frame)


@pytest.fixture
def camera(tmp_path: Path, frame: Frame) -> Iterator[Camera]:
    with PredictionStore(tmp_path / "predictions.db") as store:
        yield Camera(store, frame)


def watched(bench: Bench) -> tuple[int, int, Verdict | None]:
    """Give how far the probation of the newest version is."""
    probation = bench.deployer.history("cat")[0].probation
    return probation.answered, probation.failed, probation.verdict


def test_a_version_that_fails_its_first_frames_is_rolled_back(
    bench: Bench, camera: Camera, frame: Frame
) -> None:
    """The one before answers again; it is on record, counted, and says why."""
    old = deploy(bench, "old")
    camera.show(bench, 10)
    bad = bench.deployer.deploy(BAD, "cat").version
    camera.show(bench, 3)

    assert answer("old") == bench.labels("cat", frame)
    back, failed, first = bench.deployer.history("cat")
    assert (old, bad, Kind.ROLLBACK, Asker.AUTOMATIC, Stage.LIVE) == (
        back.version, back.before, back.kind, back.by, back.stage
    )  # fmt: skip
    assert [Stage.LIVE, Stage.FAILED] == [step.stage for step in failed.steps][-2:]
    assert "3 of its first 3 frames failed, the last one: the guest trapped" in failed.reason
    assert failed.reason == back.reason
    assert Stage.GONE is first.stage
    assert 1 == bench.deployer.outcomes()["automatic_rollback", "live"]
    failure = bench.deployer.standing("cat").failure
    assert failure is not None
    assert (bad, True) == (failure.version, f"{old} answers again" in failure.reason)


def test_a_version_that_was_brought_back_is_not_watched(bench: Bench, camera: Camera) -> None:
    """By the box or by hand: it would go there and back for ever."""
    bench.deployer.deploy(BAD, "cat")
    deploy(bench, "good")
    bench.deployer.rollback("cat")
    camera.show(bench, 20)

    assert BAD.version == bench.deployer.standing("cat").version
    assert (0, 0, None) == watched(bench)


def test_the_bad_version_is_tried_again_by_hand_only(
    bench: Bench, workshop: Workshop, tmp_path: Path, camera: Camera, frame: Frame
) -> None:
    """A restart leaves it; the same bytes again are a new try, which ends as the first."""
    deploy(bench, "old")
    bench.deployer.deploy(BAD, "cat")
    camera.show(bench, 3)
    again = restarted(workshop, tmp_path)
    assert answer("old") == again.labels("cat", frame)
    failure = again.deployer.standing("cat").failure
    assert failure is not None
    assert "failed its probation: 3 of its first 3 frames failed" in failure.reason

    assert again.deployer.deploy(BAD, "cat").is_new
    assert again.deployer.standing("cat").failure is None
    camera.show(again, 3)
    assert answer("old") == again.labels("cat", frame)
    again.table.close()


def test_a_version_without_one_before_stays_with_its_reason(bench: Bench, camera: Camera) -> None:
    """It goes on; and it is not asked again and again."""
    version = bench.deployer.deploy(BAD, "cat").version
    camera.show(bench, 20)

    standing = bench.deployer.standing("cat")
    assert (AppState.LIVE, version) == (standing.state, standing.version)
    assert standing.failure is not None
    assert "no version to go back to" in standing.failure.reason
    assert (0, 3, Verdict.FAILED) == watched(bench)
    assert 1 == len(bench.deployer.history("cat"))


def test_a_version_that_passed_stays(bench: Bench, camera: Camera) -> None:
    """What it does later is its own; other limits hold."""
    deploy(bench, "old")
    version = deploy(bench, "new")
    camera.show(bench, 10)
    assert (10, 0, Verdict.PASSED) == watched(bench)
    with bench.table.using("cat") as app:
        for _ in range(20):
            app.count_failure(GuestFailed("trapped", reason=FailureReason.TRAP))

    assert version == bench.deployer.standing("cat").version


def test_what_the_box_or_the_client_did_does_not_count(bench: Bench) -> None:
    """A flood on a busy box must not cost a version its place."""
    deploy(bench, "old")
    version = deploy(bench, "new")
    with bench.table.using("cat") as app:
        for _ in range(20):
            app.count_failure(Unavailable("the box is too busy"))

    assert ((0, 0, None), version) == (watched(bench), bench.deployer.standing("cat").version)


def test_without_probation_frames_nothing_is_watched(
    workshop: Workshop, tmp_path: Path, camera: Camera
) -> None:
    """The operator's choice; it also ends a probation that had begun before."""
    bench = restarted(workshop, tmp_path)
    deploy(bench, "old")
    bench.deployer.deploy(BAD, "cat")
    off = restarted(workshop, tmp_path, settings=DeploySettings(probation_frames=0))
    camera.show(off, 5)
    assert BAD.version == off.deployer.standing("cat").version
    deploy(off, "new", "dog")

    assert 0 == off.deployer.history("dog")[0].probation.frames


def test_a_probation_outlives_a_restart(
    workshop: Workshop, tmp_path: Path, camera: Camera, frame: Frame
) -> None:
    """It goes on with the frames that there were; so it does over disabling and enabling."""
    bench = restarted(workshop, tmp_path)
    deploy(bench, "old")
    bench.deployer.deploy(BAD, "cat")
    camera.show(bench, 1)
    again = restarted(workshop, tmp_path)
    assert (0, 1, None) == watched(again)
    again.deployer.disable("cat")
    again.deployer.enable("cat")
    camera.show(again, 1)
    assert (0, 2, None) == watched(again)
    third = restarted(workshop, tmp_path)
    camera.show(third, 1)

    assert answer("old") == third.labels("cat", frame)


def test_a_rollback_cut_short_is_finished_by_the_next_start(
    workshop: Workshop, tmp_path: Path, camera: Camera, frame: Frame
) -> None:
    """The verdict is on disk first; what follows was never done here."""
    chores: list[object] = []
    bench = restarted(workshop, tmp_path, later=chores.append)
    deploy(bench, "old")
    bad = bench.deployer.deploy(BAD, "cat").version
    camera.show(bench, 3)
    assert bad == bench.deployer.standing("cat").version
    number = bench.deployer.history("cat")[0].id
    probation = bench.deployer.history("cat")[0].probation
    for _ in range(3):
        probation = probation.after(GuestFailed("trapped", reason=FailureReason.TRAP))
    bench.deployer._journal.judge(number, probation, "3 of 3")
    again = restarted(workshop, tmp_path)

    assert answer("old") == again.labels("cat", frame)
    assert Asker.AUTOMATIC is again.deployer.history("cat")[0].by


def test_a_rollback_that_fails_leaves_the_box_and_says_why(
    bench: Bench, camera: Camera, frame: Frame
) -> None:
    """The bad one goes on, for there is nothing better; other apps do not notice."""
    old = deploy(bench, "old")
    deploy(bench, "dog", "dog")
    bad = bench.deployer.deploy(BAD, "cat").version
    (bench.folder / "cat" / old / "app.wasm").unlink()
    camera.show(bench, 5)

    standing = bench.deployer.standing("cat")
    assert (AppState.LIVE, bad) == (standing.state, standing.version)
    assert standing.failure is not None
    assert "going back failed: app.wasm: no such file" in standing.failure.reason
    assert Stage.FAILED is bench.deployer.history("cat")[0].stage
    assert answer("dog") == bench.labels("dog", frame)
    assert 1 == bench.deployer.outcomes()["automatic_rollback", "failed"]


def test_if_the_one_before_is_broken_the_next_one_answers(
    bench: Bench, camera: Camera, frame: Frame
) -> None:
    """What is best of what there is."""
    deploy(bench, "oldest")
    old = deploy(bench, "old")
    bench.deployer.deploy(BAD, "cat")
    (bench.folder / "cat" / old / "app.wasm").write_bytes(b"")
    camera.show(bench, 3)

    assert answer("oldest") == bench.labels("cat", frame)


def test_a_frame_does_not_wait_for_the_rollback(
    workshop: Workshop, tmp_path: Path, camera: Camera, frame: Frame
) -> None:
    """Another thread does it, and whoever deployed meanwhile was faster."""
    chores = Chores()
    bench = restarted(workshop, tmp_path, later=chores.put)
    deploy(bench, "old")
    bench.deployer.deploy(BAD, "cat")
    camera.show(bench, 3)
    new = deploy(bench, "new")
    chores.start()
    chores.stop()

    assert (answer("new"), new) == (
        bench.labels("cat", frame), bench.deployer.history("cat")[0].version
    )  # fmt: skip


# -- crashes ---------------------------------------------------------------------------------------


def guard_after(folder: Path, fate: str, *in_flight: tuple[str, str]) -> Guard:
    """Give the guard of a service whose predecessor ended like this, with these apps in flight."""
    (folder / "run").mkdir(exist_ok=True)
    marks = Marks()
    marks.open(folder / "run" / "inflight")
    for name, version in in_flight:
        marks.begin(Doing.APP, text_of(name, version))
    guard = Guard(Marks(), Quarantine(folder / "quarantine.json"))
    guard.open(folder / "run", fate)
    return guard


def test_a_version_that_crashes_on_probation_is_rolled_back_at_once(
    workshop: Workshop, tmp_path: Path, frame: Frame
) -> None:
    """One crash is enough, and the reason names it; others that were in flight stay."""
    bench = restarted(workshop, tmp_path)
    old = deploy(bench, "old")
    new = deploy(bench, "new")
    guard = guard_after(tmp_path, CRASH, ("cat", new))
    again = restarted(workshop, tmp_path, guard)

    assert answer("old") == again.labels("cat", frame)
    back, failed, _ = again.deployer.history("cat")
    assert (old, Kind.ROLLBACK, Asker.AUTOMATIC) == (back.version, back.kind, back.by)
    assert (Stage.FAILED, Verdict.CRASHED) == (failed.stage, failed.probation.verdict)
    assert "the service ended (crash SIGSEGV) while it was in flight" == failed.reason


@pytest.mark.parametrize(
    ("fate", "frames", "name"),
    [
        pytest.param("killed", 0, "cat", id="killed by somebody"),
        pytest.param("", 0, "cat", id="power cut"),
        pytest.param(CRASH, 10, "cat", id="it had passed"),
        pytest.param(CRASH, 0, "dog", id="it was another"),
    ],
)
def test_it_stays_if_it_is_not_to_blame(
    workshop: Workshop, tmp_path: Path, camera: Camera, frame: Frame,
    fate: str, frames: int, name: str,
) -> None:  # fmt: skip
    """A later crash counts towards three strikes, as ever."""
    bench = restarted(workshop, tmp_path)
    deploy(bench, "old")
    new = deploy(bench, "new")
    camera.show(bench, frames)
    again = restarted(workshop, tmp_path, guard_after(tmp_path, fate, (name, new)))

    assert answer("new") == again.labels("cat", frame)


def test_a_crash_with_nothing_to_go_back_to_is_left_to_the_strikes(
    workshop: Workshop, tmp_path: Path, frame: Frame
) -> None:
    """It comes up again with its reason; the third time it is quarantined."""
    version = deploy(restarted(workshop, tmp_path), "only")
    for _ in range(2):
        again = restarted(workshop, tmp_path, guard_after(tmp_path, CRASH, ("cat", version)))
        assert answer("only") == again.labels("cat", frame)
        failure = again.deployer.standing("cat").failure
        assert failure is not None
        assert "no version to go back to" in failure.reason
    third = restarted(workshop, tmp_path, guard_after(tmp_path, CRASH, ("cat", version)))

    standing = third.deployer.standing("cat")
    assert AppState.FAILED is standing.state
    assert standing.failure is not None
    assert "quarantined" in standing.failure.reason


def test_a_crash_while_it_comes_up_leaves_the_old_one(
    workshop: Workshop, tmp_path: Path, frame: Frame
) -> None:
    """The deploy has failed, and its reason names the crash."""
    bench = restarted(workshop, tmp_path)
    deploy(bench, "old")
    bench.deployer._journal.begin("cat", "bad", Kind.DEPLOY, Asker.API, had_files=False)
    again = restarted(workshop, tmp_path, guard_after(tmp_path, CRASH, ("cat", "bad")))

    assert answer("old") == again.labels("cat", frame)
    assert "interrupted by a restart (crash SIGSEGV); try again" == (
        again.deployer.history("cat")[0].reason
    )


def test_a_crashing_version_whose_rollback_fails_is_not_brought_up(
    workshop: Workshop, tmp_path: Path, frame: Frame
) -> None:
    """The app has failed, the rest is up; the next start tries to go back again."""
    bench = restarted(workshop, tmp_path)
    old = deploy(bench, "old")
    new = deploy(bench, "new")
    deploy(bench, "dog", "dog")
    guest = bench.folder / "cat" / old / "app.wasm"
    content = guest.read_bytes()
    guest.unlink()
    again = restarted(workshop, tmp_path, guard_after(tmp_path, CRASH, ("cat", new)))

    standing = again.deployer.standing("cat")
    assert (AppState.FAILED, new) == (standing.state, standing.version)
    assert standing.failure is not None
    assert "going back failed: app.wasm: no such file" in standing.failure.reason
    assert answer("dog") == again.labels("dog", frame)
    guest.write_bytes(content)
    third = restarted(workshop, tmp_path, guard_after(tmp_path, "", ("cat", new)))
    assert answer("old") == third.labels("cat", frame)


def test_a_bug_of_ours_costs_one_app(workshop: Workshop, tmp_path: Path, frame: Frame) -> None:
    """The box starts with the others, and says that its log has more."""
    bench = restarted(workshop, tmp_path)
    deploy(bench, "a")
    deploy(bench, "b", "dog")

    def gate(_: Bundle, manifest: AppManifest) -> None:
        assert manifest.name != "cat", "a bug"

    again = restarted(workshop, tmp_path, gate=gate)

    assert answer("b") == again.labels("dog", frame)
    failure = again.deployer.standing("cat").failure
    assert failure is not None
    assert "its log has the reason" in failure.reason


def test_a_deploy_that_meets_a_bug_of_ours_is_closed(bench: Bench) -> None:
    """It is not under way for ever."""
    bench.deployer._trial = lambda bundle, manifest: 1 // 0
    with pytest.raises(ZeroDivisionError):
        deploy(bench, "a")
    bench.deployer._trial = None
    with pytest.raises(BadGuest):
        bench.deployer.deploy(bundle(guests.TRUNCATED), "dog")

    (entry,) = bench.deployer.history("cat")
    assert (Stage.FAILED, True) == (entry.stage, "its log has the reason" in entry.reason)
