"""The table: what was added is there after a restart, and nothing is lost by a bad entry."""

import json
import logging
import stat
from pathlib import Path

import pytest

from appliance.cameras.camera import Start
from appliance.cameras.config import CameraConfig
from appliance.cameras.states import Camera, CameraState
from appliance.cameras.table import FILE, MAX_CAMERAS, CameraTable
from appliance.errors import BadRequest, Conflict, NotFound, Unavailable
from tests.appliance.cameras.test_push import png
from tests.appliance.cameras.watching import next_frame


def config(name: str = "door", url: str = "push:", **more: object) -> CameraConfig:
    return CameraConfig.model_validate({"name": name, "url": url, **more})


@pytest.fixture
def table(tmp_path: Path) -> CameraTable:
    """An empty one that is started; push cameras need no stopping."""
    made = CameraTable(tmp_path)
    made.start()
    return made


def again(tmp_path: Path) -> CameraTable:
    """The table after a restart of the box."""
    made = CameraTable(tmp_path)
    made.start()
    return made


def test_an_empty_state_has_no_cameras(table: CameraTable) -> None:
    """And no file is made for that."""
    assert ([], []) == (table.names(), table.statuses())


def test_cameras_are_there_after_a_restart(table: CameraTable, tmp_path: Path) -> None:
    """With all that was said about them."""
    wanted = [config("yard", fps=5, motion={"threshold": 9}), config("door", size_wh=(64, 48))]
    for one in wanted:
        table.add(one)
    found = again(tmp_path)

    assert ["door", "yard"] == found.names()
    assert wanted == [found.get("yard").config, found.get("door").config]


def test_the_file_is_for_the_service_alone(table: CameraTable, tmp_path: Path) -> None:
    """It holds passwords."""
    table.add(config())

    assert 0o600 == stat.S_IMODE((tmp_path / FILE).stat().st_mode)


def test_a_camera_is_started_when_added(table: CameraTable) -> None:
    """And takes frames at once."""
    camera = table.add(config())

    assert 0 == camera.push(png())
    assert [CameraState.LIVE] == [status.state for status in table.statuses()]


def test_a_name_is_taken_once(table: CameraTable) -> None:
    """The first one stays as it is."""
    table.add(config(fps=5))
    with pytest.raises(Conflict, match="door: exists already"):
        table.add(config())

    assert 5 == table.get("door").config.fps


def test_the_table_is_bounded(table: CameraTable) -> None:
    """Each camera may be a process."""
    for number in range(MAX_CAMERAS):
        table.add(config(f"c{number}"))

    with pytest.raises(Conflict, match=f"has {MAX_CAMERAS} already"):
        table.add(config("more"))


def test_a_changed_camera_goes_on_counting(table: CameraTable, tmp_path: Path) -> None:
    """Frame numbers are never used twice."""
    table.add(config()).push(png())
    table.change(config(fps=5))

    assert 1 == table.get("door").push(png())
    assert 5 == again(tmp_path).get("door").config.fps


def test_a_change_to_the_same_is_none(table: CameraTable) -> None:
    """The camera is not interrupted."""
    camera = table.add(config())

    assert camera is table.change(config())


def test_a_removed_camera_is_gone(table: CameraTable, tmp_path: Path) -> None:
    """Stopped, and not there after a restart."""
    camera = table.add(config())
    table.remove("door")

    assert CameraState.DISABLED is camera.status().state
    assert ([], []) == (table.names(), again(tmp_path).names())


def test_absent_cameras_are_not_found(table: CameraTable) -> None:
    """Whatever is asked of them; the message lists those there are."""
    table.add(config("yard"))
    with pytest.raises(NotFound, match="door: no such camera; there are: yard"):
        table.get("door")
    with pytest.raises(NotFound, match="door"):
        table.remove("door")
    with pytest.raises(NotFound, match="door"):
        table.change(config())


def test_listeners_hear_of_changes(table: CameraTable) -> None:
    """Of each camera that is new, other or gone, after it is so."""
    heard: list[tuple[str, Camera | None]] = []
    table.listen(lambda name, camera: heard.append((name, camera)))
    first = table.add(config())
    second = table.change(config(fps=5))
    table.remove("door")

    assert [("door", first), ("door", second), ("door", None)] == heard


def test_a_full_disk_changes_nothing(
    table: CameraTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file and the cameras stay as they are, and the camera goes on."""
    table.add(config())
    monkeypatch.setattr("appliance.cameras.table.write_atomic", _full)
    with pytest.raises(Unavailable, match="disk"):
        table.change(config(fps=5))
    with pytest.raises(Unavailable, match="disk"):
        table.add(config("yard"))
    with pytest.raises(Unavailable, match="disk"):
        table.remove("door")
    monkeypatch.undo()

    assert (["door"], 0) == (table.names(), table.get("door").push(png()))
    assert ["door"] == again(tmp_path).names()


def _full(*_: object, **__: object) -> None:
    raise Unavailable("cannot write: no space; check the disk")


GOOD = {"name": "yard", "url": "push:"}


@pytest.mark.parametrize(
    ("entry", "label", "reason"),
    [
        ({"name": "door", "url": "ftp://joe:hunter2@cam/"}, "door", "wanted rtsp://"),
        ({"name": "door", "ulr": "rtsp://joe:hunter2@cam/"}, "door", "url: missing"),
        ({"name": "door", "url": ["rtsp://joe:hunter2@cam/"]}, "door", "string"),
        ({"name": "door", "url": "push:", "fps": -1}, "door", "fps: got -1"),
        ({"name": "Door!", "url": "push:"}, "Door!", "a-z"),
        (GOOD, "yard", "taken by an earlier entry"),
        (["rtsp://joe:hunter2@cam/"], "entry 1", "wanted a table"),
        (None, "entry 1", "wanted a table"),
    ],
    ids=["url", "key", "list", "fps", "name", "twice", "no table", "null"],
)
def test_a_bad_entry_loses_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, entry: object, label: str, reason: str
) -> None:
    """The others run; it is reported without its secrets, and is still in the file later on."""
    caplog.set_level(logging.DEBUG)
    (tmp_path / FILE).write_text(json.dumps({"version": 1, "cameras": [GOOD, entry]}))
    table = again(tmp_path)
    table.add(config("gate"))
    kept = json.loads((tmp_path / FILE).read_text())["cameras"]

    assert ["gate", "yard"] == table.names()
    assert [label] == list(table.problems())
    assert reason in table.problems()[label]
    assert "hunter2" not in f"{caplog.text} {table.problems()}"
    assert entry in kept


def test_a_bad_entry_can_be_replaced_or_removed(tmp_path: Path) -> None:
    """By its name, as any other."""
    bad = [{"name": "door", "url": "x"}, {"name": "gate", "url": "x"}]
    (tmp_path / FILE).write_text(json.dumps({"version": 1, "cameras": bad}))
    table = again(tmp_path)
    table.add(config("door"))
    table.remove("gate")

    assert ({}, ["door"]) == (table.problems(), table.names())
    assert ["door"] == again(tmp_path).names()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"version": 1}', '{"version": 9, "cameras": []}', "[" * 99999]
)
def test_a_file_that_is_no_table_is_set_aside(tmp_path: Path, content: str) -> None:
    """The box starts, says so, and the file can be looked at."""
    (tmp_path / FILE).write_text(content)
    table = again(tmp_path)
    table.add(config())

    assert [FILE] == list(table.problems())
    (aside,) = tmp_path.glob("cameras.json.corrupt-*")
    assert content == aside.read_text()
    assert ["door"] == again(tmp_path).names()


def test_stopping_stops_all(tmp_path: Path) -> None:
    """Workers included; starting again starts them again."""
    table = again(tmp_path)
    cameras = [table.add(config(f"c{n}", "test:?size=64x48&fps=50")) for n in range(2)]
    for camera in cameras:
        next_frame(camera).close()
    table.stop()

    assert [CameraState.DISABLED] * 2 == [camera.status().state for camera in cameras]


def test_a_url_is_checked_without_being_quoted() -> None:
    """Not by pydantic, whose messages quote what they refuse."""
    with pytest.raises(BadRequest, match=r"got ftp://\*\*\*@cam/") as caught:
        config(url="ftp://joe:hunter2@cam/")

    assert "hunter2" not in str(caught.value)


def test_a_configuration_is_shown_without_secrets() -> None:
    """As the API gives it, and as a traceback would."""
    one = config(url="rtsp://joe:hunter2@cam/1")

    assert "rtsp://***@cam/1" == one.shown()["url"]
    assert "hunter2" not in f"{one!r} {one.shown()}"


def test_numbers_begin_where_they_are_told(tmp_path: Path) -> None:
    """A table's cameras are made by whoever knows more about them."""
    table = CameraTable(tmp_path, lambda c, s: _started(c, s))
    table.start()

    assert 100 == table.add(config()).push(png())


def _started(one: CameraConfig, start: Start) -> Camera:
    from appliance.cameras.camera import make_camera

    return make_camera(one, Start(start.sequence + 100))


def test_what_a_camera_feeds_changes_without_opening_it_again(
    table: CameraTable, tmp_path: Path
) -> None:
    """The stream goes on; the listeners hear of it, and the file has it."""
    heard: list[tuple[str, Camera | None]] = []
    before = table.add(config())
    table.listen(lambda *news: heard.append(news))
    after = table.change(config(apps=["cat", {"app": "dog", "fps": 2}]))

    assert before is after
    assert [("door", before)] == heard
    assert ["cat", "dog"] == [feed.app for feed in before.config.apps]
    assert before.config == again(tmp_path).get("door").config
