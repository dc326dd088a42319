"""Compiling in a child: what is refused, and that no guest takes more than it may."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
import wasmtime

from appliance.errors import BadGuest, Unavailable
from appliance.guests.compiling import (
    CompileLimits,
    check_magic,
    compile_bytes,
    compiled_in_child,
    limits_of_machine,
    reason_of,
)
from appliance.guests.engine import GuestEngine
from appliance.tables import GIB, MIB
from tests.appliance import watguests as guests
from tests.appliance.guests.greedy import greedy

AMPLE = CompileLimits()


def compiled(wasm: bytes, limits: CompileLimits = AMPLE, *, counts_fuel: bool = False) -> bytes:
    with compiled_in_child(wasm, limits, counts_fuel=counts_fuel) as descriptor:
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


@pytest.mark.parametrize("counts_fuel", [False, True])
def test_the_child_compiles_what_the_box_would(counts_fuel: bool) -> None:
    """The same code as in this process, so the two have the same settings."""
    engine = GuestEngine(counts_fuel=counts_fuel)

    assert compile_bytes(engine, guests.STEADY) == compiled(guests.STEADY, counts_fuel=counts_fuel)


def test_the_child_imports_next_to_nothing() -> None:
    """A deploy of a new guest waits for its start; the box's settings alone would take 0.2 s."""
    code = "import sys, appliance.guests.compiler; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )  # fmt: skip

    assert set() == {"numpy", "pydantic", "PIL", "fastapi", "logging"} & set(done.stdout.split())


def test_a_guest_that_does_not_compile_is_refused_with_the_compilers_word() -> None:
    """The child's reason is the sentence."""
    with pytest.raises(BadGuest, match=r"guest: does not compile: .*unexpected end"):
        compiled(guests.TRUNCATED)


def test_a_greedy_guest_meets_the_limit_on_memory() -> None:
    """320 KB whose one function takes gigabytes to compile: refused with what to do."""
    with pytest.raises(BadGuest, match="takes more than 150 MiB of memory and was stopped; split"):
        compiled(greedy(), CompileLimits(memory_bytes=150 * MIB))


def test_a_greedy_guest_meets_the_limit_on_processor_time() -> None:
    """Also if whoever waited for it is gone."""
    with pytest.raises(BadGuest, match="over 1 s of processor time and was stopped"):
        compiled(greedy(), CompileLimits(cpu_s=1))


def test_a_greedy_guest_meets_the_limit_on_time() -> None:
    """Of the clock on the wall; the child is killed."""
    with pytest.raises(BadGuest, match="compiling took over 0 s and was stopped"):
        compiled(greedy(), CompileLimits(wall_s=0.01))


def test_the_compiler_takes_half_of_a_small_machine() -> None:
    """And no more than 2 GiB of any."""
    machine_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

    assert min(2 * GIB, machine_bytes // 2) == limits_of_machine().memory_bytes


def ends(status: int, stderr: bytes = b"") -> Callable[..., "subprocess.CompletedProcess[bytes]"]:
    return lambda command, **_: subprocess.CompletedProcess(command, status, b"", stderr)


@pytest.mark.parametrize("status", [-11, 1], ids=["crash", "Python's own"])
def test_a_compiler_that_dies_is_the_guests_fault(
    monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """A guest may crash the compiler; the service reads a status and goes on."""
    monkeypatch.setattr(subprocess, "run", ends(status))
    with pytest.raises(BadGuest, match=rf"the compiler died on it \(status {status}\)"):
        compiled(guests.STEADY)


def test_a_machine_without_processes_is_not_the_guests_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same deploy may work later."""

    def fail(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(Unavailable, match="cannot be compiled now: Resource temporarily"):
        compiled(guests.STEADY)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(guests.NOT_WASM, "not wasm; it begins with 47 49 46 38", id="gif"),
        pytest.param(guests.WAT_TEXT, "not wasm", id="text"),
        pytest.param(b"", "begins with nothing|ends after 0 bytes", id="empty"),
        pytest.param(guests.TINY, "ends after 4 bytes", id="short"),
        pytest.param(guests.component(), "a component, wanted a core module", id="component"),
        pytest.param(b"\0asm\x02\0\0\0", "not wasm", id="another version"),
        pytest.param(
            b"\x7fELF\x02\x01\x01", r"got machine code \(a \.cwasm\), wanted wasm: a box compiles",
            id="machine code",
        ),
    ],
)  # fmt: skip
def test_the_first_bytes_decide(content: bytes, words: str) -> None:
    """What is no core module never reaches a compiler."""
    with pytest.raises(BadGuest, match=words):
        check_magic(content)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        pytest.param("plain", "plain", id="plain"),
        pytest.param("outer\n\nCaused by:\n    0: middle\n    1: inner", "1: inner", id="chain"),
        pytest.param("outer\nCaused by:\n    inner", "inner", id="one cause"),
        pytest.param("", "no reason given", id="nothing"),
    ],
)
def test_the_innermost_cause_is_the_reason(message: str, reason: str) -> None:
    """The engine's chains of causes end with what helps."""
    assert reason == reason_of(wasmtime.WasmtimeError(message))
