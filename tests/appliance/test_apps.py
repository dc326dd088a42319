"""Live versions: who answers, who is still needed, and what is counted."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from appliance.apps import AppTable, LiveApp, make_live
from appliance.errors import FailureReason, GuestFailed, NotFound, Unavailable
from appliance.guests.command import CommandRunner
from appliance.guests.conduct import WatchedRunner
from appliance.guests.reactor import ReactorRunner
from appliance.guests.runner import Answer
from appliance.records import Frame
from tests.appliance import watguests as guests
from tests.appliance.workshop import Workshop
from wasi_nn.executor import Cancellation, Spent


class GatedRunner:
    """A runner whose frames wait until the gate is opened."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.closed = 0

    def run(self, frame: Frame, cancellation: Cancellation | None = None) -> Answer:
        """See `Runner.run`."""
        self.entered.set()
        assert self.gate.wait(30)
        assert not self.closed, "closed while a frame was under way"
        return Answer((), 0.0, 0, Spent())

    def close(self) -> None:
        """See `Runner.close`."""
        self.closed += 1


def live(workshop: Workshop, version: str, runner: GatedRunner, name: str = "cat") -> LiveApp:
    program = workshop.program(guests.STEADY, f'name = "{name}"')
    return LiveApp(program, version, WatchedRunner(program, runner, 2), 1000.0)


def test_the_last_switch_answers(workshop: Workshop) -> None:
    """One assignment, and the old version, unused, is closed at once."""
    table, old, new = AppTable(), GatedRunner(), GatedRunner()
    table.switch(live(workshop, "1", old))
    table.switch(live(workshop, "2", new))

    with table.using("cat") as app:
        assert "2" == app.version
    assert (1, 0) == (old.closed, new.closed)
    assert ("cat",) == table.names()


def test_an_old_version_ends_what_it_began(workshop: Workshop, frame: Frame) -> None:
    """A frame under way during the switch is finished by the old one, which closes after it."""
    table, old, new = AppTable(), GatedRunner(), GatedRunner()
    table.switch(live(workshop, "1", old))

    def process() -> str:
        with table.using("cat") as app:
            app.runner.run(frame)
            return app.version

    with ThreadPoolExecutor(1) as thread:
        under_way = thread.submit(process)
        assert old.entered.wait(30)
        table.switch(live(workshop, "2", new))
        assert 0 == old.closed
        with table.using("cat") as app:
            assert "2" == app.version
        old.gate.set()
        assert "1" == under_way.result()

    assert (1, 0) == (old.closed, new.closed)


def test_retiring_twice_closes_once(workshop: Workshop) -> None:
    """A version that is replaced while the box stops is not closed again."""
    runner = GatedRunner()
    app = live(workshop, "1", runner)
    app.acquire()
    app.retire()
    app.retire()
    app.release()

    assert 1 == runner.closed


def test_an_unknown_app_is_answered_with_those_there_are(workshop: Workshop) -> None:
    """The sentence names what could have been asked."""
    table = AppTable()
    with pytest.raises(NotFound, match="apps on this box: none is deployed"), table.using("cat"):
        pass
    table.switch(live(workshop, "1", GatedRunner(), "dog"))
    with (
        pytest.raises(NotFound, match="app cat: not found; apps on this box: dog"),
        table.using("cat"),
    ):
        pass


def test_closing_the_table_retires_all(workshop: Workshop) -> None:
    """After it no app answers."""
    table, runner = AppTable(), GatedRunner()
    table.switch(live(workshop, "1", runner))
    table.close()

    assert (1, ()) == (runner.closed, table.names())


def test_answers_and_failures_are_counted(workshop: Workshop) -> None:
    """Frames are all that came; failures go by reason, or by code where there is none."""
    app = live(workshop, "1", GatedRunner())
    app.count_answer(2, 0.5)
    app.count_failure(GuestFailed("boom", reason=FailureReason.TRAP))
    app.count_failure(GuestFailed("boom", reason=FailureReason.TRAP))
    app.count_failure(Unavailable("busy"))
    counts = app.statistics()

    assert (4, 2, 0.5) == (counts.frames, counts.predictions, counts.guest_s)
    assert ({"trap": 2, "unavailable": 1}, "busy") == (counts.failures, counts.last_error)


@pytest.mark.parametrize(
    ("wasm", "kind"),
    [
        pytest.param(guests.STEADY, ReactorRunner, id="reactor"),
        pytest.param(guests.printing(b"x"), CommandRunner, id="command"),
    ],
)
def test_a_program_gets_the_runner_of_its_mode(
    workshop: Workshop, tmp_path: Path, wasm: bytes, kind: type
) -> None:
    """And is live since now."""
    app = make_live(workshop.program(wasm), "1", instances=1, scratch=tmp_path, clock=lambda: 5.0)

    assert (kind, 5.0) == (type(app.runner.watched), app.went_live_at)
    app.retire()


def test_a_program_that_does_not_start_never_becomes_live(
    workshop: Workshop, tmp_path: Path
) -> None:
    """A reactor is warmed up first."""
    with pytest.raises(GuestFailed, match="trapped"):
        make_live(workshop.program(guests.traps_at_start()), "1", instances=1, scratch=tmp_path)
