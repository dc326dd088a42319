"""Open Inference Protocol over gRPC: to a box that is a process of its own, by the official client.

What a client pays beyond the call of the same model in its own process, which decodes and resizes
itself where a picture is sent. Client and box share the machine's cores; most of what a tensor
costs is its 600 KB through a socket and protobuf, on both sides.
"""

import statistics
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from tritonclient.grpc import InferenceServerClient, InferInput

from appliance.cli.demo import running_box
from appliance.settings import load_settings
from scripts.benchmarks.callers import Call
from scripts.benchmarks.cases import LITE0
from scripts.benchmarks.direct import CORES, RUNTIMES
from scripts.benchmarks.effort import Effort
from scripts.benchmarks.report import Row
from scripts.benchmarks.service import Direct, sample
from scripts.benchmarks.streams import alternate

_MODEL = "efficientnet-lite0"
_CASE = LITE0[0]


def measure(effort: Effort) -> Iterator[Row]:
    """Answer a tensor and a picture on EfficientNet-Lite0, in turns with the direct calls."""
    picture, values = sample(), _CASE.values()
    strings = np.array([picture], np.object_)
    calls: dict[str, Call] = {}
    for threads in (1, CORES):
        run, direct = RUNTIMES[_CASE.encoding](_CASE.files, threads), Direct(_CASE, threads)
        calls[f"tensor direct, threads: {threads}"] = partial(run, values)
        calls[f"picture direct, threads: {threads}"] = partial(direct.classify_picture, picture)
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        state = Path(folder)
        path = load_settings(state=state).grpc_socket_path
        with running_box(state), InferenceServerClient(f"unix:{path}") as client:
            calls["live"] = client.is_server_live
            calls["tensor"] = partial(client.infer, _MODEL, [_put(values, "FP32")])
            calls["picture"] = partial(client.infer, _MODEL, [_put(strings, "BYTES")])
            taken = alternate(calls, effort.stream_queries)
    medians_ms = {name: 1e3 * statistics.median(latencies) for name, latencies in taken.items()}
    yield Row("gRPC: ServerLive p50", medians_ms["live"], "ms")
    for what in ("tensor", "picture"):
        name = f"{_CASE.name} by gRPC: SingleStream p50, {what}"
        direct_ms = {n: ms for n, ms in medians_ms.items() if n.startswith(f"{what} direct")}
        best = min(direct_ms, key=lambda n: direct_ms[n])
        yield Row(name, medians_ms[what], "ms")
        yield Row(f"{name}, added to best direct ({best.split(', ')[1]})",
                  medians_ms[what] - direct_ms[best], "ms")  # fmt: skip


def _put(values: np.ndarray, datatype: str) -> InferInput:
    given = InferInput("image", list(values.shape), datatype)
    given.set_data_from_numpy(values)
    return given
