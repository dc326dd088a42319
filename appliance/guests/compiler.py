"""The child process that compiles one guest: `python -m appliance.guests.compiler FD MEMORY CPU`.

Reads the guest on standard input and writes what it compiled to into the file of descriptor FD.
Prints the reason on standard output and exits with REFUSED if the guest does not compile. Whatever
else ends it (a crash of the compiler, a limit) is another status.

Its start is what a deploy waits for, so it imports wasmtime and nothing of the box but a few lines.
"""

import contextlib
import ctypes
import os
import resource
import signal
import sys

import wasmtime

from appliance.guests.machine import make_engine

# The status when the guest does not compile; 1 is Python's own for whatever it died of.
REFUSED = 3
FUEL = "--fuel"
# Whatever is new comes behind whoever answers frames: a tenth of a core where all are busy.
NICENESS = 10
# linux/prctl.h.
_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    """Compile; see the module's text. MEMORY: bytes.   CPU: seconds of all its threads."""
    target, memory_bytes, cpu_s = (int(argument) for argument in arguments[:3])
    _limit(memory_bytes, cpu_s)
    wasm = sys.stdin.buffer.read()
    try:
        module = wasmtime.Module(make_engine(counts_fuel=FUEL in arguments[3:]), wasm)
        compiled = module.serialize()
    except wasmtime.WasmtimeError as exc:
        sys.stdout.write(str(exc))
        return REFUSED
    _write(target, memoryview(compiled))
    return 0


def _limit(memory_bytes: int, cpu_s: int) -> None:
    """Bound what it may use, and let it end with the service: nobody else would stop it."""
    os.nice(NICENESS)
    # What is written to, not address space: wasmtime reserves gigabytes that it never touches.
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    # A second apart: the first one is a signal that tells what it was.
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    # A core file would be as large as that memory, for a guest that is merely refused.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(AttributeError, OSError):  # another libc
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _write(descriptor: int, content: memoryview) -> None:
    # One call writes 2 GiB at most.
    while content:
        content = content[os.write(descriptor, content) :]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
