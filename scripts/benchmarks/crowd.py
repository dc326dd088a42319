"""Several guests on one model: rows/s with their requests batched, and without."""

import statistics
from collections.abc import Iterator

from scripts.benchmarks.callers import Call, closed_loop
from scripts.benchmarks.cases import CNN64
from scripts.benchmarks.effort import Effort
from scripts.benchmarks.report import Finding, Row, absent, at_least
from scripts.benchmarks.rig import rig
from wasi_nn.executor import DirectExecutor, Executor

_COUNTS = (1, 2, 4, 8)
_TURNS = 5
# Of a piece, before each turn and not counted: guests who begin all at once come to their shares
# within a few runs.
_SETTLE = 0.25


def measure(effort: Effort) -> Iterator[Finding]:
    """Compare guests of one box with the same guests where every request runs alone."""
    if not CNN64.files[0].is_file():
        yield absent("8 guests on cnn64: batched : alone", "no cnn64.onnx")
        return
    with rig() as box:
        plan = box.plan(box.load(CNN64))
        yield Row(f"cnn64: plan {plan.parallel} x {plan.threads} thread, batch",
                  plan.max_batch_rows, "rows")  # fmt: skip
        executors: dict[str, Executor] = {
            "batched": box.scheduler,
            "alone": box.unbatched,
            "direct": DirectExecutor(),
        }
        crowds: dict[str, list[Call]] = {
            name: [guest.infer for guest in box.guests(CNN64, max(_COUNTS), executor=executor)]
            for name, executor in executors.items()
        }
        for count in _COUNTS:
            yield from _compare({n: c[:count] for n, c in crowds.items()}, effort)


def _compare(crowds: dict[str, list[Call]], effort: Effort) -> Iterator[Row]:
    """Let the crowds take turns. alone: by the scheduler; direct: all at once, without one."""
    rates: dict[str, list[float]] = {name: [] for name in crowds}
    count = len(crowds["batched"])
    # Only the most guests have a target.
    piece_s = effort.piece_s if count == max(_COUNTS) else effort.piece_s / 2
    for _ in range(_TURNS):
        for name, calls in crowds.items():
            rates[name].append(sum(closed_loop(calls, piece_s, piece_s * _SETTLE)))
    guests = f"{count} guest{'s' if count > 1 else ''} on cnn64"
    yield Row(f"{guests}: batched", statistics.median(rates["batched"]), "rows/s")
    for other in ("alone", "direct"):
        ratio = statistics.median(
            ours / theirs for ours, theirs in zip(rates["batched"], rates[other], strict=True)
        )
        name = f"{guests}: batched : {other}"
        is_target = count == max(_COUNTS) and other == "alone"
        yield at_least(name, ratio, "x", 3) if is_target else Row(name, ratio, "x")
