"""Commands that change apps and models on a running box."""

import json
from pathlib import Path

import pytest

from appliance.shipped import models_folder
from tests.appliance import watguests as guests
from tests.appliance.archives import gzipped, tarred, zipped
from tests.appliance.cli.conftest import Command
from tests.appliance.service import Service

SCALE = Path(__file__).parents[2] / "wasi_nn" / "backends" / "data" / "scale.onnx"
TOML = b'name = "%s"\nversion = "3"\nfiles = [{encoding = "onnx", paths = ["model.onnx"]}]\n'


def test_an_app_shown_and_rolled_back(command: Command, service: Service, picture: bytes) -> None:
    """The detail lists the versions; rollback names the one that answers."""
    at = ("--state", service.state)
    old = service.deploy("cat", guests.labelled("old")).json()["version"]
    new = service.deploy("cat", guests.labelled("new"), b'cameras = ["door"]').json()["version"]
    shown = command("app", "cat", *at).stdout.decode()

    assert [word for word in (old, new, "reactor", "live", "answers", "door", "memory_bytes")
            if word not in shown] == []  # fmt: skip
    assert f"cat {old} answers\n" == command("rollback", "cat", *at).stdout.decode()
    assert ["old"] == service.labels("cat", picture)
    assert f"cat {new} answers\n" == command("rollback", "cat", new, *at).stdout.decode()
    deploys = shown[shown.index("deploys\n") :].splitlines()
    probation = "probation: 0 of 10 frames, 0 failed"
    assert deploys[1].endswith(f"{new}  live after {old}, deploy by api; {probation}")
    assert deploys[2].endswith(f"{old}  gone, deploy by api; {probation}")
    last = json.loads(command("app", "cat", "--json", *at).stdout)["deploys"][0]
    assert [new, old, "cli"] == [last[key] for key in ("version", "from", "by")]
    again = command("rollback", "cat", new, *at).stdout.decode()
    assert f"cat {new} answered already\n" == again
    assert new == json.loads(command("app", "cat", "--json", *at).stdout)["version"]


def test_an_app_switched_off_and_on_and_deleted(
    command: Command, service: Service, picture: bytes
) -> None:
    """`apps` shows its state; deleting asks, and a script has to say --yes."""
    at = ("--state", service.state)
    service.deploy("dog", guests.labelled("dog"))
    assert command("disable", "dog", *at).stdout.endswith(b"disabled\n")
    assert b"disabled" in command("apps", *at).stdout
    assert b"disabled; POST" in command("app", "dog", *at).stdout
    assert command("enable", "dog", *at).stdout.endswith(b"live\n")
    assert ["dog"] == service.labels("dog", picture)

    unsure = command("delete", "dog", *at)
    assert 1 == unsure.returncode
    assert b"appliance: Delete the app dog and its versions? Nobody can be asked" in unsure.stderr
    assert b"dog deleted\n" == command("delete", "dog", "--yes", *at).stdout
    gone = command("app", "dog", *at)
    assert (1, True) == (gone.returncode, b"app dog: not found" in gone.stderr)


@pytest.mark.parametrize("kind", ["folder", "m.tar", "m.tar.gz", "m.zip"])
def test_a_model_added_shown_and_removed(
    command: Command, service: Service, tmp_path: Path, kind: str
) -> None:
    """Name and version come from its manifest, also where that lies in an archive."""
    at = ("--state", service.state)
    name = "m-" + kind.replace(".", "-")
    files = {"model.toml": TOML % name.encode(), "model.onnx": SCALE.read_bytes()}
    source = tmp_path / kind
    if kind == "folder":
        source.mkdir()
        for path, content in files.items():
            (source / path).write_bytes(content)
    else:
        inside = {f"some folder/{path}": content for path, content in files.items()}
        pack = {"m.tar": tarred, "m.zip": zipped}.get(kind, lambda *e: gzipped(tarred(*e)))
        source.write_bytes(pack(*inside.items()))

    added = command("models", "add", source, *at)
    assert f"{name}:3 added; loads as onnx\n" == added.stdout.decode(), added.stderr
    assert name.encode() in command("models", *at).stdout
    shown = command("models", "show", name, *at).stdout.decode()
    assert [word for word in (f"{name}:3", "default", "onnx", "NCHW") if word not in shown] == []
    unsure = command("models", "remove", name, "3", *at)
    assert (1, True) == (unsure.returncode, b"say --yes" in unsure.stderr)
    removed = command("models", "remove", name, "3", "--yes", *at)
    assert f"{name}:3 deleted\n" == removed.stdout.decode()


def test_a_model_without_a_manifest_is_named_by_its_file(
    command: Command, service: Service, tmp_path: Path
) -> None:
    """Or by the user; the first version is 1."""
    at = ("--state", service.state)
    source = tmp_path / "My Net.zip"
    source.write_bytes(zipped(("model.onnx", SCALE.read_bytes())))

    assert b"my-net:1 added" in command("models", "add", source, *at).stdout
    named = command("models", "add", source, "--name", "my-net", "--version", "0", *at).stdout
    assert b"my-net:0 added" in named
    assert b"a higher version remains what my-net means" in named.replace(b"\n", b" ")
    again = command("models", "add", source, *at)
    assert (1, True) == (again.returncode, b"my-net:1: exists already" in again.stderr)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(("models", "add", "nowhere"), "nowhere: no such file or folder", id="path"),
        pytest.param(("models", "show", "nobody"), "model nobody: not found", id="show"),
        pytest.param(("models", "sample", "nobody"), "model nobody: not found", id="sample"),
        pytest.param(
            ("models", "remove", "efficientnet-lite0", "1", "--yes"), "comes with the box",
            id="shipped",
        ),
        pytest.param(("rollback", "nobody"), "app nobody: not found", id="rollback"),
        pytest.param(("enable", "a/b"), "got 'a/b', wanted one without a slash", id="slash"),
        pytest.param(("delete", "..", "--yes"), "got '..'", id="parent"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_sentence(
    command: Command, service: Service, arguments: tuple[str, ...], words: str
) -> None:
    """And status 1."""
    done = command(*arguments, "--state", service.state)

    assert (1, b"") == (done.returncode, done.stdout)
    (sentence,) = done.stderr.decode().splitlines()
    assert words in sentence


def test_a_folder_that_is_no_model_is_refused_here(
    command: Command, service: Service, tmp_path: Path
) -> None:
    """Before anything is sent."""
    done = command("models", "add", tmp_path, "--state", service.state)

    assert 1 == done.returncode
    assert b"no model.toml and no model.onnx" in done.stderr


def test_a_shipped_model_shows_what_it_sees(command: Command, service: Service) -> None:
    """Its own sample, or a picture of the user's."""
    at = ("--state", service.state)
    rocket = models_folder() / "samples" / "rocket.jpg"

    assert b"espresso" in command("models", "sample", "efficientnet-lite0-int8", *at).stdout
    shown = command("models", "sample", "efficientnet-lite0-int8", rocket, *at).stdout
    assert b"missile" in shown
    (row,) = command("models", "sample", "efficientnet-lite0-int8", "--json", *at).stdout.split(
        b"\n"
    )[:-1]
    assert json.loads(row)["is_as_expected"]
    misplaced = command("models", *at, "show", "efficientnet-lite0")
    assert b"say options after show" in misplaced.stderr
