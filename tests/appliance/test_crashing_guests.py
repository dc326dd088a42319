"""Guests that end or stop the box they run in, until it runs them no more."""

import io
import logging
import os
import shutil
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from PIL import Image

from appliance.marks import Doing, _read
from tests.appliance import watguests as guests
from tests.appliance.service import Service, wait_until
from tests.appliance.test_crash import SETTINGS, back
from tests.appliance.workshop import put_model

log = logging.getLogger(__name__)

BUSY = guests.reactor(guests.LOOP)


def plain(level: int) -> bytes:
    """Draw a picture of one colour; the model's input has (level - 1) / 4 in it."""
    packed = io.BytesIO()
    Image.new("RGB", (8, 6), (level, level, level)).save(packed, "PNG")
    return packed.getvalue()


# What the poisoned model ends the process on, and what it does not.
POISON, GOOD = plain(9), plain(0)


@pytest.fixture
def box(state: Path) -> Service:
    """A box with a fake runtime in its own process, and a polite app; not started."""
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir(parents=True)
    (state / "settings.toml").write_text(SETTINGS)
    return Service(state, "tests.appliance.crashing_service")


def show(box: Service, name: str, picture: bytes) -> None:
    """Show a picture to who will not answer, and wait until the box is back."""
    pid = box.pid
    with suppress(httpx.TransportError):
        box.show(name, picture)
    back(box, pid)


def show_and_crash(box: Service, name: str, picture: bytes) -> None:
    """Show a picture, and have the box crash while the guest is at it."""
    pid = box.pid
    inflight = box.state / "run" / "inflight"
    asking = threading.Thread(target=show, args=(box, name, picture))
    asking.start()
    wait_until(lambda: any(m.doing is Doing.APP and m.name == name for m in _read(inflight)))
    # Not SIGSEGV: the engine takes that for a trap of the guest.
    os.kill(pid, signal.SIGABRT)
    asking.join()


@pytest.mark.parametrize(
    "rest",
    [{"abort_on_value": 2.0}, {"delay_s": 1000.0, "delay_on_value": 2.0}],
    ids=["crashes", "hangs"],
)
def test_a_guest_whose_model_ends_the_box_is_refused_after_three_times(
    box: Service, rest: dict[str, float]
) -> None:
    """The model is quarantined, the app says why it fails, the others answer, release helps."""
    put_model(box.state / "models", "bad", **rest)
    with box:
        box.deploy("polite", guests.STEADY)
        assert 200 == box.deploy("guilty", guests.computing("bad", "ok")).status_code
        began_s = time.monotonic()
        for _ in range(3):
            show(box, "guilty", POISON)
        log.warning("quarantined after %.1f s", time.monotonic() - began_s)

        pid = box.pid
        refused = box.show("guilty", POISON)
        assert 502 == refused.status_code
        detail = box.http.get("/v1/apps/guilty").json()
        assert "quarantined" in detail["last_error"]
        assert ["steady"] == box.labels("polite", POISON)
        assert pid == box.pid
        assert 200 == box.http.post("/v1/models/bad/1/release").status_code
        show(box, "guilty", POISON)
        assert ["steady"] == box.labels("polite", POISON)


def test_a_guest_that_crashes_the_box_by_itself_is_quarantined(box: Service) -> None:
    """No graph was in flight, so it is the guest; another version, or `enable`, runs again."""
    with box:
        box.deploy("polite", guests.STEADY)
        box.deploy("guilty", BUSY)
        began_s = time.monotonic()
        for _ in range(3):
            show_and_crash(box, "guilty", GOOD)
            assert ["steady"] == box.labels("polite", GOOD)
        log.warning("quarantined after %.1f s", time.monotonic() - began_s)

        detail = box.http.get("/v1/apps/guilty").json()
        assert "failed" == detail["state"]
        assert (
            "the box ended 3 times while it was in flight (last: crash SIGABRT)" in detail["reason"]
        )
        assert 200 == box.http.post("/v1/apps/guilty/enable").status_code
        assert "live" == box.http.get("/v1/apps/guilty").json()["state"]
        assert 200 == box.deploy("guilty", guests.labelled("healed")).status_code
        assert ["healed"] == box.labels("guilty", GOOD)
