"""Models in the inbox: taken, refused, waited for; and what is tried again by itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance import inbox
from appliance.errors import Unavailable
from tests.appliance import watguests as guests
from tests.appliance.archives import gzipped, tarred
from tests.appliance.test_inbox import Place
from tests.appliance.test_uploads import tiny
from tests.appliance.workshop import Workshop


@pytest.fixture
def place(workshop: Workshop, tmp_path: Path) -> Iterator[Place]:
    made = Place(workshop, tmp_path)
    made.deployer.restore()
    yield made
    made.table.close()


@pytest.fixture
def watched(place: Place) -> Iterator[Place]:
    place.inbox.start()
    yield place
    place.inbox.stop()


def test_a_models_archive_is_removed_when_it_is_ready(place: Place) -> None:
    """The status says what it is called and how it loads."""
    place.inbox.take(place.drop("x.tar.gz", gzipped(tarred(*tiny().items()))))

    assert {"x.tar.gz.status"} == place.names()
    status = place.status("x.tar.gz")
    del status["at"]
    assert {
        "state": "ready", "model": "tiny", "version": "1", "is_new": True, "loaded": ["onnx"],
        "untried": [], "is_default": True,
    } == status  # fmt: skip


def test_a_refused_model_stays_with_the_reason(place: Place) -> None:
    """As a refused guest does; nobody finds it."""
    place.inbox.take(place.drop("x.onnx", b"garbage"))

    assert {"x.onnx", "x.onnx.status"} == place.names()
    assert "onnx does not load" in place.status("x.onnx")["reason"]
    assert set() == place.depot.files()


def test_the_boxs_own_trouble_is_tried_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk may have room later; the file need not change for that."""

    def busy(*_: object, **__: object) -> None:
        raise Unavailable("cannot write: No space left", retry_after_s=0.0)

    place.drop("x.wasm", guests.STEADY)
    with monkeypatch.context() as patch:
        patch.setattr(place.deployer, "deploy", busy)
        place.inbox.start()
        first = place.wait_for("x.wasm", "failed")
    second = place.wait_for("x.wasm", "live")
    place.inbox.stop()

    assert ("cannot write: No space left", "x") == (first["reason"], second["app"])


def test_a_folder_dropped_file_by_file_is_waited_for(watched: Place) -> None:
    """It is taken once, when all is there that its model.toml names."""
    files = tiny()
    weights = files.pop("model.onnx")
    (watched.folder / "net").mkdir()
    for name, content in files.items():
        (watched.folder / "net" / name).write_bytes(content)
    lack = watched.wait_for("net", "waiting")["reason"]
    (watched.folder / "net" / "model.onnx").write_bytes(weights)
    status = watched.wait_for("net", "ready")

    assert "model.onnx: no such file" in lack
    assert ("tiny", "1", True) == (status["model"], status["version"], status["is_new"])


def test_a_folder_that_stays_half_is_reported(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once; and it is taken all the same when the rest comes."""
    monkeypatch.setattr(inbox, "INCOMPLETE_S", 0.0)
    (place.folder / "net").mkdir()
    place.inbox.start()
    reason = place.wait_for("net", "failed")["reason"]
    for name, content in tiny().items():
        (place.folder / "net" / name).write_bytes(content)
    status = place.wait_for("net", "ready")
    place.inbox.stop()

    assert "incomplete for 0 s: no model.toml in it" in reason
    assert ("tiny", set()) == (status["model"], place.names() - {"net.status"})


def test_a_renamed_drop_is_another_drop(watched: Place) -> None:
    """What was refused under one name is tried under the next."""
    watched.drop("x.onnx", b"garbage")
    watched.wait_for("x.onnx", "failed")
    (watched.folder / "x.onnx").rename(watched.folder / "y.onnx")
    watched.wait_for("y.onnx", "failed")
    watched.drop("y.onnx", tiny()["model.onnx"])

    assert "y" == watched.wait_for("y.onnx", "ready")["model"]
