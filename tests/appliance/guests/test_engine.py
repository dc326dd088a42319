"""The engine's clock and what guests may import."""

import threading
import time

import pytest
import wasmtime

from appliance.errors import BadGuest
from appliance.guests.engine import TICK_S, GuestEngine, Ticker, ticks
from tests.appliance import watguests as guests


class CountingEngine(wasmtime.Engine):
    """An engine that tells when its epoch advances."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.advanced = threading.Semaphore(0)

    def increment_epoch(self) -> None:
        self.count += 1
        self.advanced.release()


def test_the_clock_runs_while_a_guest_runs() -> None:
    """Inside the block ticks come one after another."""
    engine = CountingEngine()
    ticker = Ticker(engine)
    ticker.start()
    with ticker.ticking():
        assert all(engine.advanced.acquire(timeout=5) for _ in range(3))
    ticker.stop()


def test_an_idle_clock_stands_still() -> None:
    """Where nobody runs, the thread is asleep: at most the tick that was under way comes."""
    engine = CountingEngine()
    ticker = Ticker(engine)
    ticker.start()
    with ticker.ticking():
        assert engine.advanced.acquire(timeout=5)
    is_still = not all(engine.advanced.acquire(timeout=4 * TICK_S) for _ in range(3))
    with ticker.ticking():
        # It did not die of it either.
        assert engine.advanced.acquire(timeout=5)
    ticker.stop()

    assert is_still


def test_guests_together_share_one_clock() -> None:
    """The second guest's end does not stop the first one's time."""
    engine = CountingEngine()
    ticker = Ticker(engine)
    ticker.start()
    with ticker.ticking():
        with ticker.ticking():
            pass
        assert all(engine.advanced.acquire(timeout=5) for _ in range(3))
    ticker.stop()


def test_the_clock_stops_with_its_thread() -> None:
    """`stop` returns when the thread has ended, asleep or not."""
    idle, busy = Ticker(CountingEngine()), Ticker(CountingEngine())
    idle.start()
    busy.start()
    with busy.ticking():
        busy.stop()
    idle.stop()

    assert "guest-epochs" not in {
        t.name for t in threading.enumerate() if t in (idle._thread, busy._thread)
    }


@pytest.mark.parametrize(
    ("seconds", "epochs"),
    [
        pytest.param(0.010, 2, id="one tick"),
        pytest.param(0.011, 3, id="rounded up"),
        pytest.param(10.0, 1001, id="ten seconds"),
    ],
)
def test_a_deadline_is_never_early(seconds: float, epochs: int) -> None:
    """One tick more than the division: the present one is part gone."""
    assert epochs == ticks(seconds)


def test_a_guest_is_stopped_at_its_epoch(engine: GuestEngine) -> None:
    """Every module is compiled with checks, also in loops without calls."""
    module = wasmtime.Module(engine.engine, guests.looping())
    store = wasmtime.Store(engine.engine)
    store.set_epoch_deadline(ticks(0.02))
    function = engine.link(module).instantiate(store).exports(store)["appliance_on_frame"]
    assert isinstance(function, wasmtime.Func)
    started_s = time.monotonic()
    with engine.ticker.ticking(), pytest.raises(wasmtime.Trap, match="interrupt"):
        function(store, 1)

    assert time.monotonic() - started_s >= 0.02
    store.close()


@pytest.mark.parametrize(
    ("wasm", "words"),
    [
        pytest.param(
            guests.unknown_import(),
            "import env.magic: not offered; this box offers wasi_snapshot_preview1, "
            "wasi_ephemeral_nn, wasi_nn, appliance",
            id="module",
        ),
        pytest.param(
            guests.unknown_function(),
            "import wasi_ephemeral_nn.train: wasi_ephemeral_nn has no such function on this box",
            id="function",
        ),
        pytest.param(
            guests.wasm('(module (import "wasi_snapshot_preview1" "fd_write" (memory 1)))'),
            "import wasi_snapshot_preview1.fd_write: another signature",
            id="kind",
        ),
    ],
)
def test_an_import_that_does_not_fit_is_named(engine: GuestEngine, wasm: bytes, words: str) -> None:
    """The sentence says which import, and what there is instead."""
    with pytest.raises(BadGuest, match=words):
        engine.link(wasmtime.Module(engine.engine, wasm))


def test_fuel_makes_another_engine() -> None:
    """Code compiled for one engine never reaches the other's cache entries."""
    plain, counting = GuestEngine(), GuestEngine(counts_fuel=True)

    assert plain.fingerprint != counting.fingerprint
    assert (False, True) == (plain.counts_fuel, counting.counts_fuel)
