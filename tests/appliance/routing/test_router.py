"""From cameras to apps: who feeds whom, what is counted, and that nobody is starved."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from appliance.cameras.config import CameraConfig
from appliance.cameras.feeds import Region
from appliance.cameras.newest import Lease
from appliance.cameras.states import Camera
from appliance.routing import pairs
from tests.appliance import watguests as guests
from tests.appliance.guests.test_reactor import Gate, counting
from tests.appliance.routing.line import PIXELS, WAIT_S, RoutingLine
from tests.appliance.workshop import Workshop, put_model
from wasi_nn.errors import Busy
from wasi_nn.executor import DirectExecutor

# Says how wide the frame is, if it has one digit.
SIZED = guests.wasm("""
    (module
      (import "appliance" "frame_info" (func $info (param i32 i32) (result i32)))
      (import "appliance" "emit" (func $emit (param i32 i32) (result i32)))
      (memory (export "memory") 1) (data (i32.const 64) "{\\22width\\22:0}")
      (func (export "appliance_on_frame") (param i32) (result i32)
        (drop (call $info (local.get 0) (i32.const 0)))
        (i32.store8 (i32.const 73) (i32.add (i32.const 48) (i32.load (i32.const 0))))
        (call $emit (i32.const 64) (i32.const 11))))
""")


@pytest.fixture
def line(workshop: Workshop, tmp_path: Path) -> Iterator[RoutingLine]:
    made = RoutingLine(workshop, tmp_path)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def gate(workshop: Workshop) -> Iterator[Gate]:
    """Hold every compute of the model "tiny" until it is opened."""
    put_model(workshop.models, delay_s=1)
    workshop.gate = made = Gate()
    yield made
    made.opened.set()


def test_a_frame_becomes_a_prediction_of_every_app(line: RoutingLine) -> None:
    """One picture, two apps, with the camera's name and number; the labels are there to see."""
    line.add("door")
    line.deploy("cat", guests.labelled("tabby"))
    line.deploy("dog", guests.labelled("poodle"))
    assert [("door", "cat"), ("door", "dog")] == line.pairs()
    line.push("door")
    line.store.wait_for(lambda seen: len(seen) == 2)
    counts = [status.outcomes() for status in line.finish()]

    said = {(p.app, p.label, p.source, p.sequence) for p in line.store.seen}
    assert {("cat", "tabby", "door", 0), ("dog", "poodle", "door", 0)} == said
    assert [{"inferred": 1, "limited": 0, "skipped": 0, "refused": 0}] * 2 == counts


@pytest.mark.parametrize(
    ("apps", "manifest", "is_fed"),
    [
        pytest.param(None, "", True, id="nobody said anything"),
        pytest.param(None, 'cameras = ["door"]', True, id="the app wants it"),
        pytest.param(None, 'cameras = ["gate"]', False, id="the app wants another"),
        pytest.param(None, "cameras = []", True, id="the app wants what is pushed"),
        pytest.param(["cat"], 'cameras = ["gate"]', True, id="the operator names the app"),
        pytest.param(["dog"], 'cameras = ["door"]', False, id="the operator names another"),
        pytest.param([], "", False, id="the operator wants none"),
    ],
)
def test_the_operators_list_decides_else_the_apps_do(
    line: RoutingLine, apps: list[str] | None, manifest: str, is_fed: bool
) -> None:
    """A camera with a list feeds exactly those; without one, whoever wants it."""
    line.add("door", apps=apps)
    line.deploy("cat", guests.STEADY, manifest)

    assert ([("door", "cat")] if is_fed else []) == line.pairs()


def test_an_app_that_wants_only_what_is_pushed_gets_no_camera(line: RoutingLine) -> None:
    """`cameras = []` keeps a camera that nobody pushes to away."""
    line.cameras.add(CameraConfig(name="film", url="test:", is_enabled=True))
    line.deploy("cat", guests.STEADY, "cameras = []")
    line.deploy("dog", guests.STEADY)

    assert [("film", "dog")] == line.pairs()


def test_routes_follow_apps_and_cameras(line: RoutingLine) -> None:
    """Whatever comes and goes, in whichever order."""
    line.add("door", apps=["cat"])
    assert [] == line.pairs()
    line.deploy("cat", guests.STEADY)
    assert [("door", "cat")] == line.pairs()
    line.apps.disable("cat")
    assert [] == line.pairs()
    line.deploy("cat", guests.STEADY, version="2")
    line.add("gate")
    assert [("door", "cat"), ("gate", "cat")] == line.pairs()
    line.cameras.change(CameraConfig(name="door", url="push:", is_enabled=False))
    assert [("gate", "cat")] == line.pairs()
    line.cameras.remove("gate")
    assert [] == line.pairs()


def test_threads_of_routes_end_with_them(line: RoutingLine) -> None:
    """A camera that is removed leaves no thread behind."""
    line.add("door")
    line.deploy("cat", guests.STEADY)
    assert [("door", "cat")] == line.pairs()
    (pair,) = line.router._of(None)
    line.cameras.remove("door")
    assert [] == line.pairs()
    pair.join()

    assert [] == [t.name for t in threading.enumerate() if t.name.startswith("route-")]


def test_a_redeployed_app_answers_the_next_frame(line: RoutingLine) -> None:
    """The route stays; its counts, too."""
    line.add("door")
    line.deploy("cat", guests.labelled("old"))
    assert [("door", "cat")] == line.pairs()
    line.push("door")
    line.store.wait_for(lambda seen: len(seen) == 1)
    line.deploy("cat", guests.labelled("new"), version="2")
    line.push("door")
    line.store.wait_for(lambda seen: len(seen) == 2)
    (status,) = line.finish()

    assert ["old", "new"] == [prediction.label for prediction in line.store.seen]
    assert 2 == status.inferred


def test_the_newest_frame_wins(line: RoutingLine, gate: Gate) -> None:
    """While one is under way the others pass, and are counted."""
    line.add("door")
    line.deploy("cat", guests.computing("tiny", "x"))
    assert [("door", "cat")] == line.pairs()
    line.push("door")
    assert gate.arrived.acquire(timeout=WAIT_S)
    line.push("door", times=5)
    gate.opened.set()
    line.store.wait_for(lambda seen: len(seen) == 2)
    (status,) = line.finish()

    assert [0, 5] == [prediction.sequence for prediction in line.store.seen]
    assert (2, 4, 2) == (status.inferred, status.skipped, status.latency.total)


def looks(camera: Camera) -> SimpleQueue[int]:
    """Have a camera tell the number that whoever waits for a newer frame has dealt with."""
    told: SimpleQueue[int] = SimpleQueue()
    wait_newer = camera.wait_newer

    def tell_and_wait(sequence: int, timeout_s: float) -> Lease | None:
        told.put(sequence)
        return wait_newer(sequence, timeout_s)

    camera.wait_newer = tell_and_wait
    return told


def test_a_feed_has_its_own_rate(line: RoutingLine) -> None:
    """Frames over it are counted and not shown."""
    line.add("door", apps=[{"app": "cat", "fps": 0.001}])
    told = looks(line.cameras.get("door"))
    line.deploy("cat", guests.STEADY)
    assert [("door", "cat")] == line.pairs()
    for sequence in range(3):
        line.push("door")
        assert sequence in iter(lambda: told.get(timeout=WAIT_S), None)
    (status,) = line.finish()

    assert (1, 2, 0) == (status.inferred, status.limited, status.skipped)


def test_a_feed_has_its_own_region(line: RoutingLine) -> None:
    """The app sees its part of the picture, and people are told which."""
    region = {"x": 0.5, "y": 0, "width": 0.5, "height": 1}
    line.add("door", apps=[{"app": "cat", "region_xywh": region}, "dog"])
    for name in ("cat", "dog"):
        line.deploy(name, SIZED)
    assert 2 == len(line.pairs())
    line.push("door")
    line.store.wait_for(lambda seen: len(seen) == 2)
    widths = {prediction.app: prediction.data["width"] for prediction in line.store.seen}
    line.pipeline.wait_for(2)
    pairs = line.router._of(None)
    line.finish()
    seen = {pair.feed.app: pair.seen() for pair in pairs}

    assert {"cat": PIXELS.shape[1] // 2, "dog": PIXELS.shape[1]} == widths
    assert (Region(**region), None) == (seen["cat"].region, seen["dog"].region)


def test_an_app_that_always_fails_does_not_fill_the_log(
    line: RoutingLine, caplog: pytest.LogCaptureFixture
) -> None:
    """A camera would write thirty lines a second; one a minute says it."""
    line.add("door")
    line.deploy("cat", guests.trapping())
    assert [("door", "cat")] == line.pairs()
    for count in (1, 2, 3):
        line.push("door")
        line.pipeline.wait_for(count)
    line.finish()

    assert 1 == sum("frames fail camera=door app=cat" in text for text in caplog.messages)


def test_failures_are_counted_by_reason_and_the_route_goes_on(line: RoutingLine) -> None:
    """One frame that traps is not the last."""
    line.add("door")
    line.deploy("cat", counting("unreachable"))
    assert [("door", "cat")] == line.pairs()
    for count in (1, 2, 3, 4):
        line.push("door")
        line.pipeline.wait_for(count)
    (status,) = line.finish()

    assert (3, {"trap": 1}) == (status.inferred, status.failed)
    assert {"inferred": 3, "limited": 0, "skipped": 0, "refused": 0, "failed_trap": 1} == (
        status.outcomes()
    )
    assert "trapped" in status.last_error


class BusyOnce(DirectExecutor):
    """An executor that has no room for the first compute."""

    def __init__(self) -> None:
        self._is_busy = True

    def run(self, *arguments: Any) -> Any:
        if self._is_busy:
            self._is_busy = False
            raise Busy("compute: Exceeds maximum queue size")
        return super().run(*arguments)


def test_a_full_box_is_a_refusal_not_a_failure(line: RoutingLine, workshop: Workshop) -> None:
    """It says nothing about the app; the next frame is another chance."""
    put_model(workshop.models)
    workshop.host = replace(workshop.host, executor=BusyOnce())
    line.add("door")
    line.deploy("cat", guests.computing("tiny", "x"))
    assert [("door", "cat")] == line.pairs()
    for count in (1, 2):
        line.push("door")
        line.pipeline.wait_for(count)
    (status,) = line.finish()

    assert (1, 1, {}) == (status.inferred, status.refused, status.failed)
    assert "Exceeds maximum queue size" in status.last_error


def test_a_suspended_apps_frames_are_not_even_copied(
    line: RoutingLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are refusals, and the app's to count; once it has paid it is shown frames again."""
    line.add("door")
    line.deploy("cat", guests.STEADY)
    assert [("door", "cat")] == line.pairs()
    with line.apps.using("cat") as app:
        app.runner._debt.add(60.0)
    with monkeypatch.context() as watched:
        watched.setattr(pairs, "crop", lambda frame, region: 1 / 0)
        line.push("door")
        line.pipeline.wait_for(1)
    with line.apps.using("cat") as app:
        counted = app.statistics().failures
        app.runner._debt.close()
    line.push("door")
    line.pipeline.wait_for(2)
    (status,) = line.finish()

    assert (1, 1, {}) == (status.inferred, status.refused, status.failed)
    assert "suspended" in status.last_error
    assert {"suspended": 1} == counted


def test_a_bug_of_ours_ends_no_route(
    line: RoutingLine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is counted, logged with its traceback, and the next frame is shown."""
    line.add("door")
    line.deploy("cat", guests.STEADY)
    assert [("door", "cat")] == line.pairs()
    with monkeypatch.context() as broken:
        broken.setattr(line.store, "append", lambda _: 1 / 0)
        line.push("door")
        line.pipeline.wait_for(1)
    line.push("door")
    line.pipeline.wait_for(2)
    (status,) = line.finish()

    assert (1, {"internal": 1}) == (status.inferred, status.failed)
    assert "ZeroDivisionError" in caplog.text


def test_each_camera_has_an_instance_of_its_own_if_the_app_asks(line: RoutingLine) -> None:
    """A guest that counts counts each camera's frames; a camera that comes back begins anew."""
    line.deploy("cat", counting("(i32.const 0)"), 'instances = "per-camera"')
    line.add("door")
    line.add("gate")
    assert 2 == len(line.pairs())
    for count, camera in enumerate(("door", "door", "gate"), 1):
        line.push(camera)
        line.pipeline.wait_for(count)
    line.cameras.remove("door")
    assert [("gate", "cat")] == line.pairs()
    line.add("door")
    assert 2 == len(line.pairs())
    line.push("door")
    line.pipeline.wait_for(4)

    assert [("door", 1), ("door", 2), ("gate", 1), ("door", 1)] == [
        (prediction.source, prediction.data["n"]) for prediction in line.store.seen
    ]


def test_cameras_share_an_app_evenly_under_overload(line: RoutingLine, workshop: Workshop) -> None:
    """Where each has a newer frame whenever it comes, none is starved; the benchmark says 0.9."""
    put_model(workshop.models, delay_s=1)
    names = ("a", "b", "c", "d", "e")
    workshop.gate = lambda _: [line.push(name) for name in names]
    line.deploy("cat", guests.computing("tiny", "x"), "[limits]\nhandles = 9999\ngraphs = 9999")
    for name in names:
        line.add(name)
    assert 5 == len(line.pairs())
    for name in names:
        line.push(name)
    line.pipeline.wait_for(500)
    counts = [status.inferred for status in line.finish()]

    assert 2 * min(counts) > max(counts), counts


def test_slow_apps_do_not_hold_a_cameras_memory(line: RoutingLine, gate: Gate) -> None:
    """Where many apps look, frames are given back before they are shown."""
    line.add("door")
    for name in ("a", "b", "c"):
        line.deploy(name, guests.computing("tiny", name))
    assert 3 == len(line.pairs())
    line.push("door")
    for _ in range(3):
        assert gate.arrived.acquire(timeout=WAIT_S)
    kept = line.cameras.get("door")._newest._kept

    assert 0 == kept.leases


def test_a_stopped_router_leaves_no_thread(line: RoutingLine) -> None:
    """Every thread is joined."""
    line.add("door")
    line.deploy("cat", guests.STEADY)
    line.pairs()
    line.finish()

    names = [thread.name for thread in threading.enumerate()]
    assert [] == [name for name in names if name.startswith(("route", "pair"))]
