"""The wasm engine that all guests of the box share: settings, clock, and what guests may import.

Rules:
1. Every guest can be stopped: epochs are on, and `ticker` counts them.
2. One Linker serves all guests; a host function learns from the thread whom it serves
   (`wasi_nn.serving`).
"""

import re
import threading
from contextlib import nullcontext

import wasmtime

from appliance.errors import BadGuest
from appliance.guests import frames, sleeping
from appliance.guests.between import Between
from appliance.guests.machine import STACK_BYTES as STACK_BYTES
from appliance.guests.machine import fingerprint_of, make_engine
from appliance.guests.refusing import NO_RULES, Rule, Rules, refuse_in
from appliance.guests.ticker import Ticker
from appliance.guests.writing import guard_in
from wasi_nn import wamr, witx
from wasi_nn.hostcall import wrapping
from wasi_nn.metering import CallMeter

MODULES = (sleeping.MODULE, witx.MODULE, wamr.MODULE, frames.MODULE)


class GuestEngine:
    """Makes instances of compiled guests.

    counts_fuel: count instructions, which costs about 10 % and compiles to other code.
    meter: measures every call of the host.
    """

    def __init__(self, *, counts_fuel: bool = False, meter: CallMeter | None = None) -> None:
        self.counts_fuel = counts_fuel
        self.engine = make_engine(counts_fuel=counts_fuel)
        # Part of every cache key: code compiled for one engine does not run in the other.
        self.fingerprint = fingerprint_of(self.engine)
        self._meter = meter
        self._linkers = {NO_RULES: self._new_linker(NO_RULES)}
        self._between: Between | None = None
        self.ticker = Ticker(self.engine)
        self._lock = threading.Lock()
        self._is_started = False
        self._counting: GuestEngine | None = None

    def start(self) -> None:
        """Begin to count time."""
        with self._lock:
            self._is_started = True
            self.ticker.start()
            if self._counting is not None:
                self._counting.start()

    def stop(self) -> None:
        """Stop counting; no guest may run any more."""
        with self._lock:
            self.ticker.stop()
            if self._counting is not None:
                self._counting.stop()

    def counting(self) -> "GuestEngine":
        """Give the engine that counts fuel, made when the first app wants it; it stops with this.

        The others' code stays as fast as it is.
        """
        if self.counts_fuel:
            return self
        with self._lock:
            if self._counting is None:
                self._counting = GuestEngine(counts_fuel=True)
                if self._is_started:
                    self._counting.start()
            return self._counting

    def _new_linker(self, rules: Rules) -> wasmtime.Linker:
        linker = wasmtime.Linker(self.engine)
        linker.define_wasi()
        with wrapping(self._meter.wrap) if self._meter is not None else nullcontext():
            for offered in (witx, wamr, frames, sleeping):
                offered.add_to_linker(linker)
        linker.allow_shadowing = True
        refuse_in(linker, rules)
        if Rule.SPACE in rules:
            guard_in(linker)
        linker.allow_shadowing = False
        return linker

    @property
    def between(self) -> Between:
        """What passes guarded WASI calls on to the engine's; made when first wanted."""
        with self._lock:
            if self._between is None:
                self._between = Between(self.engine)
            return self._between

    def _linker(self, rules: Rules) -> wasmtime.Linker:
        """Find the linker for some rules; there are as many as sets of rules, so they are kept."""
        with self._lock:
            if rules not in self._linkers:
                self._linkers[rules] = self._new_linker(rules)
            return self._linkers[rules]

    def link(self, module: wasmtime.Module, rules: Rules = NO_RULES) -> wasmtime.InstancePre:
        """Resolve a module's imports.

        rules: what the policy binds closer.
        Raises: BadGuest naming the import that is not offered, and what is.
        """
        try:
            return self._linker(rules).instantiate_pre(module)
        except wasmtime.WasmtimeError as exc:
            raise BadGuest(_import_problem(str(exc))) from exc


def _import_problem(message: str) -> str:
    """Say which import is wrong, from the engine's sentence."""
    unknown = re.search(r"unknown import: `(.+?)::(.+?)` has not been defined", message)
    if unknown is not None:
        module, name = unknown[1], unknown[2]
        if module in MODULES:
            return f"import {module}.{name}: {module} has no such function on this box"
        return f"import {module}.{name}: not offered; this box offers {', '.join(MODULES)}"
    incompatible = re.search(r"incompatible import type for `(.+?)::(.+?)`", message)
    if incompatible is not None:
        types = re.search(r"expected type `(.+?)`, found type `(.+?)`", message, re.DOTALL)
        got_wanted = f": got {types[1]}, wanted {types[2]}" if types else ""
        return f"import {incompatible[1]}.{incompatible[2]}: another signature{got_wanted}"
    return f"the guest's imports do not link: {message.splitlines()[0]}"
