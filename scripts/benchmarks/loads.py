"""What a repeated load costs: a command guest loads its whole model for every frame."""

import functools

from appliance.shipped import models_folder
from scripts.benchmarks.effort import Effort
from scripts.benchmarks.pairs import compare
from scripts.benchmarks.report import Row, at_least
from wasi_nn.backend import Encoding, GraphOptions
from wasi_nn.backends import all_backends
from wasi_nn.registry import Registry

_FOLDER = models_folder() / "efficientnet-lite0" / "1"
_FILES = {
    Encoding.ONNX: ("model.onnx",),
    Encoding.OPENVINO: ("model.xml", "model.bin"),
    Encoding.TENSORFLOWLITE: ("model.tflite",),
}


# Loads answered by the cache in a turn.
_REPEATS = 20


def measure(effort: Effort) -> list[Row]:
    """Compare a load that the cache answers with one that a runtime does.

    A turn repeats the cached load many times, as a command guest does frame after frame: right
    after a real load, which empties the processor's caches, its first hash takes twice as long.
    """
    rows = []
    for encoding, names in _FILES.items():
        builders = [(_FOLDER / name).read_bytes() for name in names]
        warm, cold = Registry(all_backends()), Registry(all_backends())
        kept = warm.load(builders, encoding, GraphOptions())
        pair = compare(
            functools.partial(_load, cold, builders, encoding, 1),
            functools.partial(_load, warm, builders, encoding, _REPEATS),
            rounds=max(9, effort.rounds // 4),
        )
        kept.release()
        size_mb = sum(map(len, builders)) / 1e6
        rows.append(
            at_least(
                f"load {encoding.value}, {size_mb:.1f} MB: real : repeated",
                pair.ratio * _REPEATS,
                "x",
                50,
            )
        )
    return rows


def _load(registry: Registry, builders: list[bytes], encoding: Encoding, times: int) -> None:
    for _ in range(times):
        registry.load(builders, encoding, GraphOptions()).release()
