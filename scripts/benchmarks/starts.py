"""How fast a guest starts, what an idle one weighs, and how soon a box is back with all of them.

Parts are timed in this process; what a user waits for is timed on a served box, a process of its
own, from the drop to the answer. Guests are the real ones; larger and different ones are made of
them (`modules`).
"""

import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import numpy as np
import wasmtime

from appliance.bundles import Bundle, write_bundle
from appliance.cli.demo import running_box
from appliance.guests.aot import AotCache
from appliance.guests.engine import GuestEngine
from appliance.guests.instance import Instance, Output
from appliance.guests.program import Host, make_program
from appliance.manifests import AppManifest
from appliance.models import ModelRepository
from appliance.settings import AppLimits, Settings, load_settings
from appliance.shipped import classifier_folder, models_folder
from appliance.versions import AppShelf
from scripts.benchmarks.effort import Effort
from scripts.benchmarks.modules import distinct, grown
from scripts.benchmarks.processes import children_of, proportional_mb
from scripts.benchmarks.report import Row, at_most
from scripts.benchmarks.service import sample
from tests.appliance.service import ROOT
from wasi_nn.backends import all_backends
from wasi_nn.executor import DirectExecutor
from wasi_nn.registry import Registry

KB, MB = 1000, 1000_000
REACTOR = classifier_folder() / "classifier.wasm"
# Without a name: it goes by what it is dropped as.
MANIFEST = (classifier_folder() / "app.toml").read_bytes().replace(b'name = "classifier"', b"")
COMMAND = ROOT / "wasi_nn" / "guest" / "examples" / "classify.wasm"
_INSTANTIATE_MS, _NEW_MS, _CACHED_MS = 1.0, 1000.0, 50.0
# What a lone guest may take that is there: it waits for a manifest (`appliance.quiet`).
_ALONE_MS = 200.0
_APP_MB, _RESTORE_MS = 1.0, 10.0
_FLEETS = (1, 10, 100)
_ANSWER_TIMEOUT_S = 60.0
_ASK_EVERY_S = 0.002
# The fewest whose 99th percentile has ten above it.
_INSTANCES = 1000


def measure(effort: Effort) -> Iterator[Row]:
    """Compile, load, instantiate; drop; restart."""
    is_quick = effort.rounds < 30
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield from _parts(Path(folder), 3 if is_quick else 15)
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield from _drops(Path(folder), 5 if is_quick else 15)
    yield from _fleets(3 if is_quick else 7)


# -- parts -----------------------------------------------------------------------------------------


def _parts(folder: Path, times: int) -> Iterator[Row]:
    engine = GuestEngine()
    engine.start()
    cache = AotCache(folder / "aot", engine)
    reactor, command = REACTOR.read_bytes(), COMMAND.read_bytes()
    sizes = {
        f"classifier, {len(reactor) // KB} KB": reactor,
        f"classify, {len(command) // KB} KB": command,
        "classify grown to 100 KB": grown(command, 100 * KB),
        "classify grown to 1 MB": grown(command, MB),
    }
    for name, wasm in sizes.items():
        made = [_ms(lambda n=n, wasm=wasm: cache.module(distinct(wasm, n))) for n in range(times)]
        yield Row(f"starts: compile {name}", statistics.median(made), "ms")
        loaded = [_ms(lambda wasm=wasm: cache.module(distinct(wasm, 0))) for _ in range(9)]
        yield Row(f"starts: load {name}, cached", statistics.median(loaded), "ms")
    for mode, wasm in (("reactor", reactor), ("command", command)):
        taken = _instantiations(engine, cache.module(wasm), _INSTANCES)
        p50, p99 = np.percentile(taken, [50, 99])
        yield at_most(f"starts: instantiate a {mode}, p50", float(p50), "ms", _INSTANTIATE_MS)
        yield Row(f"starts: instantiate a {mode}, p99", float(p99), "ms")
    engine.stop()


def _instantiations(engine: GuestEngine, module: wasmtime.Module, count: int) -> list[float]:
    """Time instances with all they own: store, limits, streams, session."""
    registry = Registry(all_backends(), ModelRepository((models_folder(),)))
    host = Host(engine, registry, DirectExecutor(), AppLimits())
    program = make_program(host, module, AppManifest(name="bench"))
    taken = []
    for _ in range(count):
        started_s = time.perf_counter()
        instance = Instance(program, wasmtime.WasiConfig(), Output())
        taken.append(1e3 * (time.perf_counter() - started_s))
        instance.close()
    program.keeper.close()
    return taken


def _ms(what: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    what()
    return 1e3 * (time.perf_counter() - started_s)


# -- drops -----------------------------------------------------------------------------------------


class Served:
    """A served box, and what a user does to it."""

    def __init__(self, settings: Settings, http: httpx.Client) -> None:
        self._settings = settings
        self._http = http
        self._picture = sample()

    def show(self, app: str) -> None:
        """Show the app a picture."""
        answer = self._http.post(f"/v1/apps/{app}/frames", content=self._picture)
        answer.raise_for_status()
        assert answer.json()["predictions"], "the classifier sees something in every picture"

    def put(self, app: str, wasm: bytes) -> None:
        """Deploy over HTTP, and have the first answer."""
        self._http.put(f"/v1/apps/{app}", content=write_bundle(wasm, MANIFEST)).raise_for_status()
        self.show(app)

    def drop(self, app: str, wasm: bytes) -> None:
        """Drop a bundle into the inbox, and have the first answer."""
        (self._settings.inbox / f"{app}.zip").write_bytes(write_bundle(wasm, MANIFEST))
        self._await(app)
        self.show(app)

    def drop_alone(self, app: str, wasm: bytes) -> None:
        """Drop a lone .wasm into the inbox, and have the first answer."""
        (self._settings.inbox / f"{app}.wasm").write_bytes(wasm)
        self._await(app)
        self.show(app)

    def _await(self, app: str) -> None:
        """Ask until the app is live: a short question, not in the way of what it waits for."""
        end_s = time.monotonic() + _ANSWER_TIMEOUT_S
        while self._http.get(f"/v2/models/{app}/ready").status_code != httpx.codes.OK:
            if time.monotonic() > end_s:
                raise TimeoutError(f"app {app}: not live after {_ANSWER_TIMEOUT_S:.0f} s")
            time.sleep(_ASK_EVERY_S)

    def delete(self, app: str) -> None:
        self._http.delete(f"/v1/apps/{app}").raise_for_status()


@contextmanager
def _served(state: Path) -> Iterator[tuple[Served, int]]:
    """Serve a box. Gives: also the process of the service."""
    settings = load_settings(state=state)
    with ExitStack() as opened:
        process = opened.enter_context(running_box(state))
        (service,) = children_of(process.pid)
        http = opened.enter_context(
            httpx.Client(
                transport=httpx.HTTPTransport(uds=str(settings.socket_path)),
                base_url="http://box", timeout=_ANSWER_TIMEOUT_S,
            )
        )  # fmt: skip
        yield Served(settings, http), service


def _drops(state: Path, times: int) -> Iterator[Row]:
    """Time what a user waits for, beside an app that has loaded and measured the model."""
    wasm = grown(REACTOR.read_bytes(), 100 * KB)
    with _served(state) as (box, _):
        box.put("first", REACTOR.read_bytes())
        frames = [_ms(lambda: box.show("first")) for _ in range(4 * times)]
        yield Row("starts: a frame of a live classifier", statistics.median(frames), "ms")
        ways = {
            "by HTTP": (box.put, _CACHED_MS),
            "by the inbox": (box.drop, _CACHED_MS),
            "by the inbox, alone": (box.drop_alone, _ALONE_MS),
        }
        for number, (way, (drop, cached_ms)) in enumerate(ways.items()):
            new, cached = [], []
            for n in range(times):
                app, guest = f"app-{number}-{n}", distinct(wasm, 1000 * number + n)
                new.append(_ms(lambda d=drop, a=app, g=guest: d(a, g)))
                box.delete(app)
                cached.append(_ms(lambda d=drop, a=app, g=guest: d(a, g)))
                box.delete(app)
            name = "starts: 100 KB guest to its first prediction"
            yield at_most(f"{name}, new, {way}", statistics.median(new), "ms", _NEW_MS)
            yield at_most(f"{name}, cached, {way}", statistics.median(cached), "ms", cached_ms)


# -- fleets ----------------------------------------------------------------------------------------


def _fleets(times: int) -> Iterator[Row]:
    """Restart boxes of some apps: how long it takes, and what an app weighs that is idle."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        state = Path(folder)
        settings = load_settings(state=state)
        empty_ms, empty_mb = _restarts(state, times, 0)
        yield Row("starts: restart of an empty box", empty_ms, "ms")
        yield Row("starts: memory of an empty box (PSS)", empty_mb, "MB")
        there = 0
        for count in _FLEETS:
            _install(settings, range(there, count))
            there = count
            restart_ms, held_mb = _restarts(state, times, count)
            apps = f"{count} app{'s' * (count > 1)}"
            yield Row(f"starts: restart of a box with {apps}", restart_ms, "ms")
            each_mb = (held_mb - empty_mb) / count
            name = f"starts: memory of an idle app (PSS), {apps}"
            # One app brings what all of them share; it is the many that must be light. Of a few,
            # the difference drowns in how unevenly a process starts.
            if count < _FLEETS[-1]:
                yield Row(name, each_mb, "MB")
                shutil.rmtree(settings.cache_aot)
                cold_ms, _ = _restarts(state, 1, count)
                yield Row(f"starts: restart of a box with {apps}, none compiled", cold_ms, "ms")
                continue
            yield at_most(name, each_mb, "MB", _APP_MB)
            each_ms = (restart_ms - empty_ms) / count
            name = f"starts: restart, more for each of {apps}"
            yield at_most(name, each_ms, "ms", _RESTORE_MS)


def _install(settings: Settings, numbers: range) -> None:
    """Put apps on the disk as deploys leave them, compiled; each is another classifier."""
    shelf = AppShelf(settings.apps)
    cache = AotCache(settings.cache_aot, GuestEngine())
    for number in numbers:
        bundle = Bundle(distinct(REACTOR.read_bytes(), number), MANIFEST)
        shelf.write(_app(number), bundle)
        shelf.put_in_front(_app(number), bundle.version)
        cache.module(bundle.wasm)


def _app(number: int) -> str:
    return f"app-{number}"


def _restarts(state: Path, times: int, count: int) -> tuple[float, float]:
    """Start a box some times. Returns: ms until it listens, MB of the service.

    Of both the least: what else the machine does only ever adds, and boxes are compared here.
    """
    taken, held = [], []
    for _ in range(times):
        started_s = time.perf_counter()
        with _served(state) as (box, service):
            taken.append(1e3 * (time.perf_counter() - started_s))
            held.append(proportional_mb(service))
            if count:
                # Outside both figures: it is really there.
                box.show(_app(count - 1))
    return min(taken), min(held)
