"""Compiling a guest: what is refused before, what the child may use, and why it was refused after.

Rules:
1. Nothing is compiled in the service's process: a module of some hundred kilobytes can be made to
   take the compiler minutes and gigabytes, and a child can be bounded and stopped.
2. Nothing of it needs a disk: the guest goes in by a pipe, the code comes back in memory.
"""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import wasmtime

from appliance.errors import BadGuest, Unavailable
from appliance.guests import compiler
from appliance.guests.engine import GuestEngine
from appliance.guests.seal import ELF
from appliance.tables import GIB, MIB

log = logging.getLogger(__name__)

_CORE_MAGIC = b"\0asm\x01\0\0\0"
_COMPONENT_MAGIC = b"\0asm\x0d\0\x01\0"
_SHOWN_BYTES = 8
# Of data; chosen: ten times what the largest function takes that was seen.
_MEMORY_BYTES = 2 * GIB
# Of what a child says when it dies; a backtrace of the compiler is long and its first line tells.
_SHOWN_WORDS = 200
# What Rust's allocator and Python say when the limit on memory is met.
_OUT_OF_MEMORY = (b"memory allocation of", b"MemoryError", b"Cannot allocate memory")


@dataclass(frozen=True, slots=True)
class CompileLimits:
    """What compiling one guest may use.

    memory_bytes: of data; a function of 900 KB takes 200 MB.   cpu_s: of all its threads.
    wall_s: a 10 MB guest takes 10 s of a core here; where all are busy it gets a tenth of one.
    """

    memory_bytes: int = _MEMORY_BYTES
    cpu_s: int = 240
    wall_s: float = 240.0


def limits_of_machine() -> CompileLimits:
    """Let the compiler use half of the machine's memory at most: frames are answered meanwhile."""
    machine_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return CompileLimits(memory_bytes=min(_MEMORY_BYTES, machine_bytes // 2))


def check_magic(wasm: bytes) -> None:
    """Refuse what is no core module, before a compiler looks at it.

    Raises: BadGuest. Without this wasmtime would take text for WAT.
    """
    if wasm.startswith(_CORE_MAGIC):
        return
    if wasm.startswith(ELF):
        raise BadGuest(
            "guest: got machine code (a .cwasm), wanted wasm: a box compiles guests itself, for "
            "no limit holds what others compiled; deploy the .wasm it was made of"
        )
    if wasm.startswith(_COMPONENT_MAGIC):
        raise BadGuest(
            "guest: got a component, wanted a core module; components are not run by this version"
        )
    if wasm.startswith(_CORE_MAGIC[: max(len(wasm), 1)]):
        raise BadGuest(f"guest: the file ends after {len(wasm)} bytes; copy it again")
    raise BadGuest(
        f"guest: not wasm; it begins with {wasm[:_SHOWN_BYTES].hex(' ') or 'nothing'}, wanted "
        f"{_CORE_MAGIC.hex(' ')}"
    )


def compile_bytes(engine: GuestEngine, wasm: bytes) -> bytes:
    """Compile in this process. Returns: what `wasmtime.Module.deserialize` takes.

    Raises: BadGuest with the compiler's reason.
    """
    check_magic(wasm)
    try:
        return bytes(wasmtime.Module(engine.engine, wasm).serialize())
    except wasmtime.WasmtimeError as exc:
        raise BadGuest(f"guest: does not compile: {reason_of(exc)}") from exc


def reason_of(error: wasmtime.WasmtimeError | wasmtime.Trap) -> str:
    """Take the innermost cause from the engine's multi-line message."""
    return _innermost(str(error))


def _innermost(message: str) -> str:
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    causes = lines[lines.index("Caused by:") + 1 :] if "Caused by:" in lines else lines[:1]
    return causes[-1].removeprefix("0: ") if causes else "no reason given"


@contextmanager
def compiled_in_child(
    wasm: bytes, limits: CompileLimits, *, counts_fuel: bool = False
) -> Iterator[int]:
    """Compile a module in a child process.

    Gives the descriptor of a file in memory with what `wasmtime.Module.deserialize` takes, until
    the end of the block.
    Raises: BadGuest with the compiler's reason, or the limit it met; Unavailable if the machine
    has no process or memory left.
    """
    check_magic(wasm)
    try:
        target = os.memfd_create("compiled-guest", os.MFD_CLOEXEC)
    except OSError as exc:
        raise Unavailable(f"a guest cannot be compiled now: {exc.strerror}") from exc
    try:
        _compile(wasm, target, limits, [compiler.FUEL] * counts_fuel)
        yield target
    finally:
        os.close(target)


def _compile(wasm: bytes, target: int, limits: CompileLimits, options: list[str]) -> None:
    numbers = (target, limits.memory_bytes, limits.cpu_s)
    # A service that imports nothing from the folder it was started in has a child like it.
    safe = ["-P"] if sys.flags.safe_path else []
    command = [sys.executable, *safe, "-m", compiler.__name__, *map(str, numbers), *options]
    try:
        done = subprocess.run(
            command, input=wasm, capture_output=True, timeout=limits.wall_s, check=False,
            pass_fds=(target,),
        )  # fmt: skip
    except subprocess.TimeoutExpired as exc:
        raise BadGuest(f"guest: compiling took over {limits.wall_s:.0f} s and was stopped") from exc
    except OSError as exc:
        raise Unavailable(f"a guest cannot be compiled now: {exc.strerror}") from exc
    if done.returncode != 0:
        raise _refusal(done, limits)


def _refusal(done: "subprocess.CompletedProcess[bytes]", limits: CompileLimits) -> BadGuest:
    """Say why a child compiled nothing."""
    if done.returncode == compiler.REFUSED:
        reason = _innermost(done.stdout.decode("utf-8", "replace"))
        return BadGuest(f"guest: does not compile: {reason}")
    words = done.stderr[:_SHOWN_WORDS].decode("utf-8", "replace")
    log.warning("compiler died status=%d words=%r", done.returncode, words)
    if any(sign in done.stderr for sign in _OUT_OF_MEMORY):
        return BadGuest(
            f"guest: compiling takes more than {limits.memory_bytes // MIB} MiB of memory and was "
            "stopped; split its largest functions"
        )
    if done.returncode == -signal.SIGXCPU:
        return BadGuest(
            f"guest: compiling took over {limits.cpu_s} s of processor time and was stopped; "
            "split its largest functions"
        )
    return BadGuest(f"guest: the compiler died on it (status {done.returncode})")
