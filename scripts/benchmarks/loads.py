"""What a repeated load costs: a command guest loads its whole model for every frame."""

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


def measure(effort: Effort) -> list[Row]:
    """Compare a load that the cache answers with one that a runtime does."""
    rows = []
    for encoding, names in _FILES.items():
        builders = [(_FOLDER / name).read_bytes() for name in names]
        warm, cold = Registry(all_backends()), Registry(all_backends())
        kept = warm.load(builders, encoding, GraphOptions())
        pair = compare(
            lambda r=cold, b=builders, e=encoding: r.load(b, e, GraphOptions()).release(),
            lambda r=warm, b=builders, e=encoding: r.load(b, e, GraphOptions()).release(),
            rounds=max(9, effort.rounds // 4),
        )
        kept.release()
        size_mb = sum(map(len, builders)) / 1e6
        rows.append(
            at_least(
                f"load {encoding.value}, {size_mb:.1f} MB: real : repeated", pair.ratio, "x", 50
            )
        )
    return rows
