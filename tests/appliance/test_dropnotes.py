"""The file beside a drop says what became of it, also when that changes later."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from appliance.dropnotes import Notes
from appliance.standings import Failure

BAD = Failure("cat", "v1", "version v1 failed its probation: 3 of 3", 5.0)


def noted(folder: Path) -> Notes:
    notes = Notes(folder, lambda: 7.0)
    notes.write(folder / "x.wasm", {"state": "live", "app": "cat", "version": "v1"})
    return notes


def said(folder: Path) -> dict[str, Any]:
    status: dict[str, Any] = json.loads((folder / "x.wasm.status").read_text())
    return status


def test_a_version_that_fails_later_is_said_to_have_failed(tmp_path: Path) -> None:
    """Once: what is written into the folder afterwards stays."""
    notes = noted(tmp_path)
    assert {"state": "live", "app": "cat", "version": "v1", "at": 7.0} == said(tmp_path)
    notes.follow([BAD])
    first = said(tmp_path)
    (tmp_path / "x.wasm.status").unlink()
    notes.follow([BAD])

    assert {
        "state": "failed", "app": "cat", "version": "v1", "reason": BAD.reason, "at": 7.0
    } == first  # fmt: skip
    assert [] == os.listdir(tmp_path)


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param(Failure("cat", "v2", "no", 5.0), id="another version"),
        pytest.param(Failure("dog", "v1", "no", 5.0), id="another app"),
    ],
)
def test_the_failure_of_something_else_changes_nothing(tmp_path: Path, failure: Failure) -> None:
    """Nor does none."""
    notes = noted(tmp_path)
    notes.follow([])
    notes.follow([failure])

    assert "live" == said(tmp_path)["state"]


def test_the_newer_drop_of_an_app_is_the_one_that_is_followed(tmp_path: Path) -> None:
    """The older one's version does not answer any more."""
    notes = noted(tmp_path)
    notes.write(tmp_path / "y.wasm", {"state": "live", "app": "cat", "version": "v2"})
    notes.follow([BAD])

    assert "live" == said(tmp_path)["state"]


def test_drops_are_followed_after_a_restart(tmp_path: Path) -> None:
    """A version may end the service on its probation."""
    noted(tmp_path)
    again = Notes(tmp_path)
    again.open()
    again.follow([BAD])

    assert "failed" == said(tmp_path)["state"]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="cut short"),
        pytest.param(b"[" * 10_000, id="deep"),
        pytest.param(b"[1]", id="a list"),
        pytest.param(b'{"state": "live", "app": 1, "version": null}', id="other types"),
        pytest.param(b"\xff\xfe", id="no text"),
        pytest.param(b" " * 20_000, id="huge"),
    ],
)
def test_what_is_not_ours_is_passed_over(tmp_path: Path, content: bytes) -> None:
    """Anybody may write into the folder; what is beside it is recalled all the same."""
    noted(tmp_path)
    (tmp_path / "a.status").write_bytes(content)
    os.mkfifo(tmp_path / "b.status")
    (tmp_path / "c.status").mkdir()
    again = Notes(tmp_path)
    again.open()
    again.follow([BAD])

    assert "failed" == said(tmp_path)["state"]
    assert content == (tmp_path / "a.status").read_bytes()
