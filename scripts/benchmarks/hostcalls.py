"""What one call from a guest into the host costs: our path against wasmtime-py's public API."""

import wasmtime

from scripts.benchmarks.effort import Effort
from scripts.benchmarks.pairs import compare
from scripts.benchmarks.report import Row, at_least
from wasi_nn import hostcall
from wasi_nn.registry import Registry
from wasi_nn.serving import Guest
from wasi_nn.session import Session

_CALLS_INSIDE = 2000
_GUEST = """
(module
  (import "bench" "nothing" (func $nothing (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "run") (param $n i32) (local $i i32)
    (loop $again
      (drop (call $nothing (local.get $i) (i32.const -1) (i32.const 2) (i32.const 3) (i32.const 4)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $i) (local.get $n))))))
"""


def measure(effort: Effort) -> list[Row]:
    """Call a host function that does nothing, with five arguments as `load` has."""
    fast = hostcall.fast_path()
    if fast is None:
        return [Row("host call, fast path", 0.0, "absent", "present", ok=False)]
    engine = wasmtime.Engine()
    module = wasmtime.Module(engine, _GUEST)
    pair = compare(
        _caller(engine, module, hostcall.PUBLIC_PATH),
        _caller(engine, module, fast),
        rounds=effort.rounds,
    )
    return [
        Row("host call, fast path", pair.second_s / _CALLS_INSIDE * 1e6, "us"),
        Row("host call, public API", pair.first_s / _CALLS_INSIDE * 1e6, "us"),
        at_least("host call, public API : fast path", pair.ratio, "x", 8),
    ]


def _caller(engine: wasmtime.Engine, module: wasmtime.Module, path: hostcall.Path) -> "_Caller":
    linker = wasmtime.Linker(engine)
    with hostcall.using(path):
        hostcall.define(linker, "bench", "nothing", 5, lambda guest, *arguments: 0)
        return _Caller(wasmtime.Store(engine), linker, module)


class _Caller:
    """Runs the guest's loop; the same thread and store every time."""

    def __init__(
        self, store: wasmtime.Store, linker: wasmtime.Linker, module: wasmtime.Module
    ) -> None:
        self._store = store
        self._guest = Guest(store, Session(Registry(())))
        exports = linker.instantiate(store, module).exports(store)
        hostcall.bind_memory(self._guest, exports["memory"])
        self._run = exports["run"]

    def __call__(self) -> None:
        with self._guest:
            self._run(self._store, _CALLS_INSIDE)
