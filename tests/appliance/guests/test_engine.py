"""What guests may import, and engines of two kinds."""

import pytest
import wasmtime

from appliance.errors import BadGuest
from appliance.guests.engine import GuestEngine
from tests.appliance import watguests as guests


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
