"""What a polite app keeps of its rate while hostile ones are shown frames, too.

A box as a process of its own with the built-in classifier in a closed loop over the socket; beside
it each of the tests' attackers, and then all, shown a frame ten times a second. Alone and beside in
turns.
"""

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

from appliance.bundles import write_bundle
from appliance.cli.demo import running_box
from appliance.client import Client
from appliance.errors import ApplianceError
from appliance.settings import load_settings
from appliance.shipped import classifier_folder
from scripts.benchmarks.effort import Effort
from scripts.benchmarks.report import Row, at_least
from scripts.benchmarks.service import APP, sample
from tests.appliance.hostile.attackers import ATTACKERS, Attacker
from tests.appliance.hostile.siege import Siege, attacked_by
from tests.appliance.workshop import png

_KEEPS = 0.9
_TURNS = 3
# Beside an attacker for so many pieces: what it owes for a deadline is paid back over some.
_PIECES = 3
# All attackers together have 6.5 s of a core before they are suspended: once, and over by then.
_SETTLE_S = 12.0


def measure(effort: Effort) -> Iterator[Row]:
    """Besiege the classifier with each attacker, and with all."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, running_box(Path(folder)):
        path = load_settings(state=Path(folder)).socket_path
        with Client(path) as polite, Client(path) as rude:
            built_in = classifier_folder()
            parts = (built_in / "classifier.wasm", built_in / "app.toml")
            polite.deploy(APP, write_bundle(*(part.read_bytes() for part in parts)))
            polite.predict(APP, sample())
            piece_s = 2 * effort.piece_s
            siege = Siege(
                partial(polite.predict, APP, sample()), lambda: attacked_by(()), piece_s,
                _PIECES * piece_s,
            )  # fmt: skip
            for attacker in ATTACKERS:
                calls = (_call(rude, attacker),)
                kept = replace(siege, attack=partial(attacked_by, calls)).kept(_TURNS)
                yield at_least(f"polite app beside {attacker.name}: keeps", kept, "x", _KEEPS)
                rude.delete_app(attacker.name)
            yield _all_at_once(siege, path)


def _call(client: Client, attacker: Attacker) -> Callable[[], None]:
    picture, bundle = png(), write_bundle(attacker.wasm, attacker.manifest.encode())

    def deploy() -> None:
        with suppress(ApplianceError):
            client.deploy(attacker.name, bundle)

    def show() -> None:
        with suppress(ApplianceError):
            client.predict(attacker.name, picture)

    deploy()
    return show if attacker.is_deployable else deploy


def _all_at_once(siege: Siege, path: Path) -> Row:
    """Let all attack, from a process of their own: here they would slow the polite client down."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_attack_when_told, args=(path, theirs), daemon=True)
    process.start()
    ours.recv()

    @contextmanager
    def attack() -> Iterator[None]:
        ours.send("begin")
        yield
        ours.send("end")
        ours.recv()

    with attack():
        time.sleep(_SETTLE_S)
    kept = replace(siege, attack=attack).kept(_TURNS)
    process.terminate()
    name = f"polite app beside all {len(ATTACKERS)} at once, after {_SETTLE_S:g} s: keeps"
    return at_least(name, kept, "x", _KEEPS)


def _attack_when_told(path: Path, told: Connection) -> None:
    """Be the process of the attackers."""
    with ExitStack() as opened:
        calls = [_call(opened.enter_context(Client(path)), attacker) for attacker in ATTACKERS]
        while True:
            told.send("ready")
            told.recv()
            with attacked_by(calls):
                told.recv()
