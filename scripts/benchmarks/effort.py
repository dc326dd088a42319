"""How much is measured: quickly with wide errors, or for long with narrow ones."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Effort:
    """What a measurement may spend.

    rounds: turns of a comparison.   stream_queries: of a SingleStream or MultiStream run.
    piece_s: of one timed piece.   probe_s: of one probed rate.   probes: rates probed.
    camera_s, overload_s: of such a run.   formats: those of the long scenarios.
    multistream_percentile, server_percentile: what the number of queries can claim.
    """

    rounds: int
    stream_queries: int
    piece_s: float
    probe_s: float
    probes: int
    camera_s: float
    overload_s: float
    formats: tuple[str, ...]
    multistream_percentile: float
    server_percentile: float


_ALL = ("onnx", "openvino", "tensorflowlite")
# Under 3 minutes in all. 64 queries are the fewest that say anything about a 90th percentile.
QUICK = Effort(
    rounds=15, stream_queries=64, piece_s=0.35, probe_s=1.5, probes=4, camera_s=2.5,
    overload_s=5.0, formats=("onnx",), multistream_percentile=0.90, server_percentile=0.90,
)  # fmt: skip
# About a quarter of an hour. 662 queries are the fewest for a 99th percentile.
FULL = Effort(
    rounds=60, stream_queries=662, piece_s=2.0, probe_s=8.0, probes=5, camera_s=15.0,
    overload_s=30.0, formats=_ALL, multistream_percentile=0.99, server_percentile=0.99,
)  # fmt: skip
