"""A guest that a test steers call by call, and a host that is watched while it answers.

After every call the whole of the guest's memory is compared with what it was: only what the
function may write by its contract may have changed. So every buffer has guard bytes, all of them.
"""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
import wasmtime
from numpy.typing import NDArray

from tests.wasi_nn.conformance.dialects import ALL, Dialect, compiled, driver_wat, engine
from wasi_nn import hostcall, wamr, witx
from wasi_nn.errors import NNError
from wasi_nn.serving import Guest
from wasi_nn.session import Session

Bytes = NDArray[np.uint8]

SUCCESS, TOO_LARGE = 0, 7
FLOAT_BYTES = 4

_OUTPUT = {0, 1, 3, 5, 7}
# What each function may answer; 3 only to a guest without a memory.
DOCUMENTED: dict[str, set[int]] = {
    "load": {0, 1, 2, 3, 4, 5, 6},
    "load_by_name": {0, 1, 2, 3, 4, 5, 6, 8},
    "load_by_name_with_config": {0, 1, 2, 3, 4, 5, 6, 8},
    "init_execution_context": {0, 1, 3, 4},
    "set_input": {0, 1, 3},
    "compute": {0, 1, 4, 5},
    "compute_single": {0, 1, 4, 5, 100},
    "fini_single": {0, 1},
    "get_output": _OUTPUT,
    "get_output_single": _OUTPUT,
    "unload": {0, 1},
    "finalize_execution_context": {0, 1},
}


class Violation(AssertionError):
    """The host broke a promise that holds for every call."""


@cache
def linker(path: hostcall.Path) -> wasmtime.Linker:
    """Make the linker whose host functions take this path."""
    made = wasmtime.Linker(engine())
    with hostcall.using(path):
        witx.add_to_linker(made)
        wamr.add_to_linker(made)
    return made


class Driver:
    """One instance of a dialect's guest.

    unit: bytes in one unit of the legacy output size; see `wasi_nn.wamr`, oddity 2.
    path: how host functions are served.   wat: another guest than the dialect's.
    Attributes: errors, the messages of all failed calls.
    """

    def __init__(
        self,
        dialect: Dialect,
        session: Session,
        *,
        unit: int = 1,
        path: hostcall.Path = hostcall.PUBLIC_PATH,
        wat: str = "",
    ) -> None:
        self.dialect = dialect
        self.unit = unit
        self.errors: list[str] = []
        self.store = wasmtime.Store(engine())
        self.guest = Guest(self.store, session, self._note)
        module = compiled(wat or driver_wat(dialect))
        with self.guest:
            exports = linker(path).instantiate(self.store, module).exports(self.store)
        memory = exports.get("memory")
        self.memory = memory if isinstance(memory, wasmtime.Memory) else None
        # By the path itself: `hostcall.using` is for one thread, drivers are on several.
        if self.memory is not None:
            self.guest.bound_memory = path.memory_of(self.store, self.memory)
        self._entries = {
            name: path.entry(self.store, function, len(function.type(self.store).params), True)
            for name in (*dialect.functions, "grow")
            if isinstance(function := exports.get(name), wasmtime.Func)
        }

    def _note(self, name: str, error: NNError) -> None:
        self.errors.append(f"{name}: {error}")

    @contextmanager
    def open(self) -> Iterator["Driver"]:
        """Close what the guest owns at the end."""
        try:
            yield self
        finally:
            self.guest.close()

    def view(self) -> Bytes:
        """View the guest's memory; valid until the guest grows it."""
        if self.memory is None:
            return np.empty(0, np.uint8)
        size = self.memory.data_len(self.store)
        address = ctypes.addressof(self.memory.data_ptr(self.store).contents)
        return np.frombuffer((ctypes.c_uint8 * size).from_address(address), np.uint8)

    def grow(self, pages: int) -> int:
        """Have the guest grow its memory. Returns: the pages before, or -1."""
        return self._entries["grow"](pages)

    def call(self, name: str, *arguments: int) -> int:
        """Call a function of the dialect from wasm and watch what it writes.

        arguments: unsigned 32-bit.   Returns: the errno.
        Raises: Violation.
        """
        assert all(0 <= a <= 0xFFFFFFFF for a in arguments), f"{name}{arguments}: wanted u32"
        before = self.view().copy()
        entry = self._entries[name]
        with self.guest:
            errno = entry(*[a - (1 << 32) if a > 0x7FFFFFFF else a for a in arguments])
        if errno not in DOCUMENTED[name]:
            raise Violation(f"{name}{arguments}: errno {errno}, documented {DOCUMENTED[name]}")
        self._check_writes(name, arguments, errno, before)
        return errno

    def _check_writes(
        self, name: str, arguments: tuple[int, ...], errno: int, before: Bytes
    ) -> None:
        after = self.view()
        if errno in (SUCCESS, TOO_LARGE):
            for start, length in self._writable(name, arguments, errno, before, after):
                before[start : start + length] = after[start : start + length]
        # A call may run with the memory grown under way; the new part is zero and not compared.
        spoiled = before != after[: len(before)]
        if spoiled.any():
            places = np.flatnonzero(spoiled)
            raise Violation(
                f"{name}{arguments} gave {errno} and wrote {len(places)} bytes it may not, "
                f"{places[0]}..{places[-1]}"
            )

    def _writable(
        self, name: str, arguments: tuple[int, ...], errno: int, before: Bytes, after: Bytes
    ) -> list[tuple[int, int]]:
        """List where the call may have written, as start and length."""
        if not name.startswith("get_output"):
            has_out = name.startswith("load") or name == "init_execution_context"
            return [(arguments[-1], 4)] if has_out else []
        size_pointer = arguments[-1]
        if errno == TOO_LARGE:
            return [(size_pointer, 4)]
        capacity = _u32(before, size_pointer) if self.dialect.is_legacy else arguments[3]
        size = _u32(after, size_pointer)
        if size > capacity:
            raise Violation(f"{name}{arguments} told {size}, more than the capacity {capacity}")
        return [(arguments[2], size * self.unit), (size_pointer, 4)]


def _u32(memory: Bytes, pointer: int) -> int:
    return int.from_bytes(memory[pointer : pointer + 4].tobytes(), "little")


def warm_up() -> None:
    """Make everything that drivers share, before threads make drivers."""
    for dialect in ALL:
        compiled(driver_wat(dialect))
    for path in paths().values():
        linker(path)


def paths() -> dict[str, hostcall.Path]:
    """Name the ways in which host functions can be served here."""
    fast = _fast()
    return {"public": hostcall.PUBLIC_PATH} | ({"fast": fast} if fast is not None else {})


_fast: Callable[[], hostcall.Path | None] = cache(hostcall.fast_path)
