"""WASI functions of ours in the place of the engine's, for apps that the policy binds closer.

A linker of such an app has, beside what all have:

    CLOCK    clock_time_get and clock_res_get refuse
    RANDOM   random_get refuses
    SPACE    what makes files grow asks first whether the folder has room (`writing`)

These take 64-bit arguments, so they go through wasmtime's public API, some 50 us a call; nobody
else pays that. They learn from the thread whom they serve, as all host functions do.

What withholding the clock is worth: a guest cannot tell the time. It still can count its own
instructions, and is told when a frame was taken; a sleep still sleeps.

Source: WASI preview 1, `errno`.
"""

import logging
import threading
from collections.abc import Callable
from enum import Enum

import wasmtime

from appliance.guests.between import EFAULT, EIO, Files
from appliance.guests.frames import FrameGuest
from appliance.guests.sleeping import MODULE
from wasi_nn.errors import NNError
from wasi_nn.hostcall import bind_memory

log = logging.getLogger(__name__)

ENOTCAPABLE = 76
_KINDS = {"i": wasmtime.ValType.i32, "I": wasmtime.ValType.i64}
_REFUSED = {
    "clock_time_get": ("iIi", "the clock"),
    "clock_res_get": ("ii", "the clock"),
    "random_get": ("ii", "random numbers"),
}


class Rule(Enum):
    """What an app's linker does otherwise than the engine's."""

    CLOCK = "clock"
    RANDOM = "random"
    SPACE = "space"


Rules = frozenset[Rule]
NO_RULES: Rules = frozenset()
Function = Callable[["Served", wasmtime.Caller, tuple[int, ...]], int]


class Served:
    """One instance, as these functions see it. files: its open files, if it may write any."""

    def __init__(self, guest: FrameGuest, files: Files | None = None) -> None:
        self.guest = guest
        self.files = files
        self._previous: Served | None = None

    def __enter__(self) -> None:
        """Serve calls of this thread for this instance, inside the block."""
        self._previous, _thread.served = _thread.served, self

    def __exit__(self, *raised: object) -> None:
        _thread.served, self._previous = self._previous, None

    def refuse(self, name: str, why: str) -> None:
        """Let it be known why a call failed; the guest itself gets only an errno."""
        self.guest.last_error = f"{name}: {why}"
        self.guest.journal.write(logging.WARNING, self.guest.last_error)


class _Thread(threading.local):
    served: Served | None = None


_thread = _Thread()


def func_type(signature: str) -> wasmtime.FuncType:
    """Make a type of "i" for 32 bits and "I" for 64; all return an errno."""
    return wasmtime.FuncType([_KINDS[kind]() for kind in signature], [wasmtime.ValType.i32()])


def offer(linker: wasmtime.Linker, name: str, signature: str, function: Function) -> None:
    """Offer a function in the place of the engine's. It may raise anything: that is EIO."""

    def call(caller: wasmtime.Caller, *arguments: int) -> int:
        served = _thread.served
        if served is None:
            return EIO
        try:
            served.guest.count_call()
            if served.guest.bound_memory is None:
                # It calls from its start section.
                bind_memory(served.guest, caller.get("memory"))
            return function(served, caller, arguments)
        except NNError:  # a pointer that leads out of its memory
            return EFAULT
        except Exception:
            log.exception("WASI function failed name=%s", name)
        except BaseException as exc:  # Ctrl-C, SystemExit: raised again at the block's end
            served.guest.interrupt = exc
        return EIO

    linker.define_func(MODULE, name, func_type(signature), call, access_caller=True)


def refuse_in(linker: wasmtime.Linker, rules: Rules) -> None:
    """Refuse what the rules withhold."""
    for name, (signature, what) in _REFUSED.items():
        if Rule(name.partition("_")[0]) in rules:
            offer(linker, name, signature, _refusing(name, what))


def _refusing(name: str, what: str) -> Function:
    def refuse(served: Served, caller: wasmtime.Caller, arguments: tuple[int, ...]) -> int:
        served.refuse(name, f"errno {ENOTCAPABLE}, this app is not granted {what}")
        return ENOTCAPABLE

    return refuse
