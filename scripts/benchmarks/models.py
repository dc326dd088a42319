"""What an inference costs through a guest, against the same model called directly.

Without a scheduler and on one thread: this is the host layer alone. `streams` has the same through
the scheduler, with threads as planned.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from appliance.guests.engine import GuestEngine
from scripts.benchmarks.cases import LITE0, TINY
from scripts.benchmarks.direct import RUNTIMES
from scripts.benchmarks.effort import Effort
from scripts.benchmarks.guest import guests
from scripts.benchmarks.pairs import compare
from scripts.benchmarks.report import Row, at_least, at_most
from scripts.benchmarks.rig import catalogue
from wasi_nn.backend import Backend, Buffer, Encoding, Graph, GraphOptions
from wasi_nn.backends import all_backends
from wasi_nn.executor import DirectExecutor
from wasi_nn.registry import Origin, Registry


def measure(effort: Effort) -> list[Row]:
    """Compare each case through a guest with the direct call."""
    rows = []
    engine = GuestEngine()
    engine.start()
    for case in (*TINY, *LITE0):
        is_tiny = case in TINY
        values = case.values()
        run = RUNTIMES[case.encoding](case.files, 1)
        registry = Registry(all_backends(), catalogue(), _load_for_one_thread)
        with guests(engine, registry, DirectExecutor(), case) as (guest,):
            np.testing.assert_allclose(guest.output(), np.ravel(run(values)), rtol=1e-3, atol=1e-3)
            pair = compare(
                guest.infer, partial(run, values), rounds=effort.rounds,
                calls=100 if is_tiny else 2,
            )  # fmt: skip
        if is_tiny:
            rows.append(
                at_most(f"{case.name}: added by the guest", pair.difference_s * 1e6, "us", 60)
            )
        else:
            rows.append(
                at_least(f"{case.name}: throughput, guest : direct", 1 / pair.ratio, "x", 0.95)
            )
    engine.stop()
    return rows


def _load_for_one_thread(
    backend: Backend, builders: Sequence[Buffer], encoding: Encoding, options: GraphOptions,
    _origin: Origin,
) -> Graph:  # fmt: skip
    """Two threads wait for each other, and on a shared machine for others, too."""
    return backend.load(builders, encoding, replace(options, num_threads=1))
