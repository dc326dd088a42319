"""Guests are stopped at their deadlines, by a clock that is otherwise left alone."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import wasmtime

from appliance.guests.engine import GuestEngine
from appliance.guests.ticker import EPOCH_S, Ticker
from tests.appliance import watguests as guests
from wasi_nn.hostcall import deadline_of


class CountingEngine(wasmtime.Engine):
    """An engine that tells when its epoch advances."""

    def __init__(self) -> None:
        super().__init__()
        self.advanced = threading.Semaphore(0)

    def increment_epoch(self) -> None:
        self.advanced.release()


class Noting:
    """Keeps the deadline it was given, in epochs."""

    epochs = 0

    def __call__(self, epochs: int) -> None:
        self.epochs = epochs


@contextmanager
def started(
    engine: wasmtime.Engine, clock: Callable[[], float] = time.monotonic
) -> Iterator[Ticker]:
    """Run a clock inside the block."""
    ticker = Ticker(engine, clock)
    ticker.start()
    try:
        yield ticker
    finally:
        ticker.stop()


def loop(engine: GuestEngine, limit_s: float) -> float:
    """Run a guest that never ends. Returns: seconds until it was stopped."""
    store = wasmtime.Store(engine.engine)
    module = wasmtime.Module(engine.engine, guests.looping())
    store.set_epoch_deadline(1 << 40)
    function = engine.link(module).instantiate(store).exports(store)["appliance_on_frame"]
    assert isinstance(function, wasmtime.Func)
    started_s = time.monotonic()
    deadline = deadline_of(store)
    engine.ticker.begin(deadline, limit_s)
    try:
        with pytest.raises(wasmtime.Trap, match="interrupt"):
            function(store, 1)
    finally:
        engine.ticker.end(deadline)
    store.close()
    return time.monotonic() - started_s


@pytest.mark.parametrize("limit_s", [0.001, 0.02])
def test_a_guest_is_stopped_at_its_deadline(engine: GuestEngine, limit_s: float) -> None:
    """Every module is compiled with checks, also in loops without calls; never early."""
    assert loop(engine, limit_s) >= limit_s


def test_guests_do_not_share_deadlines(engine: GuestEngine) -> None:
    """Beside one with all the time of the world, each of the others has its own."""
    patient = Noting()
    engine.ticker.begin(patient, 3600)
    took_s = [loop(engine, limit_s) for limit_s in (0.03, 0.01, 0.02)]
    engine.ticker.end(patient)

    assert all(took >= limit for took, limit in zip(took_s, (0.03, 0.01, 0.02), strict=True))


def test_who_begins_while_the_count_lags_gets_the_lag_on_top() -> None:
    """Half a second after the first guest began, nothing was counted yet."""
    now = 100.0
    ticker = Ticker(CountingEngine(), lambda: now)
    first, second, third = (Noting() for _ in range(3))
    ticker.begin(first, 3600)
    now += 0.5
    ticker.begin(second, 2 * EPOCH_S)
    ticker.end(first)
    ticker.end(second)
    now += 1000
    ticker.begin(third, 2 * EPOCH_S)

    assert (360_000, 52, 2) == (first.epochs, second.epochs, third.epochs)


def test_nothing_is_counted_for_those_who_end_in_time() -> None:
    """A thousand calls far from their deadline do not advance the engine's count."""
    engine = CountingEngine()
    # A clock that stands: a stall of the machine is no matter.
    with started(engine, lambda: 100.0) as ticker:
        guest = Noting()
        for _ in range(1000):
            ticker.begin(guest, 60)
            ticker.end(guest)

    assert not engine.advanced.acquire(blocking=False)


def test_an_idle_clock_is_woken_by_the_next_guest() -> None:
    """It sleeps until somebody runs, again and again."""
    engine = CountingEngine()
    with started(engine) as ticker:
        for _ in range(3):
            guest = Noting()
            ticker.begin(guest, EPOCH_S)
            assert engine.advanced.acquire(timeout=5)
            ticker.end(guest)


@pytest.mark.parametrize("is_busy", [False, True])
def test_the_clock_stops_with_its_thread(*, is_busy: bool) -> None:
    """`stop` returns when the thread has ended, asleep or not."""
    with started(CountingEngine()) as ticker:
        if is_busy:
            ticker.begin(Noting(), 60)

    assert not ticker._thread.is_alive()
