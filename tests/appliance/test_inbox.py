"""The folder where a user drops guests: what is taken, when, and what is said about it."""

import itertools
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from watchfiles import watch

from appliance.apps import AppTable
from appliance.bundles import write_bundle
from appliance.deploy import Deployer
from appliance.drops import ModelDrops, read_drop, signature_of
from appliance.errors import BadGuest, GuestFailed
from appliance.feed import Feed
from appliance.files import temporary_beside
from appliance.inbox import QUIET_S, Inbox, Settling
from appliance.pipeline import Pipeline
from appliance.records import Frame
from appliance.store import PredictionStore
from tests.appliance import watguests as guests
from tests.appliance.archives import zipped
from tests.appliance.test_uploads import Depot
from tests.appliance.workshop import Workshop

OLD, NEW = (10, 1, 0), (20, 2, 0)


# -- Settling: pure --------------------------------------------------------------------------------


def test_a_quiet_file_is_ready_once() -> None:
    """It must be seen twice, QUIET_S apart; then it is handled."""
    settling = Settling()

    assert [] == settling.look({"a": OLD}, 100.0)
    assert [] == settling.look({"a": OLD}, 100.0 + QUIET_S / 2)
    assert ["a"] == settling.look({"a": OLD}, 100.0 + QUIET_S)
    assert [] == settling.look({"a": OLD}, 200.0)


def test_a_file_that_grows_is_waited_for() -> None:
    """Each change begins the quiet time afresh."""
    settling = Settling()
    settling.look({"a": OLD}, 100.0)

    assert [] == settling.look({"a": NEW}, 100.2)
    assert [] == settling.look({"a": NEW}, 100.2 + QUIET_S - 0.01)
    assert ["a"] == settling.look({"a": NEW}, 100.2 + QUIET_S)


def test_a_handled_file_is_ready_again_when_it_changes() -> None:
    """A refused guest that is copied again gets another chance."""
    settling = Settling(handled={"a": OLD})

    assert [] == settling.look({"a": NEW}, 100.0)
    assert ["a"] == settling.look({"a": NEW}, 101.0)


def test_a_file_that_came_back_the_same_is_ready_again() -> None:
    """Dropping the same file twice deploys it twice."""
    settling = Settling(handled={"a": OLD})
    settling.look({}, 100.0)
    settling.look({"a": OLD}, 101.0)

    assert ["a"] == settling.look({"a": OLD}, 102.0)


def test_files_do_not_wait_for_each_other() -> None:
    """Each has its own quiet time; those ready together come in order of their names."""
    settling = Settling()
    settling.look({"b": OLD, "a": OLD}, 100.0)

    assert ["a", "b"] == settling.look({"b": OLD, "a": OLD, "c": OLD}, 101.0)
    assert ["c"] == settling.look({"b": OLD, "a": OLD, "c": OLD}, 102.0)
    assert 3 == len(settling.handled)
    settling.look({}, 103.0)
    assert {} == settling.handled


# -- taking one file -------------------------------------------------------------------------------


class Place:
    """An inbox over a deployer."""

    def __init__(self, workshop: Workshop, folder: Path) -> None:
        self.folder = folder / "inbox"
        self.folder.mkdir()
        self.table = AppTable()
        self.deployer = Deployer(
            folder / "apps", workshop.host, workshop.compiler, self.table,  # type: ignore[arg-type]
            scratch=folder, instances=1,
        )  # fmt: skip
        self.depot = Depot(folder)
        self.drops = ModelDrops(self.depot.uploads, self.depot.repository)
        self.inbox = Inbox(self.folder, self.deployer, self.drops)

    def drop(self, name: str, content: bytes) -> Path:
        """Put a file there whole, as `mv` does."""
        path = self.folder / name
        unfinished = temporary_beside(path)
        unfinished.write_bytes(content)
        return unfinished.rename(path)

    def status(self, name: str) -> dict[str, Any]:
        status: dict[str, Any] = json.loads((self.folder / f"{name}.status").read_text())
        return status

    def wait_for(self, name: str, state: str) -> dict[str, Any]:
        """Wait until the inbox says so; some 20 s at most."""
        path = self.folder / f"{name}.status"
        changes = watch(self.folder, rust_timeout=100, yield_on_timeout=True, step=10, debounce=20)
        for _ in itertools.islice(changes, 200):
            if path.is_file() and self.status(name)["state"] == state:
                break
        changes.close()
        return self.status(name)

    def names(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()}


@pytest.fixture
def place(workshop: Workshop, tmp_path: Path) -> Iterator[Place]:
    made = Place(workshop, tmp_path)
    made.deployer.restore()
    yield made
    made.table.close()


def test_a_deployed_file_is_removed_with_its_manifest(place: Place) -> None:
    """As mail is from an inbox; the status says what is live."""
    place.drop("x.toml", b'name = "cat"')
    place.inbox.take(place.drop("x.wasm", guests.STEADY))

    assert {"x.wasm.status"} == place.names()
    status = place.status("x.wasm")
    assert {"state", "app", "version", "at"} == set(status)
    assert ("live", "cat") == (status["state"], status["app"])
    assert ("cat",) == place.table.names()


def test_a_refused_file_stays_with_the_reason(place: Place) -> None:
    """The user finds out what to do where the file lies."""
    place.inbox.take(place.drop("x.wasm", guests.unknown_import()))

    assert {"x.wasm", "x.wasm.status"} == place.names()
    status = place.status("x.wasm")
    assert {"state", "reason", "at"} == set(status)
    assert ("failed", True) == (status["state"], "import env.magic" in status["reason"])
    assert () == place.table.names()


@pytest.mark.parametrize(
    ("file", "app"),
    [
        pytest.param("Cat Guest_v2.wasm", "cat-guest-v2", id="spaces and capitals"),
        pytest.param("näive (1).wasm", "n-ive-1", id="letters and brackets"),
        pytest.param("new\nline.wasm", "new-line", id="line end"),
        pytest.param("...dots.wasm", None, id="hidden"),
        pytest.param("日本.wasm", "unnamed", id="nothing usable"),
        pytest.param(os.fsdecode(b"\xff\xfe.wasm"), "unnamed", id="no UTF-8"),
        pytest.param("a" * 200 + ".wasm", "a" * 63, id="long"),
    ],
)
def test_any_file_name_makes_an_app_name(place: Place, file: str, app: str | None) -> None:
    """Files that begin with a dot are somebody's unfinished business."""
    place.drop(file, guests.STEADY)
    place.inbox._look()
    place.inbox._settling._since = {
        name: (signature, 0.0) for name, (signature, _) in place.inbox._settling._since.items()
    }
    place.inbox._look()

    assert (() if app is None else (app,)) == place.table.names()


def test_a_name_too_long_for_its_status_is_deployed_all_the_same(place: Place) -> None:
    """255 bytes is all that a file's name may have; .status does not fit behind it."""
    path = place.drop("a" * 250 + ".wasm", guests.STEADY)
    place.inbox.take(path)

    assert (("a" * 63,), set()) == (place.table.names(), place.names())


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(zipped(("a.wasm", guests.STEADY), ("app.toml", b'name = "cat"')), id="own"),
        pytest.param(zipped(("a.wasm", guests.STEADY)), id="beside"),
    ],
)
def test_a_bundles_own_manifest_comes_first(place: Place, content: bytes) -> None:
    """One inside the zip beats one beside it."""
    place.drop("x.toml", b'name = "beside"')
    place.inbox.take(place.drop("x.zip", content))

    has_own = b"app.toml" in content
    assert ("cat" if has_own else "beside",) == place.table.names()


def test_machine_code_is_refused_whatever_its_name(place: Place) -> None:
    """Nobody's limits hold what somebody else compiled; `run` takes it from the operator."""
    for name in ("x.cwasm", "y.wasm"):
        place.inbox.take(place.drop(name, b"\x7fELF\x02\x01\x01"))
        status = place.status(name)
        assert ("failed", True) == (status["state"], "got machine code" in status["reason"])
    assert () == place.table.names()


def test_an_empty_file_says_copy_it_again(place: Place) -> None:
    """What `touch` or a full disk leaves."""
    with pytest.raises(BadGuest, match=r"x\.wasm: the file is empty; copy it again"):
        read_drop(place.drop("x.wasm", b""))


def test_what_is_no_file_is_refused(place: Place) -> None:
    """Neither a folder nor a FIFO holds the inbox up."""
    (place.folder / "d.wasm").mkdir()
    os.mkfifo(place.folder / "f.wasm")
    for name in ("d.wasm", "f.wasm"):
        place.inbox.take(place.folder / name)
        assert "failed" == place.status(name)["state"]


def test_what_was_dropped_during_the_deploy_is_not_lost(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deploy takes seconds; a new file under the same name is taken next, not removed."""
    deploy = place.deployer.deploy

    def slow(*arguments: Any, **rest: Any) -> Any:
        done = deploy(*arguments, **rest)
        place.drop("x.wasm", guests.labelled("newer"))
        return done

    monkeypatch.setattr(place.deployer, "deploy", slow)
    place.inbox.take(place.drop("x.wasm", guests.labelled("older")))

    assert guests.labelled("newer") == (place.folder / "x.wasm").read_bytes()


def test_the_signature_sees_a_replaced_file_with_an_old_date(place: Place) -> None:
    """`cp -p` and `rsync -t` bring the date along; size and date alone would miss it."""
    path = place.drop("x.wasm", b"one")
    os.utime(path, (1, 1))
    before = signature_of(path)
    place.drop("x.wasm", b"two")
    os.utime(path, (1, 1))

    assert before != signature_of(path)
    assert signature_of(place.folder / "none.wasm") is None


# -- the thread ------------------------------------------------------------------------------------


@pytest.fixture
def watched(place: Place) -> Iterator[Place]:
    place.inbox.start()
    yield place
    place.inbox.stop()


def test_what_lay_there_before_the_start_is_taken(place: Place) -> None:
    """A box that was off when the user came."""
    place.drop("x.wasm", guests.STEADY)
    (place.folder / ".tmp-half").write_bytes(b"half")
    place.inbox.start()
    status = place.wait_for("x.wasm", "live")
    place.inbox.stop()

    assert ("x", {"x.wasm.status"}) == (status["app"], place.names())


def test_a_drop_that_fails_on_its_first_frames_is_said_to_have_failed(
    watched: Place, frame: Frame
) -> None:
    """The version before answers again; whoever dropped it looks at the file only."""
    watched.drop("cat.wasm", guests.STEADY)
    watched.wait_for("cat.wasm", "live")
    watched.drop("cat.zip", write_bundle(guests.trapping(), b'name = "cat"'))
    bad = watched.wait_for("cat.zip", "live")["version"]
    with PredictionStore(watched.folder.with_name("predictions.db")) as store:
        pipeline = Pipeline(watched.table, store, Feed(max_subscribers=1))
        for _ in range(3):
            with pytest.raises(GuestFailed):
                pipeline.process("cat", frame)
    status = watched.wait_for("cat.zip", "failed")

    assert ("cat", bad) == (status["app"], status["version"])
    assert "failed its probation" in status["reason"]
    assert "answers again" in status["reason"]
    assert "live" == watched.status("cat.wasm")["state"]


def test_a_file_copied_in_two_parts_becomes_live_in_the_end(watched: Place) -> None:
    """Whether the first half is waited for or refused first: the whole guest answers."""
    half = len(guests.STEADY) // 2
    with (watched.folder / "x.wasm").open("wb", buffering=0) as file:
        file.write(guests.STEADY[:half])
        # The other side of a slow link goes on when the box has had a look.
        watched.wait_for("x.wasm", "failed")
        file.write(guests.STEADY[half:])

    assert "x" == watched.wait_for("x.wasm", "live")["app"]


def test_a_refused_guest_is_tried_again_when_it_changes(watched: Place) -> None:
    """Corrected in place, without a restart."""
    watched.drop("x.wasm", guests.TRUNCATED)
    assert "does not compile" in watched.wait_for("x.wasm", "failed")["reason"]
    watched.drop("x.wasm", guests.STEADY)

    assert "x" == watched.wait_for("x.wasm", "live")["app"]


def test_a_corrected_manifest_is_a_change_too(watched: Place) -> None:
    """The guest is tried again although only x.toml was written."""
    watched.drop("x.toml", b"nam = 1")
    watched.drop("x.wasm", guests.STEADY)
    assert "nam: unknown key" in watched.wait_for("x.wasm", "failed")["reason"]
    watched.drop("x.toml", b'name = "cat"')

    assert "cat" == watched.wait_for("x.wasm", "live")["app"]


def test_the_watch_survives_a_bug_of_ours(watched: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """One file that breaks the box's own code does not end the inbox."""
    deploy = watched.deployer.deploy

    def break_once(bundle: Any, name: str, **rest: Any) -> Any:
        if name == "bad":
            raise RuntimeError("a bug")
        return deploy(bundle, name, **rest)

    monkeypatch.setattr(watched.deployer, "deploy", break_once)
    watched.drop("bad.wasm", guests.STEADY)
    watched.drop("good.wasm", guests.STEADY)

    assert "live" == watched.wait_for("good.wasm", "live")["state"]


def test_other_files_are_left_alone(watched: Place) -> None:
    """A note in the inbox is nobody's guest."""
    watched.drop("README.txt", b"hello")
    shutil.copyfile(watched.folder / "README.txt", watched.folder / "notes.md")
    watched.drop("x.wasm", guests.STEADY)
    watched.wait_for("x.wasm", "live")

    assert {"README.txt", "notes.md", "x.wasm.status"} == watched.names()
