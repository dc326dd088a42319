"""A box on a disk that is full, or that turns read-only: a real file system of a few megabytes."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.appliance import watguests as guests
from tests.appliance.disks import answered, fail, failing_disk, fill, small_disk
from tests.appliance.service import Service, appliance
from tests.appliance.test_crash import back


@pytest.fixture
def small() -> Iterator[Path]:
    """A state folder on a disk of 3 MiB."""
    with small_disk("3m") as state:
        yield state


@pytest.fixture
def failing() -> Iterator[Path]:
    """A state folder on a disk that can be made to fail."""
    with failing_disk() as state:
        yield state


def ids(box: Service) -> list[int]:
    """List the ids of the whole history."""
    found = box.http.get("/v1/predictions", params={"limit": 1000}).json()["predictions"]
    return [one["id"] for one in found]


def sample(box: Service, name: str) -> float:
    """Read one figure of the metrics."""
    lines = box.http.get("/metrics").text.splitlines()
    (value,) = [line.split()[-1] for line in lines if line.startswith(name)]
    return float(value)


def test_a_full_disk_costs_the_history_and_changes_only(small: Path, picture: bytes) -> None:
    """Frames are answered, a deploy is refused with its reason; with space again all goes on."""
    with Service(small) as box:
        box.deploy("cat", guests.labelled("old"))
        kept = [box.show("cat", picture).json()["predictions"][0]["id"] for _ in range(5)]
        filler = fill(small)
        while_full = [answered(box, picture) for _ in range(3)]
        refused = box.deploy("cat", guests.labelled("new"))
        also = box.deploy("dog", guests.labelled("dog"))
        stored = sorted(ids(box))
        problems = box.http.get("/healthz").json()["problems"]
        missed = sample(box, 'edge_history_predictions_total{outcome="missed"}')
        free_bytes = sample(box, "edge_state_free_bytes")
        filler.unlink()
        after = answered(box, picture)
        deployed = box.deploy("cat", guests.labelled("new"))
        (app,) = [a for a in box.http.get("/v1/apps").json() if a["name"] == "cat"]
        newer = answered(box, picture)

        assert [(200, "old", False)] * 3 == while_full
        assert (503, 503) == (refused.status_code, also.status_code)
        assert "No space left on device; check the disk's space" in refused.json()["error"]
        assert ".tmp-" not in refused.text
        assert "60" == refused.headers["Retry-After"]
        assert kept == stored
        assert "is full" in problems[0]
        assert (3, 0) == (missed, free_bytes)
        assert (200, "old", True) == after
        assert (200, "live", (200, "new", True)) == (deployed.status_code, app["state"], newer)
        assert set(kept) < set(ids(box))
        assert [] == box.http.get("/healthz").json()["problems"]
        assert [] == list(small.rglob(".tmp-*"))
        log = box.log.read_text()
        assert 1 == log.count("predictions not stored from now on")
        assert "predictions stored again missed=3" in log


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_a_box_starts_on_a_full_disk(small: Path, picture: bytes, end: signal.Signals) -> None:
    """It serves what is deployed, shows the history, and stores again when it can."""
    with Service(small) as box:
        box.deploy("cat", guests.labelled("cat"))
        kept = [box.show("cat", picture).json()["predictions"][0]["id"] for _ in range(5)]
        filler = fill(small)
        box.end(end)
        filler.unlink()
        filler = fill(small)
        box.start()
        while_full = answered(box, picture)
        stored = sorted(ids(box))
        filler.unlink()

        assert (200, "cat", False) == while_full
        assert kept == stored
        assert (200, "cat", True) == answered(box, picture)
        assert set(kept) < set(ids(box))


def test_an_app_is_switched_off_and_on_on_a_full_disk(small: Path, picture: bytes) -> None:
    """What needs no space is not refused."""
    with Service(small) as box:
        box.deploy("cat", guests.labelled("cat"))
        filler = fill(small)
        off = box.http.post("/v1/apps/cat/disable")
        on = box.http.post("/v1/apps/cat/enable")
        answer = answered(box, picture)
        filler.unlink()

    assert (200, 200) == (off.status_code, on.status_code)
    assert (200, "cat", False) == answer


def test_a_disk_that_turns_read_only_under_a_box(failing: Path, picture: bytes) -> None:
    """It answers frames, refuses changes with the reason, and is back after a crash."""
    with Service(failing) as box:
        box.deploy("cat", guests.labelled("cat"))
        kept = [box.show("cat", picture).json()["predictions"][0]["id"] for _ in range(5)]
        fail(failing)
        answers = [answered(box, picture) for _ in range(3)]
        refused = box.deploy("cat", guests.labelled("new"))
        deleted = box.http.delete("/v1/apps/cat")
        stored = sorted(ids(box))
        pid = box.pid
        os.kill(pid, signal.SIGKILL)
        back(box, pid)

        assert [(200, "cat", False)] * 3 == answers
        assert (503, 503) == (refused.status_code, deleted.status_code)
        assert "Read-only file system" in refused.json()["error"]
        assert kept == stored
        assert (200, "cat", False) == answered(box, picture)
        assert kept == sorted(ids(box))


def test_a_box_starts_on_a_read_only_disk_with_a_folder_for_its_sockets(
    failing: Path, picture: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without that folder it says what to do; with it, it serves what is deployed."""
    with Service(failing) as box:
        box.deploy("cat", guests.labelled("cat"))
        kept = box.show("cat", picture).json()["predictions"][0]["id"]
        box.end()
        fail(failing)
        told = appliance("serve", "--state", failing)
        run = failing.parent / "run"
        monkeypatch.setenv("APPLIANCE_RUN", str(run))
        box.socket = run / "appliance.sock"
        box.http.close()
        box.http = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(box.socket)), base_url="http://box", timeout=60
        )
        box.start()
        asked = appliance("apps", "--state", failing, "--json")

        assert 1 == told.returncode
        assert b"the state folder is read-only: set `run`" in told.stderr
        assert (200, "cat", False) == answered(box, picture)
        assert [kept] == ids(box)
        assert b'"state":"live"' in asked.stdout
        assert "new ones are not stored" in box.http.get("/healthz").json()["problems"][0]
