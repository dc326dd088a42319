"""A guest that sleeps: `poll_oneoff` keeps to the deadline."""

import time

import pytest
import wasmtime

from appliance.errors import GuestFailed
from appliance.guests.instance import Instance, Output
from tests.appliance import watguests as guests
from tests.appliance.workshop import Workshop

HOUR_NS = 3_600_000_000_000
POLL = """(i32.store8 (i32.const 8) (i32.const {tag}))
    (i32.store (i32.const 16) (i32.const {clock}))
    (i64.store (i32.const 0) (i64.const 42)) (i64.store (i32.const 24) (i64.const {timeout_ns}))
    (i32.store16 (i32.const 40) (i32.const {flags}))
    (local.set $e (call $poll (i32.const 0) (i32.const 64) (i32.const {count}) (i32.const 128)))
    (if (local.get $e) (then (return (i32.sub (i32.const 0) (local.get $e)))))
    (if (i32.ne (i32.load (i32.const 64)) (i32.const 42)) (then (return (i32.const 1000))))
    (i32.add (i32.mul (i32.load (i32.const 128)) (i32.const 100)) (i32.load16_u (i32.const 72)))"""


def polling(body: str = "", **fields: int) -> bytes:
    chosen = {"tag": 0, "clock": 1, "timeout_ns": 1, "flags": 0, "count": 1} | fields
    return guests.reactor(f"(local $e i32) {POLL.format(**chosen)} {body}", ("poll_oneoff",))


def make(workshop: Workshop, wasm: bytes) -> Instance:
    program = workshop.program(wasm, "[limits]\ndeadline_s = 0.03")
    return Instance(program, wasmtime.WasiConfig(), Output())


@pytest.mark.parametrize(
    ("fields", "answer"),
    [
        pytest.param({}, 100, id="a clock"),
        pytest.param({"clock": 0, "flags": 1}, 100, id="a time that is past"),
        pytest.param({"clock": 1, "flags": 1}, 158, id="a time of an unknown clock"),
        pytest.param({"tag": 1, "clock": 0}, 100, id="standard input"),
        pytest.param({"tag": 2, "clock": 1}, 100, id="standard output"),
        pytest.param({"count": 0}, -28, id="nothing"),
        pytest.param({"count": 100_000}, -28, id="too many"),
    ],
)
def test_one_event_comes_for_each_that_is_ready(
    workshop: Workshop, fields: dict[str, int], answer: int
) -> None:
    """100 times the number of events, and the first one's error; negative is the call's errno."""
    instance = make(workshop, polling(**fields))
    got = instance.call(1)
    instance.close()

    assert answer == got


def test_a_sleep_ends_with_the_deadline(workshop: Workshop) -> None:
    """An hour of sleep under a deadline of 30 ms: stopped, and the thread is free again."""
    instance = make(workshop, polling(f"drop {guests.LOOP}", timeout_ns=HOUR_NS))
    started_s = time.monotonic()
    with pytest.raises(GuestFailed, match="its deadline"):
        instance.call(1)
    instance.close()

    assert time.monotonic() - started_s < 60


def test_a_guest_that_sleeps_on_after_its_deadline_is_not_awake_meanwhile(
    workshop: Workshop,
) -> None:
    """The engine notices a deadline an epoch or two late: that is slept, not asked for again."""
    body = f"""
        (i32.store (i32.const 16) (i32.const 1))
        (i64.store (i32.const 24) (i64.const {HOUR_NS}))
        (loop $l
          (i32.store (i32.const 512) (i32.add (i32.load (i32.const 512)) (i32.const 1)))
          (drop (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))
          (br $l))
        (i32.const 0)"""
    instance = make(workshop, guests.reactor(body, ("poll_oneoff",)))
    with pytest.raises(GuestFailed, match="its deadline"):
        instance.call(1)
    asked = int.from_bytes(instance.guest.memory.window(512, 4, "count"), "little")
    instance.close()

    # It was hundreds.
    assert 1 <= asked < 20
