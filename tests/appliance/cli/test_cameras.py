"""`appliance cameras ...`, as a user would type it."""

import json
from pathlib import Path

import pytest

from appliance.cli.cameras import feed_of
from appliance.errors import BadRequest
from tests.appliance import watguests as guests
from tests.appliance.cli.conftest import Command
from tests.appliance.service import Service


def test_the_life_of_a_camera(
    command: Command, service: Service, tmp_path: Path, picture: bytes
) -> None:
    """Add, list, show, change, snapshot, disable, enable, remove."""
    service.deploy("steady", guests.STEADY)
    at = ("--state", service.state)

    def said(*words: object) -> str:
        done = command("cameras", *words, *at)
        assert (0, b"") == (done.returncode, done.stderr)
        return done.stdout.decode()

    assert "no camera is added" in said("list")
    added = said("add", "door", "push:", "--fps", 50, "--app", "steady@2", "--size", "640x480")
    assert "door added: push: feeds steady" in added
    service.http.post("/v1/cameras/door/frames", content=picture)
    assert ["door", "live", "8x6"] == [w for w in ("door", "live", "8x6") if w in said("list")]
    assert "2/s" in said("show", "door")
    said("change", "door", "--fps", 7)
    (shown,) = [json.loads(line) for line in said("show", "door", "--json").splitlines()]
    assert (7.0, [640, 480]) == (shown["settings"]["fps"], shown["settings"]["size_wh"])
    service.http.post("/v1/cameras/door/frames", content=picture)
    file = tmp_path / "a b.jpg"
    assert "a b.jpg" in said("snapshot", "door", "-o", file, "--no-labels")
    assert file.read_bytes().startswith(b"\xff\xd8\xff")
    assert "door disabled" in said("disable", "door")
    assert "door connecting" in said("enable", "door")
    assert "door removed" in said("remove", "door")
    assert "no camera is added" in said("list")
    assert said("discover")


def test_a_path_means_what_it_means_here(
    command: Command, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The box runs in another folder."""
    monkeypatch.chdir(tmp_path)
    done = command("cameras", "add", "yard", "film.mp4", "--loop", "--state", service.state)
    command("cameras", "remove", "yard", "--state", service.state)

    assert f"yard added: {tmp_path}/film.mp4" in done.stdout.decode()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        pytest.param(["add", "x", "gopher://h"], "gopher", id="scheme"),
        pytest.param(["add", "x", "push:", "--app", "a@fast"], "--app a@fast: wanted", id="feed"),
        pytest.param(["add", "x", "push:", "--size", "big"], "wanted WIDTHxHEIGHT", id="size"),
        pytest.param(["show", "nobody"], "camera nobody: no such camera", id="unknown"),
        pytest.param(["change", "x"], "nothing to change", id="nothing"),
        pytest.param(["snapshot", "nobody", "-o", "x.jpg"], "no such camera", id="no picture"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    command: Command, service: Service, words: list[str], sentence: str
) -> None:
    """On standard error, with status 1."""
    done = command("cameras", *words, "--state", service.state)

    assert 1 == done.returncode
    assert sentence in done.stderr.decode()


@pytest.mark.parametrize(
    ("text", "feed"),
    [
        ("cat", {"app": "cat"}),
        ("cat@0.5", {"app": "cat", "fps": 0.5}),
        ("cat@2:0,0.5,1,.5", {"app": "cat", "fps": 2.0, "region_xywh": [0.0, 0.5, 1.0, 0.5]}),
    ],
)
def test_a_feed_is_typed_in_a_word(text: str, feed: dict[str, object]) -> None:
    """Name, rate and region."""
    assert feed == feed_of(text)


def test_a_feed_that_is_no_number_is_refused() -> None:
    """Here, since the box would see a name with odd signs."""
    with pytest.raises(BadRequest, match=r"--app cat:a,b: wanted NAME"):
        feed_of("cat:a,b")
