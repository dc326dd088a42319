"""What a polite app keeps of its rate while hostile ones are shown frames, too.

A box as a process of its own with the built-in classifier in a closed loop over the socket; beside
it each of the tests' attackers, and then all, shown a frame ten times a second. Alone and beside in
turns.

All at once are shown the frames of one camera, as on a box. Where each has a client of its own
that asks for it over the socket, 120 requests a second are part of what is measured.
"""

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
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
_TURNS_OF_ALL = 5
_CAMERA = "siege"
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
            yield from _all_at_once(siege, path)


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


def _all_at_once(siege: Siege, path: Path) -> Iterator[Row]:
    """Let all attack: by a camera, then by clients."""
    siege = replace(siege, alone_s=siege.beside_s)
    name = f"polite app beside all {len(ATTACKERS)} at once, after {_SETTLE_S:g} s"
    with _attacking(path, _by_camera) as attack:
        kept = replace(siege, attack=attack).kept(_TURNS_OF_ALL)
        yield at_least(f"{name}: keeps", kept, "x", _KEEPS)
    with Client(path) as client:
        seen = client.camera(_CAMERA)
        shown = [r.inferred + r.refused + sum(r.failed.values()) for r in seen.routes]
        yield Row(f"frames that one of {len(shown)} was shown, at least", min(shown), "")
        client.remove_camera(_CAMERA)
    with _attacking(path, _by_clients) as attack:
        kept = replace(siege, attack=attack).kept(_TURNS_OF_ALL)
        yield Row(f"{name}, each by a client of its own: keeps", kept, "x")


_Attack = Callable[[], AbstractContextManager[None]]
_Calls = list[Callable[[], None]]


@contextmanager
def _attacking(path: Path, by: Callable[[Path, ExitStack], _Calls]) -> Iterator[_Attack]:
    """Have a process that attacks when told: here it would slow the polite client down."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_attack_when_told, args=(path, by, theirs), daemon=True)
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
    yield attack
    process.terminate()


def _attack_when_told(
    path: Path, by: Callable[[Path, ExitStack], _Calls], told: Connection
) -> None:
    """Be the process of the attackers."""
    # Cameras and clients are other machines: what sending takes is not what the guests cost.
    os.nice(19)
    with ExitStack() as opened:
        calls = by(path, opened)
        while True:
            told.send("ready")
            told.recv()
            with attacked_by(calls):
                told.recv()


def _by_clients(path: Path, opened: ExitStack) -> _Calls:
    return [_call(opened.enter_context(Client(path)), attacker) for attacker in ATTACKERS]


def _by_camera(path: Path, opened: ExitStack) -> _Calls:
    """Deploy all, and push a frame to all; what is refused at deploy is deployed by a client."""
    client, picture = opened.enter_context(Client(path)), png()
    calls = [_call(opened.enter_context(Client(path)), attacker) for attacker in ATTACKERS]
    deploys = [call for call, a in zip(calls, ATTACKERS, strict=True) if not a.is_deployable]
    client.add_camera(_CAMERA, "push:", apps=[a.name for a in ATTACKERS if a.is_deployable])

    def push() -> None:
        with suppress(ApplianceError):
            client.push(_CAMERA, picture)

    return [push, *deploys]
