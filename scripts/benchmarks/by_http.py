"""What HTTP over the Unix socket adds to the same call in process.

The same picture goes, in turns, through a box in this process (decode, guest, history) and through
one that is a process of its own. The client is a bare socket: any library costs about as much of
its own as the box's whole side of the socket.
"""

import json
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from appliance.app import Box
from appliance.bundles import Bundle
from appliance.cli.demo import running_box
from appliance.pictures import decode
from appliance.records import Frame
from appliance.settings import load_settings
from appliance.shipped import classifier_folder
from scripts.benchmarks.effort import Effort
from scripts.benchmarks.report import Row, at_most
from scripts.benchmarks.service import APP, MAX_PIXELS, sample
from scripts.benchmarks.streams import alternate

_BOUND_MS = 1.0
_PINNED = "[scheduler.models.efficientnet-lite0]\nthreads = 1\nmax_batch_rows = 1\n"


class Connection:
    """A connection to a Unix socket, kept. Reads just the answers that the box gives here."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(str(path))

    def ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        head = f"{method} {path} HTTP/1.1\r\nHost: box\r\nContent-Length: {len(body)}\r\n\r\n"
        self._socket.sendall(head.encode() + body)
        received = b""
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self._receive()
        status, *fields = received[:end].decode("latin-1").lower().split("\r\n")
        length = next(int(f[15:]) for f in fields if f.startswith("content-length:"))
        answer = received[end + 4 :]
        while len(answer) < length:
            answer += self._receive()
        if " 200 " not in f"{status} ":
            raise RuntimeError(f"{method} {path}: {status}: {answer[:200]!r}")
        return answer

    def _receive(self) -> bytes:
        piece = self._socket.recv(65536)
        if not piece:
            raise RuntimeError("the box closed the connection")
        return piece

    def close(self) -> None:
        self._socket.close()


def measure(effort: Effort) -> Iterator[Row]:
    """Compare frame by frame, and ask what a request costs that does nothing."""
    folder, picture = classifier_folder(), sample()
    bundle = Bundle((folder / "classifier.wasm").read_bytes(), (folder / "app.toml").read_bytes())
    with ExitStack() as opened:
        here, there = (
            Path(opened.enter_context(tempfile.TemporaryDirectory(dir="/tmp"))) for _ in range(2)
        )
        for state in (here, there):
            # Else each measures for itself how best to compute, and one may find another way.
            (state / "settings.toml").write_text(_PINNED)
        box = opened.enter_context(Box(load_settings(state=here)))
        box.deployer.deploy(bundle, APP)
        opened.enter_context(running_box(there))
        connection = Connection(load_settings(state=there).socket_path)
        opened.callback(connection.close)
        connection.ask("PUT", f"/v1/apps/{APP}", bundle.wasm)

        def in_process() -> None:
            captured_at, captured_s = time.time(), time.monotonic()
            pixels, media_type = decode(picture, max_pixels=MAX_PIXELS)
            frame = Frame("bench", 0, captured_at, captured_s, pixels, picture, media_type)
            box.pipeline.process(APP, frame)

        beyond_s: list[float] = []

        def by_http() -> None:
            started_s = time.perf_counter()
            answer = connection.ask("POST", f"/v1/apps/{APP}/frames", picture)
            taken_s = time.perf_counter() - started_s
            beyond_s.append(taken_s - json.loads(answer)["timing_ms"]["total"] / 1e3)

        taken = alternate(
            {
                "http": by_http,
                "in process": in_process,
                "healthz": lambda: connection.ask("GET", "/healthz"),
            },
            effort.stream_queries,
        )
    medians_ms = {name: 1e3 * statistics.median(latencies) for name, latencies in taken.items()}
    yield Row("lite0 classifier in process: SingleStream p50", medians_ms["in process"], "ms")
    yield at_most("lite0 classifier by HTTP: SingleStream p50 added to in process",
                  medians_ms["http"] - medians_ms["in process"], "ms", _BOUND_MS)  # fmt: skip
    # Of the same requests, so that a machine whose speed drifts does not show.
    yield Row("lite0 classifier by HTTP: p50 beyond the total that the box tells",
              1e3 * statistics.median(beyond_s), "ms")  # fmt: skip
    yield Row("GET /healthz: p50", medians_ms["healthz"], "ms")
