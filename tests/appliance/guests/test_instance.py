"""What becomes of a call into a guest: every ending has its reason and its sentence."""

import pytest
import wasmtime

from appliance.errors import FailureReason, GuestFailed
from appliance.guests.instance import Instance, Output
from tests.appliance import watguests as guests
from tests.appliance.workshop import Workshop

QUICK = "[limits]\ndeadline_s = 0.03\n"


def make(workshop: Workshop, wasm: bytes, manifest: str = "") -> Instance:
    program = workshop.program(wasm, manifest)
    return Instance(program, wasmtime.WasiConfig(), Output(lambda _: None, lambda _: None))


@pytest.mark.parametrize(
    ("body", "reason", "words"),
    [
        pytest.param("unreachable", "trap", "trapped: .*unreachable", id="unreachable"),
        pytest.param(
            "(i32.div_s (i32.const 1) (i32.const 0))", "trap", "divide by zero", id="division"
        ),
        pytest.param("(i32.load (i32.const -9))", "trap", "out of bounds", id="bounds"),
        pytest.param("(call $f) (i32.const 0)", "trap", "call stack exhausted", id="recursion"),
        pytest.param(guests.LOOP, "deadline", "stopped after 0.03 s, its deadline", id="loop"),
        pytest.param(guests.GROW, "memory", "of its 256 MiB of memory in use", id="memory"),
        pytest.param("(call $proc_exit (i32.const 3)) unreachable", "exit", "status 3$", id="exit"),
    ],
)
def test_every_ending_has_its_reason(
    workshop: Workshop, body: str, reason: str, words: str
) -> None:
    """Traps, limits and exits are told apart."""
    wasm = guests.reactor(body, ("proc_exit",), rest="(func $f (call $f) (call $f))")
    instance = make(workshop, wasm, QUICK)
    with pytest.raises(GuestFailed, match=words) as caught:
        instance.call(1)
    instance.close()

    assert FailureReason(reason) is caught.value.reason


def test_an_orderly_exit_is_told_with_status_0(workshop: Workshop) -> None:
    """`exit(0)` ends the call like any other; the runner knows better."""
    instance = make(workshop, guests.command("(call $proc_exit (i32.const 0))", ("proc_exit",)))
    with pytest.raises(GuestFailed, match="status 0") as caught:
        instance.call()
    instance.close()

    assert FailureReason.EXIT is caught.value.reason


@pytest.mark.parametrize(
    ("rest", "reason", "words"),
    [
        pytest.param("(func $s unreachable) (start $s)", "trap", "unreachable", id="start"),
        pytest.param(
            '(func (export "_initialize") unreachable)', "trap", "unreachable", id="initialize"
        ),
        pytest.param(
            '(func (export "_initialize") (loop $l (br $l)))', "deadline", "0.03 s", id="loop"
        ),
        pytest.param(
            '(func (export "_initialize") (param i32))',
            "trap",
            "too few parameters",
            id="signature",
        ),
        pytest.param("(table 200000 funcref)", "trap", "table", id="table"),
    ],
)
def test_a_start_that_fails_is_a_failed_guest(
    workshop: Workshop, rest: str, reason: str, words: str
) -> None:
    """Limits hold before the first call too; nothing stays open."""
    with pytest.raises(GuestFailed, match=words) as caught:
        make(workshop, guests.reactor("(i32.const 0)", rest=rest), QUICK)

    assert FailureReason(reason) is caught.value.reason


def test_a_second_memory_counts_too(workshop: Workshop) -> None:
    """The engine refuses at instantiation what the exports did not show."""
    wasm = guests.reactor("(i32.const 0)", rest="(memory $other 32768)")
    with pytest.raises(GuestFailed, match=r"raise memory_bytes in \[limits\]") as caught:
        make(workshop, wasm)

    assert FailureReason.MEMORY is caught.value.reason


def test_initialize_runs_before_the_first_call(workshop: Workshop) -> None:
    """Constructors of a reactor are ours to call."""
    rest = (
        "(global $n (mut i32) (i32.const 1))"
        '(func (export "_initialize") (global.set $n (i32.const 0)))'
    )
    instance = make(workshop, guests.reactor("(global.get $n)", rest=rest))

    assert 0 == instance.call(1)
    instance.close()


def test_the_failure_names_the_last_failed_call(workshop: Workshop) -> None:
    """Guests that meet an errno often give up with a bare trap."""
    body = (
        f"(drop (call $load_by_name (i32.const {guests.TEXT_AT}) (i32.const 3) (i32.const 0)))"
        " unreachable"
    )
    instance = make(workshop, guests.reactor(body, ("load_by_name",), b"cat"))
    with pytest.raises(GuestFailed, match="last failed call: load_by_name: model cat: not found"):
        instance.call(1)
    instance.close()


def test_each_call_has_its_own_deadline(workshop: Workshop) -> None:
    """Time that passed between calls does not count."""
    instance = make(workshop, guests.STEADY, QUICK)
    handle = 1
    first = instance.call(handle)
    instance._deadline(0)
    second = instance.call(handle)
    instance.close()

    assert (0, 0) == (first, second)


def test_memory_is_counted_in_bytes(workshop: Workshop) -> None:
    """The size now, not the limit; 0 without a memory."""
    instance = make(workshop, guests.STEADY)
    bare = make(workshop, guests.wasm('(module (func (export "_start")))'))

    assert (65536, 0) == (instance.memory_bytes(), bare.memory_bytes())
    instance.close()
    bare.close()
