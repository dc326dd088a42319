"""The pool of warm instances."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from appliance.errors import FailureReason, GuestFailed, Unavailable
from appliance.guests.reactor import ReactorRunner
from appliance.records import Frame
from tests.appliance import watguests as guests
from tests.appliance.workshop import Workshop, put_model
from wasi_nn.executor import Cancellation

# Answers how often this very instance was asked; at the third frame it does `end`.
COUNTING = """
    (global.set $n (i32.add (global.get $n) (i32.const 1)))
    (i32.store8 (i32.const 1029) (i32.add (global.get $n) (i32.const 48)))
    (drop (call $emit (i32.const 1024) (i32.const 7)))
    (if (result i32) (i32.eq (global.get $n) (i32.const 3)) (then {end}) (else (i32.const 0)))
"""


def counting(end: str) -> bytes:
    rest = "(global $n (mut i32) (i32.const 0))"
    return guests.reactor(COUNTING.format(end=end), ("emit",), b'{"n":0}', rest)


def counts(runner: ReactorRunner, frame: Frame, times: int) -> list[bytes | str]:
    answers: list[bytes | str] = []
    for _ in range(times):
        try:
            answers += runner.run(frame).outputs
        except GuestFailed as failure:
            answers.append(failure.reason.value)
    return answers


def test_an_instance_stays_warm(workshop: Workshop, frame: Frame) -> None:
    """Globals keep their values: it is the same instance."""
    runner = ReactorRunner(workshop.program(counting("(i32.const 0)")), 2)

    assert [b'{"n":1}', b'{"n":2}'] == counts(runner, frame, 2)
    assert "<ReactorRunner guest [Instances: 1 of 2, 1 idle]>" == repr(runner)
    runner.close()


def test_an_instance_that_traps_is_thrown_away(workshop: Workshop, frame: Frame) -> None:
    """Its state is unknown; the next frame gets a fresh one."""
    runner = ReactorRunner(workshop.program(counting("unreachable")), 1)

    assert [b'{"n":1}', b'{"n":2}', "trap", b'{"n":1}'] == counts(runner, frame, 4)
    runner.close()


def test_an_errno_keeps_the_instance(workshop: Workshop, frame: Frame) -> None:
    """A guest that says what went wrong is well."""
    runner = ReactorRunner(workshop.program(counting("(i32.const 8)")), 1)

    assert [b'{"n":1}', b'{"n":2}', "errno", b'{"n":4}'] == counts(runner, frame, 4)
    runner.close()


def test_an_errno_comes_with_the_last_failed_call(workshop: Workshop, frame: Frame) -> None:
    """A bare number helps nobody."""
    runner = ReactorRunner(workshop.program(guests.computing("nowhere", "x")), 1)
    with pytest.raises(GuestFailed, match="returned 8, wanted 0; its last failed call: load_by_"):
        runner.run(frame)
    runner.close()


def test_what_was_refused_is_a_failure_whatever_the_guest_returned(
    workshop: Workshop, frame: Frame
) -> None:
    """A guest that ignores emit's errno does not pass for one that said nothing."""
    runner = ReactorRunner(workshop.program(guests.emitting(b"no json")), 1)
    with pytest.raises(GuestFailed, match="not one JSON object") as caught:
        runner.run(frame)

    assert FailureReason.OUTPUT is caught.value.reason
    assert "1 idle" in repr(runner)
    runner.close()


class Gate:
    """Holds those who come until it is opened, and tells that they came."""

    def __init__(self) -> None:
        self.arrived = threading.Semaphore(0)
        self.opened = threading.Event()

    def __call__(self, _: float) -> None:
        self.arrived.release()
        assert self.opened.wait(30)


def gated(workshop: Workshop, manifest: str, instances: int) -> tuple[ReactorRunner, Gate]:
    """Make a runner whose frames wait at a gate inside the model."""
    put_model(workshop.models, delay_s=1)
    workshop.gate = gate = Gate()
    program = workshop.program(guests.computing("tiny", "done"), manifest)
    return ReactorRunner(program, instances), gate


def test_as_many_run_at_once_as_there_may_be_instances(workshop: Workshop, frame: Frame) -> None:
    """Two frames are inside together; the third waits for an instance and then gets it."""
    runner, gate = gated(workshop, "", 2)
    with ThreadPoolExecutor(3) as threads:
        runs = [threads.submit(runner.run, frame) for _ in range(3)]
        assert gate.arrived.acquire(timeout=30)
        assert gate.arrived.acquire(timeout=30)
        assert "[Instances: 2 of 2, 0 idle]" in repr(runner)
        gate.opened.set()
        answers = [run.result().outputs for run in runs]

    assert [(b'{"label": "done"}',)] * 3 == answers
    assert "[Instances: 2 of 2, 2 idle]" in repr(runner)
    runner.close()


def test_who_waits_too_long_is_told_to_send_less(workshop: Workshop, frame: Frame) -> None:
    """Waiting ends with the app's deadline."""
    runner, gate = gated(workshop, "[limits]\ndeadline_s = 0.05", 1)
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(runner.run, frame)
        assert gate.arrived.acquire(timeout=30)
        with pytest.raises(Unavailable, match=r"all 1 instances stayed busy for 0\.05 s"):
            runner.run(frame)
        gate.opened.set()
        # Its own deadline passed inside the host call; it ends at its next branch or with luck.
        first.exception()
    runner.close()


def test_warming_up_finds_what_fails_at_start(workshop: Workshop) -> None:
    """A trap in the start section is an answer to the deploy, not to the first frame."""
    runner = ReactorRunner(workshop.program(guests.traps_at_start()), 1)
    with pytest.raises(GuestFailed, match=r"the guest trapped: .*unreachable"):
        runner.warm_up()

    assert "[Instances: 0 of 1, 0 idle]" in repr(runner)


def test_what_a_reactor_prints_is_for_people(workshop: Workshop, frame: Frame) -> None:
    """Streams go to the app's log; only `emit` makes predictions."""
    body = f"{guests.write(1, 3)} {guests.write(2, 3)} (i32.const 0)"
    program = workshop.program(guests.reactor(body, ("fd_write",), b"hey"))
    runner = ReactorRunner(program, 1)

    assert () == runner.run(frame).outputs
    assert [("info", "hey"), ("warning", "hey")] == [
        (line.level, line.text) for line in program.journal.tail()
    ]
    runner.close()


def test_closing_gives_graphs_back(workshop: Workshop, frame: Frame) -> None:
    """With the last instance and the keeper the graph is closed."""
    put_model(workshop.models)
    program = workshop.program(guests.computing("tiny", "x"))
    runner = ReactorRunner(program, 1)
    runner.run(frame)
    assert 1 == workshop.backend.open_graphs

    runner.close()
    program.keeper.close()
    assert 0 == workshop.backend.open_graphs


def of(frame: Frame, source: str) -> Frame:
    return replace(frame, source=source)


def test_each_source_has_an_instance_to_itself_if_asked(workshop: Workshop, frame: Frame) -> None:
    """A guest that counts counts each camera's frames; a source that ends is forgotten."""
    program = workshop.program(counting("(i32.const 0)"), 'instances = "per-camera"')
    runner = ReactorRunner(program, 1)
    runner.warm_up()
    said = [runner.run(of(frame, source)).outputs[0] for source in ("door", "gate", "door", "gate")]
    runner.forget("door")
    said += [runner.run(of(frame, source)).outputs[0] for source in ("door", "gate")]

    assert [b'{"n":1}', b'{"n":1}', b'{"n":2}', b'{"n":2}', b'{"n":1}', b'{"n":3}'] == said
    assert "<ReactorRunner guest 2 sources>" == repr(runner)
    runner.close()


def test_sources_that_are_kept_are_bounded(
    workshop: Workshop, frame: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the bound the one that was used longest ago begins anew."""
    monkeypatch.setattr("appliance.guests.reactor.MAX_SOURCES", 2)
    program = workshop.program(counting("(i32.const 0)"), 'instances = "per-camera"')
    runner = ReactorRunner(program, 1)
    said = [runner.run(of(frame, source)).outputs[0] for source in ("a", "b", "a", "c", "a", "b")]

    assert [b'{"n":1}', b'{"n":1}', b'{"n":2}', b'{"n":1}', b'{"n":3}', b'{"n":1}'] == said
    runner.close()


@pytest.mark.parametrize("is_busy", [True, False], ids=["the box's", "the guest's"])
def test_a_deadline_says_whose_fault_it_was(
    workshop: Workshop, frame: Frame, *, is_busy: bool
) -> None:
    """A guest that insists on a busy box is not to blame; one that spins is."""
    put_model(workshop.models)
    wasm = guests.insisting("tiny") if is_busy else guests.looping()
    runner = ReactorRunner(workshop.program(wasm, "[limits]\ndeadline_s = 0.05"), 1)
    cancellation = Cancellation()
    cancellation.cancel()
    with pytest.raises(GuestFailed, match="its deadline") as raised:
        runner.run(frame, cancellation)

    assert is_busy is raised.value.is_overload
    runner.close()
