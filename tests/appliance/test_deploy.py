"""Deploying: old or new, never neither, and on disk what answers."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from appliance import versions
from appliance.deploy import Deployed
from appliance.errors import BadGuest, BadManifest, GuestFailed, Unavailable
from appliance.files import read_pointer
from appliance.records import Frame
from tests.appliance import watguests as guests
from tests.appliance.deploybench import Bench, answer
from tests.appliance.workshop import Workshop, bundle, put_model


def test_a_deployed_guest_answers_and_is_on_disk(bench: Bench, frame: Frame) -> None:
    """One folder a version, and a pointer to it."""
    done = bench.deployer.deploy(bundle(guests.STEADY, 'args = ["x"]'), "cat")

    version = done.version
    assert Deployed("cat", version, True) == done
    assert answer("steady") == bench.labels("cat", frame)
    assert {
        "cat", "cat/current", f"cat/{version}", f"cat/{version}/app.wasm",
        f"cat/{version}/app.toml",
    } == bench.files()  # fmt: skip
    assert version == read_pointer(bench.folder / "cat" / "current")


def test_an_app_with_fuel_runs_where_it_is_counted(bench: Bench, frame: Frame) -> None:
    """It answers within its fuel, runs dry beyond; an app without is on the other engine."""
    bench.deployer.deploy(bundle(guests.STEADY, "[limits]\nfuel = 100000"), "cat")
    bench.deployer.deploy(bundle(guests.looping(), "[limits]\nfuel = 100000"), "dog")
    bench.deployer.deploy(bundle(guests.STEADY), "fox")

    assert answer("steady") == bench.labels("cat", frame)
    with pytest.raises(GuestFailed, match="100000 instructions, its fuel"):
        bench.labels("dog", frame)
    with bench.table.using("cat") as cat, bench.table.using("fox") as fox:
        counted = [app.program.host.engine.counts_fuel for app in (cat, fox)]
    assert [True, False] == counted


def test_the_same_content_is_left_as_it_is(bench: Bench) -> None:
    """Not compiled, not restarted, not written."""
    first = bench.deployer.deploy(bundle(guests.STEADY), "cat")
    with bench.table.using("cat") as app:
        before = app
    second = bench.deployer.deploy(bundle(guests.STEADY), "cat")

    assert (first.version, False) == (second.version, second.is_new)
    with bench.table.using("cat") as app:
        assert before is app


@pytest.mark.parametrize(
    ("wasm", "manifest", "error"),
    [
        pytest.param(guests.TRUNCATED, None, BadGuest, id="truncated"),
        pytest.param(guests.unknown_import(), None, BadGuest, id="import"),
        pytest.param(guests.traps_at_start(), None, GuestFailed, id="trap at start"),
        pytest.param(guests.STEADY, "][", BadManifest, id="manifest"),
        pytest.param(guests.STEADY, 'mode = "command"', BadGuest, id="mode"),
    ],
)
def test_a_failure_leaves_everything_as_it_was(
    bench: Bench, frame: Frame, wasm: bytes, manifest: str | None, error: type[Exception]
) -> None:
    """The old version answers, no file is new, and the reason is kept until the next success."""
    bench.deployer.deploy(bundle(guests.labelled("old")), "cat")
    before = bench.files()
    with pytest.raises(error):
        bench.deployer.deploy(bundle(wasm, manifest), "cat")

    assert answer("old") == bench.labels("cat", frame)
    assert before == bench.files()
    (failure,) = bench.deployer.failures()
    assert ("cat", 1000.0) == (failure.name, failure.at)
    bench.deployer.deploy(bundle(guests.labelled("new")), "cat")
    assert () == bench.deployer.failures()


def test_a_disk_that_refuses_leaves_the_old_one(
    bench: Bench, frame: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new one is warm already, but it must not answer without being on disk."""
    bench.deployer.deploy(bundle(guests.labelled("old")), "cat")
    before = bench.files()

    def full(*_: object) -> None:
        raise Unavailable("cannot write current: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(versions, "publish", full)
        with pytest.raises(Unavailable, match="No space left"):
            bench.deployer.deploy(bundle(guests.labelled("new")), "cat")

    assert answer("old") == bench.labels("cat", frame)
    assert before == bench.files()
    assert bench.deployer.deploy(bundle(guests.labelled("new")), "cat").is_new


def test_the_manifests_name_counts_unless_the_request_binds_it(bench: Bench) -> None:
    """A dropped file is named by its manifest; a PUT must agree with it."""
    named = bundle(guests.STEADY, 'name = "dog"')
    with pytest.raises(BadManifest, match="name: got dog, wanted cat as in the request"):
        bench.deployer.deploy(named, "cat", is_name_binding=True)

    assert "dog" == bench.deployer.deploy(named, "cat").name


def test_what_was_live_is_live_after_a_restart(
    bench: Bench, workshop: Workshop, tmp_path: Path, frame: Frame
) -> None:
    """Versions and manifests come back from disk; unfinished work is swept."""
    version = bench.deployer.deploy(bundle(guests.labelled("a"), 'env = {A = "b"}'), "cat").version
    bench.deployer.deploy(bundle(guests.printing(b"text")), "dog")
    (bench.folder / ".tmp-1").mkdir()
    (bench.folder / "cat" / ".tmp-2").write_bytes(b"half")

    again = Bench(workshop, tmp_path)
    again.deployer.restore()

    assert (answer("a"), (b"text",)) == (again.labels("cat", frame), again.labels("dog", frame))
    with again.table.using("cat") as app:
        assert (version, {"A": "b"}) == (app.version, app.program.manifest.env)
    assert [] == list(again.folder.rglob(".tmp-*"))
    assert not again.deployer.deploy(bundle(guests.labelled("a"), 'env = {A = "b"}'), "cat").is_new
    again.table.close()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        pytest.param("{}/app.wasm", "no such file", id="guest"),
    ],
)
def test_a_broken_app_is_reported_and_healed_by_a_deploy(
    bench: Bench, workshop: Workshop, tmp_path: Path, frame: Frame, damage: str, words: str
) -> None:
    """The others come up; the same content deployed again is written again."""
    version = bench.deployer.deploy(bundle(guests.labelled("a")), "cat").version
    bench.deployer.deploy(bundle(guests.labelled("b")), "dog")
    (bench.folder / "cat" / damage.format(version)).unlink()

    again = Bench(workshop, tmp_path)
    again.deployer.restore()
    assert ("dog",) == again.table.names()
    (failure,) = again.deployer.failures()
    assert ("cat", True) == (failure.name, words in failure.reason)

    again.deployer.deploy(bundle(guests.labelled("a")), "cat")
    again.table.close()
    third = Bench(workshop, tmp_path)
    third.deployer.restore()
    assert answer("a") == third.labels("cat", frame)
    third.table.close()


def test_a_guest_changed_on_disk_is_not_run(
    bench: Bench, workshop: Workshop, tmp_path: Path
) -> None:
    """A version is its content: another content under its name is damage."""
    version = bench.deployer.deploy(bundle(guests.labelled("a")), "cat").version
    (bench.folder / "cat" / version / "app.wasm").write_bytes(guests.labelled("b"))

    again = Bench(workshop, tmp_path)
    again.deployer.restore()

    assert () == again.table.names()
    assert "damaged on disk" in again.deployer.failures()[0].reason


def test_old_versions_are_removed_but_for_two(bench: Bench) -> None:
    """The one that answers and two to go back to."""
    versions = [
        bench.deployer.deploy(bundle(guests.labelled(str(n))), "cat").version for n in range(5)
    ]

    kept = {path.name for path in (bench.folder / "cat").iterdir() if path.is_dir()}
    assert set(versions[2:]) == kept


def test_a_frame_under_way_is_finished_by_the_version_that_began_it(
    bench: Bench, workshop: Workshop, frame: Frame
) -> None:
    """While it computes, the new version answers others; then the old one's graphs are closed."""
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
        bench.deployer.deploy(bundle(guests.labelled("new")), "cat")
        assert answer("new") == bench.labels("cat", frame)
        assert 1 == workshop.backend.open_graphs
        gate.set()
        assert (b'{"label": "old"}',) == under_way.result()

    assert 0 == workshop.backend.open_graphs


def test_deploys_of_many_threads_are_one_after_another(bench: Bench, frame: Frame) -> None:
    """Whoever comes last is what disk and table agree on."""
    with ThreadPoolExecutor(4) as threads:
        list(
            threads.map(
                lambda n: bench.deployer.deploy(bundle(guests.labelled(str(n))), "cat"), range(8)
            )
        )

    with bench.table.using("cat") as app:
        assert app.version == read_pointer(bench.folder / "cat" / "current")
