"""Commands that talk to a running box, over its socket."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from appliance.shipped import classifier_folder
from tests.appliance import watguests as guests
from tests.appliance.archives import zipped
from tests.appliance.cli.conftest import Command
from tests.appliance.service import Service


def rows(stdout: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stdout.splitlines()]


@pytest.fixture
def png_file(tmp_path: Path, picture: bytes) -> Path:
    path = tmp_path / "a b.png"
    path.write_bytes(picture)
    return path


def put(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def test_from_a_file_to_a_prediction(
    command: Command, service: Service, tmp_path: Path, png_file: Path
) -> None:
    """deploy, predict, predictions and apps, as a user would type them."""
    at = ("--state", service.state)
    guest = put(tmp_path, "My Cat_v2.wasm", guests.labelled("tabby"))

    first, second = (command("deploy", guest, *at).stdout.decode().split() for _ in range(2))
    assert ["my-cat-v2", "deployed"] == [first[0], first[-1]]
    assert ["was", "live", "already"] == second[2:]

    shown = command("predict", png_file, "--app", "my-cat-v2", *at).stdout.decode()
    assert "a b.png" in shown
    assert "tabby 0.500" in shown
    assert "tabby" in command("predictions", "--label", "tabby", *at).stdout.decode()
    assert "no prediction matches" in command("predictions", "--label", "x", *at).stdout.decode()
    assert "my-cat-v2" in command("apps", *at).stdout.decode()


def test_json_is_one_object_a_line(
    command: Command, service: Service, tmp_path: Path, png_file: Path
) -> None:
    """For jq: the API's own shapes, the picture's path added."""
    at = ("--state", service.state, "--json")
    command("deploy", put(tmp_path, "json.wasm", guests.labelled("j")), *at[:2])

    (answer, _) = rows(command("predict", png_file, png_file, "--app", "json", *at).stdout)
    assert (str(png_file), "json") == (answer["picture"], answer["app"])
    (newest,) = rows(command("predictions", "--app", "json", "--limit", 1, *at).stdout)
    assert "j" == newest["label"]
    (app,) = [row for row in rows(command("apps", *at).stdout) if row["name"] == "json"]
    assert ("live", 2) == (app["state"], app["frames"])


@pytest.mark.parametrize(
    ("file", "content", "toml", "options", "name"),
    [
        pytest.param("x.wasm", guests.STEADY, b"", [], "x", id="file name"),
        pytest.param("x.wasm", guests.STEADY, b'name = "beside"', [], "beside", id="toml beside"),
        pytest.param("x.wasm", guests.STEADY, b"", ["--name", "said"], "said", id="option"),
        pytest.param(
            "x.zip", zipped(("a.wasm", guests.STEADY)), b"", ["--name", "packed"], "packed",
            id="zip",
        ),
        pytest.param(
            "x.zip", zipped(("a.wasm", guests.STEADY), ("app.toml", b'name = "inside"')), b"", [],
            "inside", id="zip with a name",
        ),
    ],
)  # fmt: skip
def test_the_app_is_named_by_whoever_says_most(
    command: Command, service: Service, tmp_path: Path, file: str, content: bytes, toml: bytes,
    options: list[str], name: str,
) -> None:  # fmt: skip
    """The option, then the manifest, then the file."""
    guest = put(tmp_path, file, content)
    if toml:
        put(tmp_path, "x.toml", toml)
    done = command("deploy", guest, *options, "--state", service.state)

    assert (0, name) == (done.returncode, done.stdout.decode().split(" ")[0]), done.stderr


def test_an_empty_box_says_so(
    command: Command, tmp_path_factory: pytest.TempPathFactory, service: Service
) -> None:
    """A table without rows would look like a fault."""
    done = command("predictions", "--app", "nobody", "--state", service.state)

    assert b"no prediction matches\n" == done.stdout


def test_the_built_in_classifier_by_hand(
    command: Command, service: Service, read_sample: Callable[[str], bytes], tmp_path: Path
) -> None:
    """`predict` asks the app "classifier" unless told otherwise."""
    guest = classifier_folder() / "classifier.wasm"
    manifest = classifier_folder() / "app.toml"
    deployed = command("deploy", guest, "--manifest", manifest, "--state", service.state)
    assert deployed.stdout.startswith(b"classifier ")

    coffee = put(tmp_path, "coffee.jpg", read_sample("coffee.jpg"))
    shown = command("predict", coffee, "--state", service.state)
    assert b"espresso" in shown.stdout
