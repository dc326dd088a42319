"""The core-module dialects of WASI-NN, and a wasm guest for each that can make any call.

The guest imports every function of its dialect and exports a wasm function of the same name which
calls it: so a test chooses the arguments, and the call still comes out of real wasm.

Source: reference/wasi_nn.md 1.1 to 1.4; the names of the dialects are its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import wasmtime

_SIX = {
    "load": 5, "load_by_name": 3, "init_execution_context": 2, "set_input": 3, "compute": 1,
    "get_output": 5,
}  # fmt: skip
_CONFIG = {"load_by_name_with_config": 5}
_STREAMS = {"get_output_single": 5, "compute_single": 1, "fini_single": 1}
_LIFETIMES = {"unload": 1, "finalize_execution_context": 1}

# The guest's memory at the start and at most: 128 KiB and 64 MiB, enough for the largest model.
PAGES, MAX_PAGES = 2, 1024


@dataclass(frozen=True)
class Dialect:
    """One way to talk to the host.

    functions: name and number of i32 parameters.   u8, i32: its numbers for these types.
    is_legacy: WAMR's records instead of witx's.
    """

    id: str
    title: str
    functions: Mapping[str, int]
    u8: int
    i32: int
    is_legacy: bool = False

    @property
    def module(self) -> str:
        """The import module."""
        return "wasi_nn" if self.is_legacy else "wasi_ephemeral_nn"


W0 = Dialect("W0", "witx to 0.5", _SIX, 2, 3)
W1 = Dialect("W1", "witx 0.6", _SIX, 3, 4)
WE = Dialect("WE", "WasmEdge", {**_SIX, **_CONFIG, **_STREAMS, **_LIFETIMES}, 3, 4)
ME = Dialect("ME", "WAMR ephemeral", {**_SIX, **_CONFIG}, 3, 4)
ML = Dialect("ML", "WAMR legacy", {**_SIX, "load": 4, "get_output": 4}, 2, 3, is_legacy=True)

ALL = (W0, W1, WE, ME, ML)
EPHEMERAL = (W0, W1, WE, ME)


def driver_wat(dialect: Dialect, *, memory: str = "", start: str = "") -> str:
    """Write the guest of a dialect.

    memory: instead of an exported one of `PAGES`.   start: the body of a start function.
    """
    lines = ["(module"]
    for name, arity in dialect.functions.items():
        lines.append(
            f'(import "{dialect.module}" "{name}" (func ${name} {_params(arity)} (result i32)))'
        )
    lines.append(memory or f'(memory (export "memory") {PAGES} {MAX_PAGES})')
    for name, arity in dialect.functions.items():
        pushes = " ".join(f"local.get {index}" for index in range(arity))
        lines.append(
            f'(func (export "{name}") {_params(arity)} (result i32) {pushes} call ${name})'
        )
    if not memory:
        lines.append('(func (export "grow") (param i32) (result i32) local.get 0 memory.grow)')
    if start:
        lines.append(f"(func $start {start}) (start $start)")
    return "\n".join([*lines, ")"])


def _params(arity: int) -> str:
    return f"(param{' i32' * arity})"


@cache
def engine() -> wasmtime.Engine:
    """The engine of all test guests."""
    return wasmtime.Engine()


@cache
def compiled(wat: str) -> wasmtime.Module:
    """Compile a guest once per process."""
    return wasmtime.Module(engine(), wasmtime.wat2wasm(wat))
