"""Real cameras at half, at all and at twice of what the box can compute.

Films of 1280x720 at 30 frames a second, each played by a camera of its own into one box, which is
a process of its own with the built-in classifier. All cameras decode all the time; what they feed
the app is bounded by the feed's rate. The capacity is what the box predicts when nothing is
bounded, with the decoding under way on the same cores. Cameras are added until they give nearly
twice as much.
"""

import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np

from appliance.api.shapes import CameraDetail
from appliance.bundles import Bundle, write_bundle
from appliance.cli.demo import running_box
from appliance.cli.film import Film, make_film
from appliance.client import Client
from appliance.settings import load_settings
from appliance.shipped import classifier_folder, samples_folder
from scripts.benchmarks.cases import LITE0
from scripts.benchmarks.effort import Effort
from scripts.benchmarks.estimates import plain_percentile
from scripts.benchmarks.processes import children_of, resident_mb, tree_of
from scripts.benchmarks.report import Curve, Finding, Row, at_least, at_most
from scripts.benchmarks.service import APP, Direct

_FEWEST, _MOST = 4, 16
_OVERLOAD = 1.8
_PROBE_S = 4.0
FILM = Film((1280, 720), fps=30, seconds=4.0)
# After a change of the feeds, before anything is counted.
_SETTLE_S = 2.0
_MIN_RUN_S = 10.0
# The target: decode + 1.2 x direct + 10 ms.
_DIRECT_SHARE, _SLACK_MS = 1.2, 10.0


@dataclass(frozen=True, slots=True)
class Window:
    """What became of the cameras' frames within a time.

    captured_fps, rates: of each camera, frames and predictions a second.   skipped: of all frames
    that were due, the share that was passed over.   latencies_ms: from capture to prediction.
    failed: refused and failed frames.   resident_mb: of the box, and of its workers together.
    """

    captured_fps: tuple[float, ...]
    rates: tuple[float, ...]
    skipped: float
    latencies_ms: tuple[float, ...]
    failed: int
    resident_mb: tuple[float, float]

    @property
    def rate(self) -> float:
        return sum(self.rates)

    @property
    def fairness(self) -> float:
        return min(self.rates) / max(max(self.rates), 1e-9)

    def percentile_ms(self, share: float) -> float:
        return plain_percentile(list(self.latencies_ms), share)


@dataclass(frozen=True, slots=True)
class Rig:
    """A box that films feed, and its process."""

    box: Client
    process: subprocess.Popen[str]
    film: Path
    names: list[str] = field(default_factory=list)

    def add(self, count: int) -> None:
        """Play the film by so many more cameras."""
        for _ in range(count):
            self.names.append(f"film-{len(self.names)}")
            self.box.add_camera(self.names[-1], f"{self.film}?loop=1", apps=[APP])

    def overload(self) -> None:
        """Add cameras until they give nearly twice as much as is predicted."""
        self.add(_FEWEST)
        while len(self.names) < _MOST:
            time.sleep(_SETTLE_S)
            seen = self.watch(_PROBE_S)
            if sum(seen.captured_fps) >= _OVERLOAD * seen.rate:
                return
            self.add(2)

    def feed(self, fps: float | None) -> None:
        """Let each camera feed the app at most so many frames a second."""
        for name in self.names:
            self.box.change_camera(name, apps=[{"app": APP, "fps": fps}])

    def watch(self, duration_s: float) -> Window:
        """Count for so long."""
        begin = time.time()
        before = {name: self.box.camera(name) for name in self.names}
        time.sleep(duration_s)
        after = {name: self.box.camera(name) for name in self.names}
        taken_s = time.time() - begin
        made = [_made(before[name], after[name]) for name in self.names]
        due = sum(one["inferred"] + one["skipped"] for one in made)
        return Window(
            captured_fps=tuple(one["frames"] / taken_s for one in made),
            rates=tuple(one["inferred"] / taken_s for one in made),
            skipped=sum(one["skipped"] for one in made) / max(1, due),
            latencies_ms=tuple(
                1e3 * (seen.emitted_at - seen.captured_at)
                for seen in self.box.history(app=APP, since=begin)
            ),
            failed=sum(one["failed"] for one in made),
            resident_mb=held_mb(self.process.pid),
        )  # fmt: skip


def _made(before: CameraDetail, after: CameraDetail) -> Mapping[str, int]:
    old, new = before.routes[0], after.routes[0]
    return {
        "frames": after.frames - before.frames,
        "inferred": new.inferred - old.inferred,
        "skipped": new.skipped - old.skipped,
        "failed": new.refused + sum(new.failed.values()) - old.refused - sum(old.failed.values()),
    }


def held_mb(pid: int) -> tuple[float, float]:
    """Tell what a box and its supervisor hold in memory, and its workers together, in MB."""
    own, workers = 0.0, 0.0
    for one in tree_of(pid):
        # Workers have no children.
        if children_of(one):
            own += resident_mb(one)
        else:
            workers += resident_mb(one)
    return own, workers


@contextmanager
def rig() -> Iterator[tuple[Rig, float, float]]:
    """A box with its cameras. Gives: it, the cost of a decode and of a direct call, ms."""
    folder = classifier_folder()
    bundle = Bundle((folder / "classifier.wasm").read_bytes(), (folder / "app.toml").read_bytes())
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as place:
        film = Path(place) / "film.mp4"
        make_film(film, sorted(samples_folder().glob("*.jpg")), FILM)
        decode_ms, pixels = _decode_ms(film)
        state = Path(place) / "state"
        state.mkdir()
        with (
            running_box(state) as process,
            Client(load_settings(state=state).socket_path) as box,
        ):
            box.deploy(APP, write_bundle(bundle.wasm, bundle.manifest or b""))
            # Loads the model and measures its plan, which takes all cores.
            box.predict(APP, (samples_folder() / "coffee.jpg").read_bytes())
            encoding = box.models().graphs[0].encoding
            direct_ms = _direct_ms(encoding, pixels)
            yield Rig(box, process, film), decode_ms, direct_ms


def _decode_ms(film: Path) -> tuple[float, Any]:
    """Decode a film to RGB. Returns: the median of a frame, ms, and the last one's pixels."""
    taken_ms = []
    pixels = np.zeros((1, 1, 3), np.uint8)
    with av.open(str(film)) as container:
        container.streams.video[0].thread_count = 1
        frames = container.decode(video=0)
        while True:
            started_s = time.perf_counter()
            frame = next(frames, None)
            if frame is None:
                return statistics.median(taken_ms), pixels
            pixels = frame.to_ndarray(format="rgb24")
            taken_ms.append(1e3 * (time.perf_counter() - started_s))


def _direct_ms(encoding: str, pixels: Any) -> float:
    """Classify by hand on one thread. Returns: the median, ms."""
    direct = Direct(next(case for case in LITE0 if case.encoding == encoding), 1)
    taken_ms = []
    for _ in range(30):
        started_s = time.perf_counter()
        direct.classify(pixels)
        taken_ms.append(1e3 * (time.perf_counter() - started_s))
    return statistics.median(taken_ms)


def measure(effort: Effort) -> Iterator[Finding]:
    """Play films at each load; how late, how many, whether evenly, and in how much memory."""
    run_s = max(_MIN_RUN_S, effort.camera_s)
    with rig() as (films, decode_ms, direct_ms):
        films.overload()
        name = f"{len(films.names)} cameras"
        yield Row(f"{name}: decode 1280x720", decode_ms, "ms")
        yield Row(f"{name}: direct, 1 thread", direct_ms, "ms")
        time.sleep(_SETTLE_S)
        first = films.watch(run_s)
        yield from _rows(f"{name} at {sum(first.captured_fps) / first.rate:.1f} x capacity", first)
        points = [(sum(first.captured_fps), first.percentile_ms(0.99))]
        last = first
        for load in (0.5, 1.0):
            films.feed(load * first.rate / len(films.names))
            time.sleep(_SETTLE_S)
            last = films.watch(run_s)
            yield from _rows(f"{name} at {load:g} x capacity", last)
            if load < 1:
                bound_ms = decode_ms + _DIRECT_SHARE * direct_ms + _SLACK_MS
                what = f"{name} at {load:g} x capacity"
                yield at_most(f"{what}: p50", last.percentile_ms(0.5), "ms", bound_ms)
                yield at_least(f"{what}: predicted : asked", last.rate / (load * first.rate), "x",
                               0.95)  # fmt: skip
            points.append((load * first.rate, last.percentile_ms(0.99)))
        growth = 100 * (sum(last.resident_mb) / sum(first.resident_mb) - 1)
        yield Row(f"{name}: memory of the box", last.resident_mb[0], "MB")
        yield Row(f"{name}: memory of the workers", last.resident_mb[1], "MB")
        yield at_most(f"{name}: memory grown over the runs", growth, "%", 5)
        yield Curve("cameras", f"{name}, p99", tuple(sorted(points)))


def _rows(name: str, seen: Window) -> Iterator[Row]:
    yield at_least(f"{name}: slowest camera's frames/s", min(seen.captured_fps), "1/s",
                   0.95 * FILM.fps)  # fmt: skip
    yield Row(f"{name}: predictions/s", seen.rate, "1/s")
    for share in (0.50, 0.99):
        yield Row(f"{name}: capture to prediction p{share * 100:g}", seen.percentile_ms(share),
                  "ms")  # fmt: skip
    yield Row(f"{name}: frames passed over", 100 * seen.skipped, "%")
    yield at_least(f"{name}: least seen : most seen", seen.fairness, "x", 0.9)
    yield at_most(f"{name}: refused and failed", seen.failed, "frames", 0)


def soak(minutes: float) -> Iterator[str]:
    """Play films for long, unbounded; say what each minute was like."""
    with rig() as (films, _, _):
        films.add(_FEWEST)
        for minute in range(1, max(1, round(minutes)) + 1):
            seen = films.watch(60.0)
            yield (
                f"minute {minute}: {seen.rate:.1f} predictions/s of {sum(seen.captured_fps):.1f} "
                f"frames/s, p50 {seen.percentile_ms(0.5):.0f} ms, p99 "
                f"{seen.percentile_ms(0.99):.0f} ms, least : most {seen.fairness:.2f}, failed "
                f"{seen.failed}, box {seen.resident_mb[0]:.0f} MB, workers "
                f"{seen.resident_mb[1]:.0f} MB"
            )
