"""Each limit against a guest that wants more: refused or ended, counted, and told in full."""

import pytest
import wasmtime

from appliance.errors import FailureReason, GuestFailed
from appliance.guests.breaches import Breach, BreachBook
from appliance.guests.engine import GuestEngine
from appliance.guests.instance import Instance, Output
from tests.appliance import watguests as guests
from tests.appliance.workshop import Workshop, put_model

COUNTED = (
    "(local $n i32) (loop $l (local.set $n (i32.add (local.get $n) (i32.const 1)))"
    " (br_if $l (i32.lt_u (local.get $n) (i32.const {times})))) (i32.const 0)"
)
CALLING = (
    "(local $n i32) (loop $l (drop (call $frame_info (i32.const 0) (i32.const 0)))"
    " (local.set $n (i32.add (local.get $n) (i32.const 1)))"
    " (br_if $l (i32.lt_u (local.get $n) (i32.const {times})))) (i32.const 0)"
)


def make(workshop: Workshop, wasm: bytes, limits: str) -> Instance:
    program = workshop.program(wasm, f"[limits]\n{limits}")
    return Instance(program, wasmtime.WasiConfig(), Output())


def told(instance: Instance) -> tuple[str, float, float | None]:
    breach = instance.program.breaches.last
    assert breach is not None
    return breach.limit, breach.allowed, breach.wanted


def holding(model: str, rest: str) -> bytes:
    """Load a model, then go on until an errno, which is returned."""
    body = (
        f"(local $e i32) (drop (call $load_by_name (i32.const {guests.TEXT_AT})"
        f" (i32.const {len(model)}) (i32.const 0)))"
        f" (loop $l {rest} (br_if $l (i32.eqz (local.get $e)))) (local.get $e)"
    )
    return guests.reactor(body, ("load_by_name", "init", "frame_set_input"), model.encode())


INIT = "(local.set $e (call $init (i32.load (i32.const 0)) (i32.const 4)))"
INPUT = (
    f"{INIT} (if (i32.eqz (local.get $e)) (then (local.set $e"
    " (call $frame_set_input (i32.const 1) (i32.load (i32.const 4)) (i32.const 0)))))"
)


@pytest.fixture
def fuelled(workshop: Workshop) -> Workshop:
    """A workshop whose engine counts."""
    return Workshop(workshop.engine.counting(), workshop.models)


def test_fuel_ends_a_call_and_not_the_next(fuelled: Workshop) -> None:
    """Each frame gets it anew: an instance that needs 60 % of it a frame lives."""
    instance = make(fuelled, guests.reactor(COUNTED.format(times=100)), "fuel = 1000")
    one = (instance.call(1), instance.fuel_used())
    two = (instance.call(1), instance.fuel_used())
    instance.close()

    assert (0, 0) == (one[0], two[0])
    assert one[1] is not None
    assert 500 < one[1] < 1000
    assert two[1] == 2 * one[1]


def test_a_guest_out_of_fuel_is_stopped(fuelled: Workshop) -> None:
    """The reason is fuel, whatever its time."""
    instance = make(fuelled, guests.looping(), "fuel = 1000")
    with pytest.raises(GuestFailed, match="1000 instructions, its fuel; raise fuel") as caught:
        instance.call(1)

    assert FailureReason.FUEL is caught.value.reason
    assert ("fuel", 1000, None) == told(instance)
    instance.close()


def test_the_engine_that_counts_is_made_once_and_stops_with_the_other() -> None:
    """It ticks, too: the deadline holds beside the fuel."""
    engine = GuestEngine()
    engine.start()
    counting = engine.counting()

    assert engine.counting() is counting
    assert counting.counting() is counting
    assert (False, True) == (engine.counts_fuel, counting.counts_fuel)
    assert engine.fingerprint != counting.fingerprint
    engine.stop()


def test_host_calls_end_a_call(workshop: Workshop) -> None:
    """Beyond the limit the guest is stopped at its next branch."""
    wasm = guests.reactor(CALLING.format(times=1_000_000), ("frame_info",))
    instance = make(workshop, wasm, "host_calls = 40")
    with pytest.raises(GuestFailed, match="40 calls of the host") as caught:
        instance.call(1)

    assert FailureReason.CALLS is caught.value.reason
    assert ("host_calls", 40, 41) == told(instance)
    instance.close()


def test_host_calls_are_counted_for_each_frame(workshop: Workshop) -> None:
    """As many as allowed, twice."""
    wasm = guests.reactor(CALLING.format(times=40), ("frame_info",))
    instance = make(workshop, wasm, "host_calls = 40")
    answers = [instance.call(1), instance.call(1)]
    counted = instance.guest.host_calls
    instance.close()

    assert [0, 0] == answers
    assert 40 == counted


def test_writing_to_a_stream_is_a_host_call(workshop: Workshop) -> None:
    """It takes Python's lock like the others."""
    body = f"(loop $l {guests.write(2, 1)} (br $l)) (i32.const 0)"
    instance = make(workshop, guests.reactor(body, ("fd_write",), b"x"), "host_calls = 40")
    with pytest.raises(GuestFailed, match="40 calls of the host"):
        instance.call(1)
    instance.close()


@pytest.mark.parametrize(
    ("rest", "limits", "wanted"),
    [
        pytest.param(INIT, "handles = 3", ("handles", 3, 4), id="handles"),
        # An input of 1 x 3 x 2 x 4 floats has 96 bytes.
        pytest.param(INPUT, 'tensor_bytes = "200"', ("tensor_bytes", 200, 288), id="tensors"),
    ],
)
def test_what_a_guest_may_hold_is_bounded(
    workshop: Workshop, frame: object, rest: str, limits: str, wanted: tuple[str, int, int]
) -> None:
    """The guest gets an errno and the operator the numbers; it is not the box that is busy."""
    put_model(workshop.models)
    instance = make(workshop, holding("tiny", rest), limits)
    instance.guest.show(frame)  # type: ignore[arg-type]
    errno = instance.call(1)

    assert errno != 0
    assert wanted == told(instance)
    assert not instance.guest.was_busy
    instance.close()


def test_what_a_guest_says_about_a_frame_is_bounded(workshop: Workshop) -> None:
    """The rest is dropped; the next frame has its own room."""
    wasm = guests.reactor(f"{guests.write(2, 8)} (i32.const 0)", ("fd_write",), b"12345678")
    instance = make(workshop, wasm, 'log_bytes = "5"')
    instance.call(1)
    instance.call(1)

    assert ["12345"] * 2 == [line.text for line in instance.program.journal.tail()]
    assert ("log_bytes", 5, 8) == told(instance)
    assert {"log_bytes": 2} == instance.program.breaches.counts()
    instance.close()


def test_a_table_grows_to_its_limit(workshop: Workshop) -> None:
    """table.grow gives -1 beyond it."""
    body = "(table.grow $t (ref.null func) (i32.const 20))"
    wasm = guests.reactor(body, rest="(table $t 1 funcref)")
    small, large = (make(workshop, wasm, f"table_elements = {n}") for n in (10, 30))
    grown = [small.call(1), large.call(1)]
    small.close()
    large.close()

    assert [-1, 1] == grown


def test_a_book_counts_and_keeps_the_last() -> None:
    """Which, when, how much."""
    book = BreachBook(clock=lambda: 5.0)
    book.note("handles", 64, 65)
    book.note("deadline_s", 10.0)

    assert {"handles": 1, "deadline_s": 1} == book.counts()
    assert Breach("deadline_s", 5.0, 10.0, None) == book.last
