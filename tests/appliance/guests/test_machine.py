"""The fingerprint of an engine: what compiled code depends on, under one name."""

import platform
import subprocess
import sys
from importlib.metadata import version

import pytest
import wasmtime

from appliance.guests.engine import GuestEngine
from appliance.guests.machine import fingerprint_of, make_engine

ASK = "from appliance.guests.machine import *; print(fingerprint_of(make_engine()))"


def test_two_engines_of_the_same_settings_are_one_name() -> None:
    """In this process and in another one: the cache outlives the box."""
    done = subprocess.run([sys.executable, "-c", ASK], capture_output=True, check=True, timeout=60)

    mine = GuestEngine().fingerprint
    assert mine == fingerprint_of(make_engine()) == done.stdout.decode().strip()
    assert mine.startswith(f"wasmtime-{version('wasmtime')}-{platform.machine()}-")


def differing(name: str, value: object) -> wasmtime.Engine:
    """Make an engine that differs from ours in one setting."""
    config = wasmtime.Config()
    config.epoch_interruption = True
    setattr(config, name, value)
    return wasmtime.Engine(config)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epoch_interruption", False),
        ("consume_fuel", True),
        ("cranelift_opt_level", "none"),
        ("debug_info", True),
        ("wasm_threads", False),
        ("memory_reservation", 1 << 20),
        ("memory_guard_size", 1 << 16),
    ],
)
def test_a_setting_that_changes_the_code_changes_the_name(name: str, value: object) -> None:
    """Whatever it is: wasmtime writes them all into what it compiles."""
    assert fingerprint_of(make_engine()) != fingerprint_of(differing(name, value))


def test_wasmtime_itself_refuses_code_for_another_processor() -> None:
    """The second guard, should a seal ever be wrong: each feature that code uses is looked for."""
    engine = make_engine()
    compiled = bytes(wasmtime.Module(engine, b"\0asm\x01\0\0\0").serialize())

    assert b"has_" in compiled
    foreign = compiled.replace(b"has_", b"hat_")
    with pytest.raises(wasmtime.WasmtimeError, match="incompatible with native host"):
        wasmtime.Module.deserialize(engine, foreign)
