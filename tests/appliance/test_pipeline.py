"""From a frame to stored predictions."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.apps import AppTable, LiveApp, make_live
from appliance.errors import GuestFailed, NotFound, Suspended, Unavailable
from appliance.feed import Feed
from appliance.pipeline import Pipeline
from appliance.records import Frame
from appliance.store import PredictionQuery, PredictionStore
from tests.appliance import watguests as guests
from tests.appliance.workshop import Workshop

NOW = 1_700_000_100.0


class Line:
    """A pipeline over a store, and a way to make apps live."""

    def __init__(self, workshop: Workshop, folder: Path, store: PredictionStore) -> None:
        self.table = AppTable()
        self.store = store
        self.feed = Feed(max_subscribers=1)
        self.pipeline = Pipeline(self.table, store, self.feed, clock=lambda: NOW)
        self._workshop, self._folder = workshop, folder

    def add(self, wasm: bytes) -> LiveApp:
        app = make_live(self._workshop.program(wasm, 'name = "cat"'), "v1", instances=1,
                        scratch=self._folder)  # fmt: skip
        self.table.switch(app)
        return app


@pytest.fixture
def line(workshop: Workshop, tmp_path: Path) -> Iterator[Line]:
    with PredictionStore(tmp_path / "predictions.db", clock=lambda: NOW) as store:
        made = Line(workshop, tmp_path, store)
        yield made
        made.table.close()


def test_what_a_guest_says_is_stored_and_answered(line: Line, frame: Frame) -> None:
    """With the frame's origin, the app's version, and an id."""
    app = line.add(guests.STEADY)
    done = line.pipeline.process("cat", frame)

    (prediction,) = done.predictions
    assert ("steady", 0.5, 1) == (prediction.label, prediction.score, prediction.id)
    assert ("cat", "v1", "door", 7) == (
        prediction.app, prediction.version, prediction.source, prediction.sequence
    )  # fmt: skip
    assert (frame.captured_at, NOW) == (prediction.captured_at, prediction.emitted_at)
    assert [prediction] == line.store.query(PredictionQuery())
    assert (True, "cat", "v1") == (done.is_stored, done.app, done.version)
    assert (1, 1) == (app.statistics().frames, app.statistics().predictions)
    assert done.guest_s > 0


def test_a_suspended_apps_frame_is_refused_before_it_is_decoded(line: Line) -> None:
    """It is counted as any other; an app in good standing is let through."""
    app = line.add(guests.STEADY)
    line.pipeline.check("cat")
    app.runner._debt.add(9.0)

    with pytest.raises(Suspended, match=r"^app cat: suspended for another"):
        line.pipeline.check("cat")
    assert {"suspended": 1} == app.statistics().failures


def test_a_guest_with_nothing_to_say_is_no_failure(line: Line, frame: Frame) -> None:
    """No prediction, nothing stored, counted as a frame."""
    app = line.add(guests.reactor("(i32.const 0)"))
    done = line.pipeline.process("cat", frame)

    assert ((), True, []) == (done.predictions, done.is_stored, line.store.query(PredictionQuery()))
    assert (1, 0, {}) == (app.statistics().frames, 0, app.statistics().failures)


def test_a_failed_guest_is_counted_and_told(line: Line, frame: Frame) -> None:
    """The app stays; nothing is stored."""
    app = line.add(guests.trapping())
    for _ in range(2):
        with pytest.raises(GuestFailed, match="unreachable"):
            line.pipeline.process("cat", frame)

    assert ({"trap": 2}, 2) == (app.statistics().failures, app.statistics().frames)
    assert [] == line.store.query(PredictionQuery())


def test_an_unknown_app_is_not_found(line: Line, frame: Frame) -> None:
    """Nothing is counted anywhere."""
    with pytest.raises(NotFound, match="app dog: not found"):
        line.pipeline.process("dog", frame)


def test_a_full_disk_does_not_take_the_answer_away(
    line: Line, frame: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client gets them without ids, and is told that they are not kept; who watches, too."""

    def full(_: object) -> list[int]:
        raise Unavailable("predictions: database or disk is full")

    monkeypatch.setattr(line.store, "append", full)
    line.add(guests.STEADY)
    watching = line.feed.subscribe(PredictionQuery(), lambda: None)
    done = line.pipeline.process("cat", frame)

    assert done.predictions == tuple(news.prediction for news in watching.take().news)
    assert (False, None) == (done.is_stored, done.predictions[0].id)
    assert "steady" == done.predictions[0].label
