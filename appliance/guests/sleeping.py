"""WASI's `poll_oneoff`, which is how a guest sleeps, within the guest's deadline.

The engine's own sleeps on the caller's thread for as long as the guest says, and nothing ends it:
epochs stop wasm only. So it is offered here again.

Files and standard streams never block in a box and are ready at once. A clock is waited for, but
never beyond the deadline; the guest is stopped at its next branch then.

Source: WASI preview 1, `subscription` (48 bytes) and `event` (32 bytes).
"""

import struct
import time

import wasmtime

from wasi_nn.errors import NNError
from wasi_nn.hostcall import define
from wasi_nn.serving import Guest

MODULE = "wasi_snapshot_preview1"

# userdata, tag; of a clock also its id, timeout in ns, precision and flags.
_SUBSCRIPTION = struct.Struct("<QB7xIxxxxQQH6x")
_EVENT = struct.Struct("<QHB21x")
_CLOCK = 0
_REALTIME = 0
_ABSOLUTE = 1
_SUCCESS, _EFAULT, _EINVAL, _ENOTSUP = 0, 21, 28, 58
# A guest waits for a handful; reading millions of them would hold Python's lock for seconds.
_MAX_SUBSCRIPTIONS = 256
# The engine counts a deadline in epochs of 10 ms and is late by one of them or more: a guest that
# came back on time would ask again, thousands of times.
_LATE_S = 0.020


def poll_oneoff(guest: Guest, subscriptions: int, events: int, count: int, written: int) -> int:
    if not 1 <= count <= _MAX_SUBSCRIPTIONS:
        return _EINVAL
    try:
        guest.memory.window(written, 4, "poll_oneoff out-pointer")
        guest.memory.window(events, count * _EVENT.size, "poll_oneoff events")
        raw = bytes(guest.memory.window(subscriptions, count * _SUBSCRIPTION.size, "subscriptions"))
        happened = _wait(guest, raw)
        window = guest.memory.window(events, len(happened) * _EVENT.size, "poll_oneoff events")
        for index, event in enumerate(happened):
            _EVENT.pack_into(window, index * _EVENT.size, *event)
        guest.memory.write_u32(written, len(happened), "poll_oneoff out-pointer")
    except NNError:
        return _EFAULT
    return _SUCCESS


def _wait(guest: Guest, raw: bytes) -> list[tuple[int, int, int]]:
    """Wait for what comes first. Returns: userdata, error and type of each event."""
    at_once: list[tuple[int, int, int]] = []
    clocks: list[tuple[float, int]] = []
    for userdata, tag, clock, timeout_ns, _precision, flags in _SUBSCRIPTION.iter_unpack(raw):
        if tag != _CLOCK:
            at_once.append((userdata, _SUCCESS, tag))
        elif flags & _ABSOLUTE and clock != _REALTIME:
            # Where the guest's monotonic clock begins is the engine's secret.
            at_once.append((userdata, _ENOTSUP, tag))
        else:
            base_s = time.time() if flags & _ABSOLUTE else 0.0
            clocks.append((timeout_ns / 1e9 - base_s, userdata))
    if at_once:
        return at_once
    first_s = max(0.0, min(wait_s for wait_s, _ in clocks))
    _sleep(guest, first_s)
    return [(userdata, _SUCCESS, _CLOCK) for wait_s, userdata in clocks if wait_s <= first_s]


def _sleep(guest: Guest, wait_s: float) -> None:
    deadline_s = guest.session.ticket.deadline_s
    left_s = wait_s if deadline_s is None else max(0.0, deadline_s - time.monotonic()) + _LATE_S
    time.sleep(min(wait_s, left_s))


def add_to_linker(linker: wasmtime.Linker) -> None:
    """Offer it in the place of the engine's."""
    linker.allow_shadowing = True
    define(linker, MODULE, "poll_oneoff", 4, poll_oneoff)
    linker.allow_shadowing = False
