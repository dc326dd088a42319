"""What a picture costs from end to end: the built-in classifier against the same steps in Python."""

import os
import tempfile
import time
from pathlib import Path

import numpy as np

from appliance.app import Box
from appliance.bundles import Bundle
from appliance.cli.demo import running_box
from appliance.client import Client
from appliance.manifests import load_model_folder
from appliance.pictures import decode
from appliance.preprocess import to_tensor
from appliance.records import Frame
from appliance.settings import load_settings
from appliance.shipped import classifier_folder, models_folder, samples_folder
from scripts.benchmarks.direct import onnx
from scripts.benchmarks.pairs import compare
from scripts.benchmarks.report import Row, at_least

APP = "classifier"
_TOP = 5


class Direct:
    """The classifier as a careful user would write it in Python: no wasm, no box."""

    def __init__(self) -> None:
        folder = models_folder() / "efficientnet-lite0" / "1"
        package = load_model_folder(folder)
        self._input = package.manifest.inputs[0]
        self._layout = package.manifest.files[0].image_layout
        self._run = onnx([folder / "model.onnx"])

    def classify(self, pixels: np.ndarray) -> list[tuple[int, float]]:
        logits = self._run(to_tensor(pixels, self._input, self._layout))[0]
        scores = np.exp(logits - logits.max())
        scores /= scores.sum()
        best = np.argsort(scores)[: -_TOP - 1 : -1]
        return [(int(index), float(scores[index])) for index in best]


def bundle() -> Bundle:
    """The built-in classifier as it would be dropped."""
    folder = classifier_folder()
    return Bundle((folder / "classifier.wasm").read_bytes(), (folder / "app.toml").read_bytes())


def measure(rounds: int) -> list[Row]:
    """Compare in process and over the socket."""
    direct = Direct()
    picture = (samples_folder() / "coffee.jpg").read_bytes()
    pixels, media_type = decode(picture, max_pixels=50_000_000)
    frame = Frame("bench", 0, time.time(), time.monotonic(), pixels, picture, media_type)
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        return [
            *_in_process(Path(folder) / "a", direct, frame, rounds),
            *_over_socket(Path(folder) / "b", direct, picture, rounds),
        ]


def _in_process(state: Path, direct: Direct, frame: Frame, rounds: int) -> list[Row]:
    with Box(load_settings(state=state)) as box:
        box.deployer.deploy(bundle(), APP)
        with box.apps.using(APP) as app:
            pair = compare(
                lambda: app.runner.run(frame), lambda: direct.classify(frame.pixels),
                rounds=rounds, calls=4,
            )  # fmt: skip
    return [
        at_least("lite0 classifier in process: throughput, box : direct", 1 / pair.ratio, "x", 0.95)
    ]


def _over_socket(state: Path, direct: Direct, picture: bytes, rounds: int) -> list[Row]:
    state.mkdir()
    with running_box(state), Client(load_settings(state=state).socket_path) as box:
        folder = classifier_folder()
        box.deploy(APP, (folder / "classifier.wasm").read_bytes())

        def by_hand() -> None:
            pixels, _ = decode(picture, max_pixels=50_000_000)
            direct.classify(pixels)

        pair = compare(lambda: box.predict(APP, picture), by_hand, rounds=rounds, calls=4)
    cores = os.cpu_count()
    return [
        Row("lite0 classifier by socket: throughput, box : direct", 1 / pair.ratio, "x"),
        Row("lite0 classifier by socket: added", pair.difference_s * 1e3, f"ms, {cores} cores"),
    ]
