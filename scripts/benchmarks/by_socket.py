"""The scenarios over the socket: pictures to a box that is a process of its own.

What a client pays beyond its own Python: HTTP, the hop to another process, the guest, history.
The direct baseline decodes, resizes and computes in the client's process. For information: on a
machine of few cores client and box share them, and HTTP is most of what is seen.
"""

import io
import statistics
import tempfile
import textwrap
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from appliance.cli.demo import running_box
from appliance.client import Client
from appliance.settings import load_settings
from appliance.shipped import classifier_folder
from scripts.benchmarks.callers import Call, closed_loop, open_loop
from scripts.benchmarks.cases import LITE0, Case
from scripts.benchmarks.direct import CORES
from scripts.benchmarks.effort import Effort
from scripts.benchmarks.estimates import claimed_latency, is_within, plain_percentile
from scripts.benchmarks.report import Curve, Finding, Row
from scripts.benchmarks.schedules import highest_rate, poisson
from scripts.benchmarks.service import APP, Direct, sample
from scripts.benchmarks.streams import alternate

_CLIENTS = 4
_PATIENCE = 4
_TURNS = 3
_CLAIMED = 0.90


def measure(effort: Effort) -> Iterator[Finding]:
    """Run SingleStream and Offline for every format, Server for those of the effort."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, ExitStack() as opened:
        state = Path(folder)
        opened.enter_context(running_box(state))
        path = load_settings(state=state).socket_path
        clients = [opened.enter_context(Client(path)) for _ in range(_CLIENTS)]
        for case in LITE0:
            clients[0].deploy(_app(case), _bundle(case))
            yield from _streams(case, clients, effort)
            if case.encoding in effort.formats:
                yield from _server(case, clients, effort)


def _app(case: Case) -> str:
    return f"{APP}-{case.encoding}"


def _bundle(case: Case) -> bytes:
    """Pack the built-in classifier so that it computes in this format."""
    folder = classifier_folder()
    manifest = f"""
        name = "{_app(case)}"
        models = ["efficientnet-lite0"]
        [nn]
        encodings = ["{case.encoding}"]
    """
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(folder / "classifier.wasm", "classifier.wasm")
        archive.writestr("app.toml", textwrap.dedent(manifest))
    return packed.getvalue()


def _calls(case: Case, clients: list[Client]) -> list[Call]:
    picture, app = sample(), _app(case)
    return [partial(client.predict, app, picture) for client in clients]


def _streams(case: Case, clients: list[Client], effort: Effort) -> Iterator[Row]:
    picture = sample()
    direct = [Direct(case, 1) for _ in range(CORES)]
    by_hand: list[Call] = [partial(one.classify_picture, picture) for one in direct]
    calls = _calls(case, clients)
    taken = alternate({"socket": calls[0], "direct": by_hand[0]}, effort.stream_queries)
    medians_s = {name: statistics.median(latencies) for name, latencies in taken.items()}
    name = f"{case.name} classifier by socket"
    yield Row(f"{name}: SingleStream p50 added to direct (1 thread)",
              1e3 * (medians_s["socket"] - medians_s["direct"]), "ms")  # fmt: skip
    claimed_s = claimed_latency(taken["socket"], _CLAIMED) or 0.0
    yield Row(f"{name}: SingleStream p90 claimed", 1e3 * claimed_s, "ms")
    ratios, rates = [], []
    for _ in range(_TURNS):
        rates.append(sum(closed_loop(calls, effort.piece_s)))
        ratios.append(rates[-1] / sum(closed_loop(by_hand, effort.piece_s)))
    yield Row(f"{name}: Offline, {_CLIENTS} clients", statistics.median(rates), "pictures/s")
    yield Row(f"{name}: Offline, box : direct ({CORES} x 1 thread)",
              statistics.median(ratios), "x")  # fmt: skip


def _server(case: Case, clients: list[Client], effort: Effort) -> Iterator[Finding]:
    """Search the rate at which the box still answers within some lone latencies."""
    calls = _calls(case, clients)
    lone_s = statistics.median(alternate({"socket": calls[0]}, 9)["socket"])
    capacity = sum(closed_loop(calls, effort.piece_s))
    bound_s, percentile = _PATIENCE * lone_s, effort.server_percentile
    points: dict[float, float] = {}

    def is_met(rate: float) -> bool:
        answers = open_loop(calls, poisson(rate, effort.probe_s))
        latencies_s = [answer.latency_s for answer in answers]
        points[rate] = 1e3 * plain_percentile(latencies_s, percentile)
        return is_within(latencies_s, bound_s, percentile)

    rate = highest_rate(is_met, 0.3 * capacity, 1.1 * capacity, effort.probes)
    percent = f"p{percentile * 100:g}"
    what = f"{case.name} classifier by socket: Server, {percent} within {bound_s * 1e3:.0f} ms"
    yield Row(what, rate, "pictures/s")
    points = {load: taken for load, taken in points.items() if taken < float("inf")}
    yield Curve(f"socket-{case.key}", percent, tuple(sorted(points.items())))
