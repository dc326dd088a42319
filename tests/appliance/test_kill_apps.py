"""kill -9 in the middle of a change of an app: the next start finds the old or the new."""

import shutil
from pathlib import Path

import pytest

from tests.appliance import watguests as guests
from tests.appliance.service import Service


def _pointer(box: Service) -> str:
    try:
        return (box.state / "apps" / "cat" / "current").read_text().strip()
    except OSError:
        return ""


@pytest.mark.parametrize("change", ["deploy", "rollback", "delete", "disable"])
def test_a_box_killed_in_a_change_comes_back_whole(
    state: Path, picture: bytes, change: str
) -> None:
    """Killed at the first trace of the change; whatever holds then answers, and changes again."""
    shutil.rmtree(state, ignore_errors=True)
    with Service(state) as box:
        old = box.deploy("cat", guests.labelled("old")).json()["version"]
        new = box.deploy("cat", guests.labelled("new")).json()["version"]
        home = box.state / "apps" / "cat"
        traces = {
            "deploy": lambda: any(home.glob(".tmp-*")) or _pointer(box) != new,
            "rollback": lambda: any(home.glob(".tmp-*")) or _pointer(box) != new,
            "delete": lambda: not home.exists(),
            "disable": lambda: any(home.glob(".tmp-*")) or (home / "disabled").exists(),
        }
        asks = {
            "deploy": lambda: box.deploy("cat", guests.labelled("third")),
            "rollback": lambda: box.http.post("/v1/apps/cat/rollback"),
            "delete": lambda: box.http.delete("/v1/apps/cat"),
            "disable": lambda: box.http.post("/v1/apps/cat/disable"),
        }
        box.kill_when(traces[change], asks[change])
        box.start()

        states = {app["name"]: app["state"] for app in box.http.get("/v1/apps").json()}
        wanted = {"delete": [{}], "disable": [{"cat": "live"}, {"cat": "disabled"}]}
        assert states in wanted.get(change, [{"cat": "live"}])
        assert [] == list(box.state.rglob(".tmp-*"))
        assert box.deploy("cat", guests.labelled("again")).is_success
        assert ["again"] == box.labels("cat", picture)
        kept = {version["version"] for version in box.http.get("/v1/apps/cat").json()["versions"]}
        assert {old, new} <= kept or change in ("delete", "deploy")
