"""One instance of a guest, under its limits, and what became of a call into it."""

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, cast

import wasmtime

from appliance.errors import FailureReason, GuestFailed, Unavailable
from appliance.guests.between import Files
from appliance.guests.compiling import reason_of
from appliance.guests.engine import STACK_BYTES, GuestEngine
from appliance.guests.frames import FrameGuest, Watch
from appliance.guests.program import ENTRIES, INITIALIZE, Program
from appliance.guests.quotas import FolderSpace
from appliance.guests.refusing import Rule, Served
from appliance.settings import MIB
from wasi_nn.executor import Cancellation, Spent, Ticket
from wasi_nn.hostcall import Entry, bind_memory, deadline_of, entry
from wasi_nn.streams import Streams, Writer

# Fuel of a guest whose app sets no limit, while it is counted.
_ENDLESS_FUEL = 1 << 62
_NOTHING = nullcontext()


@dataclass(frozen=True, slots=True)
class Output:
    """Where a guest's standard streams go; each returns None, or a negative errno to refuse.

    None: into the app's log.
    """

    stdout: Writer | None = None
    stderr: Writer | None = None


class Instance:
    """A guest's Store with everything in it. Not thread-safe: one Store, one thread at a time.

    wasi: arguments, environment, folders; the streams are set here.
    spaces: descriptor -> what a folder opened for writing takes from.
    spent: where the time of the last call's computes went.
    Raises: GuestFailed if it cannot be instantiated within its limits.
    """

    def __init__(
        self, program: Program, wasi: wasmtime.WasiConfig, output: Output,
        spaces: Mapping[int, FolderSpace] | None = None,
    ) -> None:  # fmt: skip
        self.program = program
        self._engine: GuestEngine = program.host.engine
        self._store = wasmtime.Store(self._engine.engine)
        self._deadline = deadline_of(self._store)
        self._streams = Streams(
            self._writer(output.stdout, logging.INFO), self._writer(output.stderr, logging.WARNING)
        )
        self._streams.attach(wasi)
        self._store.set_wasi(wasi)
        self._store.set_limits(
            memory_size=program.limits.memory_bytes,
            table_elements=program.limits.table_elements,
            # The guest's, and where its writes are watched what passes them on.
            instances=1 + (Rule.SPACE in program.rules),
            memories=4,
            tables=16,
        )
        self._fuel = program.limits.fuel or _ENDLESS_FUEL
        self._fuel_used = 0
        self._fuel_given = 0
        self._is_stopped = False
        watch = Watch(program.limits, program.journal, program.breaches, self.stop_soon)
        self.guest = FrameGuest(self._store, program.new_session(), program.manifest, watch)
        files = Files(self._engine.between, self._store, spaces or {}) if spaces else None
        self._served = Served(self.guest, files) if program.rules else None
        try:
            self._entry = self._run(self._instantiate)
        except BaseException:
            self.close()
            raise

    def _writer(self, chosen: Writer | None, level: int) -> Writer:
        """Count writes, which come from wasm past the linker, and send them where they belong."""

        def write(raw: bytes) -> int | None:
            self.guest.count_call()
            if chosen is not None:
                return chosen(raw)
            self.guest.say(level, raw)
            return None

        return write

    def _instantiate(self) -> Entry:
        exports = self.program.linked.instantiate(self._store).exports(self._store)
        bind_memory(self.guest, exports.get("memory"))
        # A reactor's constructors; wasmtime does not call them by itself.
        initialize = exports.get(INITIALIZE)
        if isinstance(initialize, wasmtime.Func):
            initialize(self._store)
        function = exports[ENTRIES[self.program.mode]]
        assert isinstance(function, wasmtime.Func), "the entry is a function (checked at deploy)"
        return entry(self._store, function)

    def call(self, *arguments: int, cancellation: Cancellation | None = None) -> int:
        """Call the mode's entry, `_start` or `appliance_on_frame`, under the app's deadline.

        Returns: its result, 0 if it has none.
        Raises: GuestFailed; the instance is dead then.
        """
        return cast(int, self._run(lambda: self._entry(*arguments), cancellation))

    def stop_soon(self) -> None:
        """End the call that is under way when the guest next enters a function.

        From a host function only. A loop has read its deadline before: it ends with that.
        """
        self._is_stopped = True
        self._deadline(0)

    def fuel_used(self) -> int | None:
        """Instructions run so far, if the engine counts them."""
        if not self._engine.counts_fuel:
            return None
        return self._fuel_used + self._fuel_given - self._store.get_fuel()

    def memory_bytes(self) -> int:
        """Size of the guest's linear memory now."""
        memory = self.guest.bound_memory
        return 0 if memory is None else memory.size_bytes

    def close(self) -> None:
        """Free the memory and every graph and context the guest held."""
        # They go past wasmtime-py, which would refuse a closed store.
        self._deadline = self._entry = _closed
        self.guest.close()
        self._store.close()
        self._streams.close()

    def _run(self, enter: Callable[[], Any], cancellation: Cancellation | None = None) -> Any:
        limits, ticker, deadline = self.program.limits, self._engine.ticker, self._deadline
        self.spent = Spent()
        self.guest.session.ticket = Ticket(
            self.program.name, time.monotonic() + limits.deadline_s, cancellation=cancellation,
            spent=self.spent,
        )  # fmt: skip
        if self._engine.counts_fuel:
            self._refuel()
        self._is_stopped = False
        self.guest.begin_call()
        ticker.begin(deadline, limits.deadline_s)
        try:
            with self.guest, self._served or _NOTHING:
                return enter()
        except (wasmtime.Trap, wasmtime.WasmtimeError) as exc:
            raise self._failure(exc) from exc
        finally:
            ticker.end(deadline)

    def _refuel(self) -> None:
        """Give the guest its fuel for one call."""
        self._fuel_used = self.fuel_used() or 0
        self._store.set_fuel(self._fuel)
        self._fuel_given = self._fuel

    def _failure(self, error: wasmtime.Trap | wasmtime.WasmtimeError) -> GuestFailed:
        """Say why a call ended."""
        limits = self.program.limits
        if self.guest.has_too_many_calls:
            return GuestFailed(
                f"the guest was stopped after {limits.host_calls} calls of the host about one "
                "frame; raise host_calls in [limits] if it needs more",
                reason=FailureReason.CALLS,
            )
        if isinstance(error, wasmtime.ExitTrap):
            return GuestFailed(
                f"the guest exited with status {error.code}{self._hint()}",
                reason=FailureReason.EXIT,
            )
        if not isinstance(error, wasmtime.Trap):
            reason = reason_of(error)
            if "exceeds memory limits" in reason:
                self.program.breaches.note("memory_bytes", limits.memory_bytes)
                return GuestFailed(
                    f"{reason}: the app's limit is {limits.memory_bytes} bytes; raise "
                    "memory_bytes in [limits]",
                    reason=FailureReason.MEMORY,
                )
            is_exit = "exit status" in reason
            return GuestFailed(
                f"the guest failed: {reason}{self._hint()}",
                reason=FailureReason.EXIT if is_exit else FailureReason.TRAP,
            )
        breaches = self.program.breaches
        if error.trap_code is wasmtime.TrapCode.OUT_OF_FUEL:
            breaches.note("fuel", self._fuel)
            return GuestFailed(
                f"the guest was stopped after {self._fuel} instructions, its fuel; raise fuel in "
                "[limits] if it needs more",
                reason=FailureReason.FUEL,
            )
        if error.trap_code is wasmtime.TrapCode.INTERRUPT:
            if not self._is_stopped:
                breaches.note("deadline_s", limits.deadline_s)
            return GuestFailed(
                f"the guest was stopped after {limits.deadline_s:g} s, its deadline; raise "
                "deadline_s in [limits] if it needs longer",
                reason=FailureReason.DEADLINE,
                # Most of its time it waited for its turn to compute.
                is_overload=self.guest.was_busy or self.spent.queue_s > limits.deadline_s / 2,
            )
        if error.trap_code is wasmtime.TrapCode.STACK_OVERFLOW:
            breaches.note("stack_bytes", STACK_BYTES)
        what = reason_of(error).removeprefix("1: ").removeprefix("wasm trap: ")
        return self._trapped(what)

    def _trapped(self, what: str) -> GuestFailed:
        """Tell a guest that ran out of memory from one that is wrong.

        wasmtime does not report a refused `memory.grow`; allocators double, so a guest over half
        of its limit that traps most likely failed to grow.
        """
        used, limit = self.memory_bytes(), self.program.limits.memory_bytes
        if used > limit // 2:
            self.program.breaches.note("memory_bytes", limit)
            return GuestFailed(
                f"the guest trapped ({what}) with {used // MIB} MiB of its {limit // MIB} MiB of "
                "memory in use; raise memory_bytes in [limits] if it needs more",
                reason=FailureReason.MEMORY,
            )
        return GuestFailed(f"the guest trapped: {what}{self._hint()}", reason=FailureReason.TRAP)

    def _hint(self) -> str:
        """Add the last WASI-NN error: guests that meet one usually give up with little to say."""
        error = self.guest.last_error
        return f"; its last failed call: {error}" if error else ""


def _closed(*arguments: int) -> int:
    raise ValueError("instance: closed")


def too_busy(app: str, last_error: str) -> Unavailable:
    """Say that a guest gave up because the box had no room for its compute."""
    return Unavailable(f"app {app}: the box is too busy: {last_error}")
