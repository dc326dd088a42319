"""What a picture costs from end to end: the built-in classifier against plain Python."""

import tempfile
import time
from pathlib import Path

import numpy as np

from appliance.app import Box
from appliance.bundles import Bundle
from appliance.manifests import load_model_folder
from appliance.pictures import decode
from appliance.preprocess import to_tensor
from appliance.records import Frame
from appliance.settings import load_settings
from appliance.shipped import classifier_folder, models_folder, samples_folder
from scripts.benchmarks.cases import LITE0, Case
from scripts.benchmarks.direct import RUNTIMES
from scripts.benchmarks.effort import Effort
from scripts.benchmarks.pairs import compare
from scripts.benchmarks.report import Row, at_least

APP = "classifier"
MAX_PIXELS = 50_000_000
_TOP = 5


class Direct:
    """The classifier as a careful user would write it in Python: no wasm, no box.

    threads: of a run; None for the runtime's default.
    """

    def __init__(self, case: Case, threads: int | None = None) -> None:
        package = load_model_folder(models_folder() / "efficientnet-lite0" / "1")
        self._input = package.manifest.inputs[0]
        files = next(f for f in package.manifest.files if f.encoding.value == case.encoding)
        self._layout = files.image_layout
        self._run = RUNTIMES[case.encoding](case.files, threads)

    def classify(self, pixels: np.ndarray) -> list[tuple[int, float]]:
        logits = self._run(to_tensor(pixels, self._input, self._layout))[0]
        scores = np.exp(logits - logits.max())
        scores /= scores.sum()
        best = np.argsort(scores)[: -_TOP - 1 : -1]
        return [(int(index), float(scores[index])) for index in best]

    def classify_picture(self, picture: bytes) -> list[tuple[int, float]]:
        """Decode, too."""
        pixels, _ = decode(picture, max_pixels=MAX_PIXELS)
        return self.classify(pixels)


def sample() -> bytes:
    """The picture that is sent."""
    return (samples_folder() / "coffee.jpg").read_bytes()


def measure(effort: Effort) -> list[Row]:
    """Compare in process: guest, host functions, scheduler and history against plain Python."""
    picture = sample()
    pixels, media_type = decode(picture, max_pixels=MAX_PIXELS)
    frame = Frame("bench", 0, time.time(), time.monotonic(), pixels, picture, media_type)
    folder = classifier_folder()
    bundle = Bundle((folder / "classifier.wasm").read_bytes(), (folder / "app.toml").read_bytes())
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as state,
        Box(load_settings(state=Path(state), threads=1)) as box,
    ):
        box.deployer.deploy(bundle, APP)
        with box.apps.using(APP) as app:
            # One thread: those of two sessions that take turns spin into each other's time.
            direct = Direct(LITE0[0], 1)
            pair = compare(
                lambda: app.runner.run(frame), lambda: direct.classify(frame.pixels),
                rounds=effort.rounds, calls=4,
            )  # fmt: skip
    name = "lite0 classifier in process: throughput, box : direct, one thread"
    return [at_least(name, 1 / pair.ratio, "x", 0.95)]
