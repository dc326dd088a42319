"""The history: questions to a million predictions, and many who follow live ones.

The rows are written as a box of schema 1 would have left them, made current by the store, and
then asked for over the socket of a box that is a process of its own. Each question is the worst
of its kind: a page that is nowhere near full, or everything there is.
"""

import json
import random
import re
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx

from appliance.cli.demo import running_box
from appliance.records import Prediction
from appliance.settings import load_settings
from appliance.store import PredictionStore
from appliance.store.schema import PREDICTIONS
from scripts.benchmarks.effort import Effort
from scripts.benchmarks.followers import Follower, follow_all
from scripts.benchmarks.processes import cpu_s
from scripts.benchmarks.report import Finding, Row, at_most
from scripts.benchmarks.schedules import SEED, ticks
from tests.appliance.watguests import labelled
from tests.appliance.workshop import png

ROWS = 1_000_000
_DAYS = 29.0
_LABELS = 50
_TARGET_MS = 50.0
_STREAMS, _RATE = 50, 30.0
_APPENDS = 1000
_DATA = json.dumps({"label": "x", "score": 0.5, "top": [["one", 0.5], ["two", 0.25]]})
_SETTINGS = f"predictions_max_rows = {2 * ROWS}\n"

_DAY_AGO, _MINUTE_AGO, _HALF_AGO = 86400, 60, _DAYS / 2 * 86400


def measure(effort: Effort) -> Iterator[Finding]:
    """Ask, append, follow."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, ExitStack() as opened:
        state = Path(folder)
        (state / "settings.toml").write_text(_SETTINGS)
        settings = load_settings(state=state)
        yield from _made(settings.predictions_db)
        process = opened.enter_context(running_box(state))
        http = opened.enter_context(
            httpx.Client(
                transport=httpx.HTTPTransport(uds=str(settings.socket_path)),
                base_url="http://box", timeout=60,
            )
        )  # fmt: skip
        yield from _questions(http, 5 if effort.rounds < 30 else 15)
        http.put("/v1/apps/bench", content=labelled("bench")).raise_for_status()
        yield from _streams(http, settings.socket_path, process.pid, effort.camera_s)
    yield from _appends()


def _made(path: Path) -> Iterator[Row]:
    """Write the rows of an earlier box, and make them current."""
    generator = random.Random(SEED)
    labels = generator.choices(
        [f"label {n}" for n in range(_LABELS)], [1 / (n + 1) for n in range(_LABELS)], k=ROWS
    )
    begin, step = time.time() - _DAYS * 86400, _DAYS * 86400 / ROWS
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + PREDICTIONS)
    connection.execute("PRAGMA user_version = 1")
    connection.execute("BEGIN")
    connection.executemany(
        "INSERT INTO predictions VALUES (NULL, ?, '3f2a9c1d5e7b', ?, ?, ?, ?, ?, ?, ?)",
        (
            (
                f"app-{n % 3}", f"camera-{n % 6}", n // 6, begin + n * step, begin + n * step,
                label, generator.random() ** 0.5, _DATA,
            )
            for n, label in enumerate(labels)
        ),
    )  # fmt: skip
    connection.execute("COMMIT")
    connection.close()
    started_s = time.perf_counter()
    with PredictionStore(path):
        pass
    yield Row("history: 1M rows of schema 1 made current", time.perf_counter() - started_s, "s")
    yield Row("history: 1M rows on disk", path.stat().st_size / 1e6, "MB")


def _questions(http: httpx.Client, times: int) -> Iterator[Row]:
    now = time.time()
    pages = {
        "newest": {},
        "app": {"app": "app-1"},
        "camera": {"camera": "camera-2"},
        "rare label": {"label": f"label {_LABELS - 1}"},
        "high score": {"min_score": 0.99999},
        "since": {"since": now - _MINUTE_AGO},
        "until": {"until": now - _HALF_AGO},
        "app + label, never together": {"app": "app-9", "label": "label 0"},
        "camera + label, never together": {"camera": "camera-9", "label": "label 0"},
        "label + since": {"label": "label 0", "since": now - _MINUTE_AGO},
        "label + high score": {"label": "label 0", "min_score": 1.0},
        "app + until": {"app": "app-1", "until": now - _HALF_AGO},
        "frame of a camera": {"camera": "camera-2", "frame": 500},
    }
    sums = {
        "all": {},
        "all, by hour": {"interval": 3600},
        "an app": {"app": "app-1"},
        "a camera, by hour": {"camera": "camera-1", "interval": 3600},
        "a label, by hour": {"label": "label 0", "interval": 3600},
        "a day, by 5 minutes": {"since": now - _DAY_AGO, "interval": 300},
        "a day of an app, by hour": {"since": now - _DAY_AGO, "app": "app-1", "interval": 3600},
        "a day, score 0.9": {"since": now - _DAY_AGO, "min_score": 0.9},
        "an hour, by minute": {"since": now - 3600, "interval": 60},
    }
    for path, kind, questions in (
        ("/v1/predictions", "page", pages), ("/v1/predictions/summary", "summary", sums),
    ):  # fmt: skip
        for name, parameters in questions.items():
            median_ms = _timed_ms(http, path, parameters, times)
            yield at_most(f"history, 1M rows: {kind}, {name}", median_ms, "ms", _TARGET_MS)
    # The one question that needs every row: for information.
    every_ms = _timed_ms(http, "/v1/predictions/summary", {"min_score": 0.9}, 3)
    yield Row("history, 1M rows: summary, all, score 0.9", every_ms, "ms")


def _timed_ms(http: httpx.Client, path: str, parameters: dict[str, float], times: int) -> float:
    """Give the median over the socket, from the question to the last byte."""
    taken = []
    for _ in range(times):
        started_s = time.perf_counter()
        http.get(path, params=parameters).raise_for_status()
        taken.append(time.perf_counter() - started_s)
    return 1e3 * statistics.median(taken)


def _streams(http: httpx.Client, path: Path, pid: int, duration_s: float) -> Iterator[Row]:
    """Show frames at a steady rate while many follow."""
    sent: list[int] = []

    def show() -> None:
        picture, began_s = png(), time.monotonic()
        for due_s in ticks(_RATE, duration_s):
            time.sleep(max(0.0, began_s + due_s - time.monotonic()))
            answer = http.post("/v1/apps/bench/frames", content=picture).raise_for_status()
            sent.extend(one["id"] for one in answer.json()["predictions"])

    with ExitStack() as opened:
        followers = [opened.enter_context(Follower(path)) for _ in range(_STREAMS)]
        spent_s, started_s = cpu_s(pid), time.monotonic()
        showing = threading.Thread(target=show, name="show")
        showing.start()
        wanted = len(list(ticks(_RATE, duration_s)))
        follow_all(followers, wanted, duration_s + 10)
        showing.join()
        cores = (cpu_s(pid) - spent_s) / (time.monotonic() - started_s)
        wrong = sum(follower.ids != sent for follower in followers)
        lost = sum(follower.lost for follower in followers)
    name = f"history: {_STREAMS} streams at {len(sent) / duration_s:.0f} predictions/s"
    yield Row(f"{name}: received", sum(len(f.ids) for f in followers), "predictions")
    yield at_most(f"{name}: streams with a gap, a double or another order", wrong, "streams", 0)
    yield at_most(f"{name}: told to be lost", lost, "predictions", 0)
    yield at_most(f"{name}: CPU of the box", cores, "cores", 1)


def _appends() -> Iterator[Row]:
    """Append one by one, alone and from many threads."""
    for threads in (1, 32):
        with tempfile.TemporaryDirectory(dir="/tmp") as folder:
            path = Path(folder) / "predictions.db"
            with PredictionStore(path) as store:
                written, started_s = _written_bytes(), time.perf_counter()
                workers = [
                    threading.Thread(target=_append_some, args=(store, _APPENDS // threads))
                    for _ in range(threads)
                ]
                for worker in workers:
                    worker.start()
                for worker in workers:
                    worker.join()
                taken_s = time.perf_counter() - started_s
                done = store.statistics()
                written = _written_bytes() - written
        name = f"history: append of one, {threads} thread{'s' * (threads > 1)}"
        yield Row(name, 1e6 * taken_s / done.appended, "us")
        yield Row(f"{name}: written to the log and the file", written / done.appended, "B")
        yield Row(f"{name}: rows per commit", done.appended / done.commits, "rows")


def _append_some(store: PredictionStore, count: int) -> None:
    data = json.loads(_DATA)
    for n in range(count):
        store.append([
            Prediction(
                "app-1", "3f2a9c1d5e7b", f"camera-{n % 6}", n, 1.7e9 + n, 1.7e9 + n,
                f"label {n % _LABELS}", 0.5, data,
            )
        ])  # fmt: skip


def _written_bytes() -> int:
    found = re.search(r"^wchar: (\d+)$", Path("/proc/self/io").read_text(), re.MULTILINE)
    assert found is not None, "man 5 proc"
    return int(found[1])
