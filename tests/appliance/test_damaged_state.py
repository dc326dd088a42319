"""A state folder in which something is damaged: the box comes up, says so, and loses nothing else.

Every file that a box keeps, damaged in every way in turn.
"""

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance import app as composition
from appliance.app import Box
from appliance.cameras.config import CameraConfig
from appliance.errors import BadSettings, Unavailable
from appliance.marks import Doing, Mark
from appliance.records import Frame
from appliance.settings import load_settings
from appliance.store import PredictionQuery
from tests.appliance import watguests as guests
from tests.appliance.workshop import bundle, put_model
from wasi_nn.backend import Encoding
from wasi_nn.backends.fake import FakeBackend

Damage = Callable[[Path], None]
ROWS = 600

# Under the state folder, with a pattern for what is named by content. Of `cat` the pointer and
# the version that answers, of `dog` nothing.
FILES = (
    "apps/cat/current", "apps/cat/NEWEST/app.wasm", "apps/cat/NEWEST/app.toml", "cameras.json",
    "quarantine.json", "predictions.db", "predictions.db-wal", "predictions.db-shm",
    "cache/aot/*.cwasm", "run/inflight", "models/tiny/1/model.toml",
    "models/tiny/1/model.onnx",
)  # fmt: skip


def _noise(file: Path) -> None:
    # No byte of it is of any format here, and it is the same every time.
    file.write_bytes(bytes((7 * i * i + 13) % 251 for i in range(max(64, file.stat().st_size))))


def _overwritten(file: Path) -> None:
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(64)
    file.write_bytes(content)


def _halved(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _folder(file: Path) -> None:
    file.unlink()
    (file / "inside").mkdir(parents=True)


DAMAGES: dict[str, Damage] = {
    "halved": _halved,
    "emptied": lambda file: file.write_bytes(b"") and None,
    "zeros": lambda file: file.write_bytes(bytes(file.stat().st_size)) and None,
    "noise": _noise,
    "overwritten": _overwritten,
    "a folder": _folder,
    "nested": lambda file: file.write_bytes(b"[" * 20_000) and None,
    "gone": Path.unlink,
}


@pytest.fixture(autouse=True)
def _fake_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models are fake ones: what is damaged here is around them."""
    monkeypatch.setattr(composition, "all_backends", lambda: (FakeBackend((Encoding.ONNX,)),))


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory, frame: Frame) -> Path:
    """The state folder of a box that was killed: with a log, marks and all."""
    folder = tmp_path_factory.mktemp("lived")
    put_model(folder / "state" / "models")
    with Box(load_settings(state=folder / "state")) as box:
        # Compiled now, so that it need not be each time.
        box.deployer.deploy(bundle(guests.labelled("newer")), "cat")
        box.deployer.deploy(bundle(guests.labelled("old"), 'env = {A = "1"}'), "cat")
        box.deployer.deploy(bundle(guests.labelled("new"), 'env = {A = "2"}'), "cat")
        box.deployer.deploy(bundle(guests.labelled("dog")), "dog")
        box.cameras.add(CameraConfig(name="gate", url="push:"))
        box.quarantine.judge((Mark(Doing.RUN, "bad:1", "00"),), "crash SIGSEGV", 0.0)
        for _ in range(ROWS):
            box.pipeline.process("dog", frame)
        shutil.copytree(folder / "state", folder / "killed")
    return folder / "killed"


def _find(state: Path, pattern: str) -> Path:
    newest = (state / "apps" / "cat" / "current").read_text().strip()
    return min(state.glob(pattern.replace("NEWEST", newest)))


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("pattern", FILES)
def test_a_damaged_file_costs_no_more_than_itself(
    lived: Path, tmp_path: Path, frame: Frame, pattern: str, damage: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """The box comes up, what is not damaged answers, and a deploy heals an app."""
    state = tmp_path / "state"
    shutil.copytree(lived, state)
    DAMAGES[damage](_find(state, pattern))
    with Box(load_settings(state=state)) as box:
        dog = box.pipeline.process("dog", frame)
        healed = box.deployer.deploy(bundle(guests.labelled("newer")), "cat")
        cat = box.pipeline.process("cat", frame)
        (row,) = box.store.query(PredictionQuery(limit=1))
        box.store.statistics()
        box.problems()

    assert ("dog", True) == (dog.predictions[0].label, dog.is_stored)
    assert ("newer", True, healed.version) == (cat.predictions[0].label, cat.is_stored, cat.version)
    assert cat.predictions[0] == row
    assert [] == [r.getMessage() for r in caplog.records if r.exc_info is not None]
    assert [] == list(state.rglob(".tmp-*"))


@pytest.mark.parametrize("damage", ["halved", "emptied", "noise", "a folder", "nested"])
@pytest.mark.parametrize("name", ["cameras.json", "quarantine.json", "predictions.db-wal"])
def test_what_is_damaged_is_named_and_kept(
    lived: Path, tmp_path: Path, name: str, damage: str
) -> None:
    """/healthz says so as long as the box runs; the content is beside, under a dated name."""
    state = tmp_path / "state"
    shutil.copytree(lived, state)
    DAMAGES[damage](state / name)
    whole = lived.joinpath(name).stat().st_size
    with Box(load_settings(state=state)) as box:
        problems = box.problems()
    kept = [path.name for path in state.glob(f"{name}.corrupt-*")]

    # A log that was cut is read as far as it goes, and an empty one holds nothing.
    is_readable = name.endswith("-wal") and damage in ("halved", "emptied")
    assert whole > 0
    assert ([] if is_readable else [True]) == [name.split("-")[0] in p for p in problems]
    assert (0 if is_readable else 1) == len(kept)


@pytest.mark.parametrize("damage", ["halved", "zeros", "noise", "a folder", "nested"])
def test_a_damaged_history_is_kept_beside(
    lived: Path, tmp_path: Path, frame: Frame, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Found at the start or by a query; a new one is begun, and whoever asks is told."""
    state = tmp_path / "state"
    shutil.copytree(lived, state)
    # As SQLite leaves it in order: all of it in the file.
    sqlite3.connect(state / "predictions.db").execute("PRAGMA wal_checkpoint(TRUNCATE)")
    DAMAGES[damage](state / "predictions.db")
    with Box(load_settings(state=state)) as box:
        found = box.store.query(PredictionQuery(limit=1000))
        stored = box.pipeline.process("dog", frame).is_stored
        problems, counts = box.problems(), box.store.counts()

    assert stored
    assert len(found) < ROWS
    assert ["predictions.db" in problem for problem in problems] == [True]
    assert 1 == counts.set_aside
    assert 1 == len([p for p in state.glob("predictions.db.corrupt-*") if p.suffix != ".db-wal"])
    assert any("set aside" in record.getMessage() for record in caplog.records)


def test_a_lost_pointer_is_found_again(lived: Path, tmp_path: Path, frame: Frame) -> None:
    """The version that was put in front last answers, and the pointer names it again."""
    state = tmp_path / "state"
    shutil.copytree(lived, state)
    pointer = state / "apps" / "cat" / "current"
    version = pointer.read_text()
    pointer.write_text("no such version")
    with Box(load_settings(state=state)) as box:
        label = box.pipeline.process("cat", frame).predictions[0].label

    assert ("new", version) == (label, pointer.read_text())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"\xff\xfe\0", "settings.toml: not TOML", id="noise"),
        pytest.param(b"threads = [[[[", "settings.toml: not TOML", id="cut"),
        pytest.param(b"[" * 50_000, "settings.toml: not TOML", id="nested"),
        pytest.param(b"threads = -1", "setting threads: got -1", id="value"),
        pytest.param(b"treads = 1", "did you mean threads", id="key"),
    ],
)
def test_damaged_settings_are_not_guessed(tmp_path: Path, content: bytes, words: str) -> None:
    """They say who may come in and what is isolated: a box without them would be another box."""
    (tmp_path / "settings.toml").write_bytes(content)

    with pytest.raises(BadSettings, match=words):
        load_settings(state=tmp_path)


def test_files_where_folders_belong_are_set_aside(tmp_path: Path, frame: Frame) -> None:
    """The box makes the folders and serves."""
    state = tmp_path / "state"
    state.mkdir()
    for name in ("apps", "inbox", "cache"):
        (state / name).write_text(name)
    with Box(load_settings(state=state)) as box:
        box.deployer.deploy(bundle(guests.labelled("cat")), "cat")
        label = box.pipeline.process("cat", frame).predictions[0].label

    assert "cat" == label
    kept = sorted(path.read_text() for path in state.glob("*.corrupt-*"))
    assert ["apps", "cache", "inbox"] == kept


def test_a_folder_that_is_elsewhere_is_not_replaced(tmp_path: Path) -> None:
    """A link to a disk that is not mounted is the operator's: the box does not start on less."""
    (tmp_path / "inbox").symlink_to(tmp_path / "a disk that is not mounted")

    with pytest.raises(Unavailable, match="cannot write inbox"), Box(load_settings(state=tmp_path)):
        pass
