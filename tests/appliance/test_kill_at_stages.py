"""A real box: killed at every stage of a deploy, crashed by a new version, asked over HTTP."""

import json
import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from appliance.marks import _read as read_marks
from tests.appliance import watguests as guests
from tests.appliance.service import Service, wait_until

STEADFAST = b"[limits]\ndeadline_s = 600"


@pytest.fixture
def box(state: Path) -> Service:
    """A box over an empty folder; not started."""
    shutil.rmtree(state, ignore_errors=True)
    return Service(state)


def deploys(box: Service, name: str = "cat") -> list[dict[str, Any]]:
    """Ask for an app's deploys."""
    return list(box.http.get(f"/v1/apps/{name}").json()["deploys"])


def written(box: Service, stage: str) -> int:
    """Count how often a stage is on record on disk."""
    return (box.state / "deploys.jsonl").read_bytes().count(b'"%s"' % stage.encode())


@pytest.mark.parametrize("stage", ["received", "validated", "compiled", "warmed", "live"])
def test_a_box_killed_at_a_stage_closes_the_deploy(
    box: Service, picture: bytes, stage: str
) -> None:
    """The old version or the new one answers, and the record says which."""
    with box:
        old = box.deploy("cat", guests.labelled("old")).json()["version"]
        before = written(box, stage)
        box.kill_when(
            lambda: written(box, stage) > before, lambda: box.deploy("cat", guests.labelled("new"))
        )
        box.start()

        (label,) = box.labels("cat", picture)
        last, first = deploys(box)
        ends = {"old": ("failed", "live"), "new": ("live", "gone")}
        assert ends[label] == (last["stage"], first["stage"])
        assert ("interrupted by a restart" in last["reason"]) is (label == "old")
        assert (old, "cat") == (last["from"], box.http.get("/v1/apps").json()[0]["name"])
        assert [] == list((box.state / "apps").rglob(".tmp-*"))
        folders = {path.name for path in (box.state / "apps" / "cat").iterdir() if path.is_dir()}
        assert folders == {old} | ({last["version"]} if label == "new" else set())
        assert box.deploy("cat", guests.labelled("again")).is_success
        assert ["again"] == box.labels("cat", picture)


def test_a_first_deploy_killed_leaves_no_half_app(box: Service, picture: bytes) -> None:
    """It is shown with its reason, and the same bytes are deployed as any."""
    with box:
        box.kill_when(lambda: written(box, "validated"), lambda: box.deploy("cat", guests.STEADY))
        box.start()
        (app,) = box.http.get("/v1/apps").json()
        assert app["state"] in ("failed", "live")
        assert (app["last_deploy_error"] == "") is (app["state"] == "live")

        assert box.deploy("cat", guests.STEADY).is_success
        assert ["steady"] == box.labels("cat", picture)


def test_a_bad_version_is_rolled_back_over_http(box: Service, picture: bytes) -> None:
    """Its clients get its failures, three of them; then the one before answers."""
    with box:
        old = box.deploy("cat", guests.labelled("old")).json()["version"]
        bad = box.deploy("cat", guests.trapping()).json()["version"]
        failed = [box.show("cat", picture).status_code for _ in range(3)]
        wait_until(lambda: box.show("cat", picture).status_code == 200)

        assert ([502] * 3, ["old"]) == (failed, box.labels("cat", picture))
        back, last, first = deploys(box)
        assert ("rollback", "automatic", old, bad, "live") == (
            back["kind"], back["by"], back["version"], back["from"], back["stage"]
        )  # fmt: skip
        assert {"frames": 10, "answered": 0, "failed": 3, "verdict": "failed"} == last["probation"]
        assert ("failed", "gone", None) == (last["stage"], first["stage"], back["probation"])
        stages = [step["stage"] for step in last["stages"]]
        assert ["received", "validated", "compiled", "warmed", "live", "failed"] == stages
        assert "trapped" in box.http.get("/v1/apps").json()[0]["last_deploy_error"]
        counted = 'edge_deploys_total{kind="automatic_rollback",outcome="live"} 1.0'
        assert counted in box.http.get("/metrics").text
        line = f"rolled back automatically app=cat version={old} bad={bad}"
        assert line in box.log.read_text()


def test_a_version_that_crashes_the_service_is_rolled_back_by_the_next_start(
    box: Service, picture: bytes
) -> None:
    """After its first crash, while it is on probation; a kill -9 is nobody's fault."""
    with box:
        box.deploy("cat", guests.labelled("old"))
        box.deploy("cat", guests.looping(), STEADFAST)
        _end_amid_frame(box, picture, signal.SIGKILL)
        assert ["live", "gone"] == [deploy["stage"] for deploy in deploys(box)]
        # Not SIGSEGV: the engine takes one that somebody sent for none of its own.
        _end_amid_frame(box, picture, signal.SIGABRT)

        assert ["live", "failed", "gone"] == [deploy["stage"] for deploy in deploys(box)]
        assert "the service ended (crash SIGABRT) while" in deploys(box)[1]["reason"]
        assert ["old"] == box.labels("cat", picture)


def test_a_deploy_under_way_is_shown(box: Service) -> None:
    """While a large guest compiles: the app is there, and says how far it is."""
    functions = "".join(
        f"(func (result i32) {'(i32.add (i32.const 1) ' * 300}(i32.const 1){')' * 300})"
        for _ in range(3000)
    )
    wasm = guests.reactor("(i32.const 0)", rest=functions)
    with box, ThreadPoolExecutor(1) as thread:
        asked = thread.submit(box.deploy, "cat", wasm)
        wait_until(lambda: box.http.get("/v1/apps").json() != [])
        (app,) = box.http.get("/v1/apps").json()
        detail = box.http.get("/v1/apps/cat").json()
        assert asked.result(120).is_success

        assert ("deploying", "validated") == (app["state"], app["deploying"]["stage"])
        assert ("its first version is on the way: validated", [], 1) == (
            detail["reason"], detail["versions"], len(detail["deploys"])
        )  # fmt: skip
        assert box.http.get("/v1/apps").json()[0]["deploying"] is None


def _end_amid_frame(box: Service, picture: bytes, number: signal.Signals) -> None:
    """Show a frame and end the service while the guest has it; return when the next one is up."""
    pid, marks = box.pid, box.state / "run" / "inflight"
    with ThreadPoolExecutor(1) as thread:
        asked = thread.submit(_ask, box, picture)
        wait_until(lambda: "cat" in {mark.name for mark in read_marks(marks)})
        os.kill(pid, number)
        asked.result(60)
    wait_until(lambda: _is_up(box) and box.pid != pid)


def _ask(box: Service, picture: bytes) -> None:
    with suppress(httpx.TransportError):
        box.show("cat", picture)


def _is_up(box: Service) -> bool:
    with suppress(httpx.TransportError, json.JSONDecodeError):
        return box.http.get("/readyz").status_code == 200
    return False
