"""The smallest guest there is, many times: set the input, compute, fetch the output.

Its input lies in its memory. What a call takes beyond the direct call is what the host costs.
"""

import contextlib
from collections.abc import Iterator

import numpy as np
import wasmtime

from appliance.guests.engine import GuestEngine
from appliance.guests.instance import Instance, Output
from appliance.guests.program import Host, make_program
from appliance.manifests import AppManifest, NNOptions
from appliance.settings import AppLimits
from scripts.benchmarks.cases import Case
from scripts.benchmarks.direct import Floats
from wasi_nn.backend import Objective
from wasi_nn.executor import Executor
from wasi_nn.registry import Registry

_NAME_AT, _RECORD_AT, _DIMS_AT, _HANDLE_AT, _DATA_AT = 256, 64, 128, 16, 4096
_OUTPUT_AT = 1024


class Inference:
    """An instance that is ready to infer; one thread at a time."""

    def __init__(self, instance: Instance, size: int) -> None:
        self._instance = instance
        self._size = size

    def infer(self) -> None:
        if self._instance.call(0) != 0:
            raise AssertionError(self._instance.guest.last_error)

    def output(self) -> Floats:
        """Infer and read what the guest got."""
        self.infer()
        raw = self._instance.guest.memory.window(_OUTPUT_AT, 8, "sizes")
        _, size_bytes = np.frombuffer(raw, np.uint32)
        at = _DATA_AT + 4 * self._size
        window = self._instance.guest.memory.window(at, int(size_bytes), "output")
        return np.frombuffer(bytes(window), np.float32)


@contextlib.contextmanager
def guests(
    engine: GuestEngine, registry: Registry, executor: Executor, case: Case, count: int = 1,
    objective: Objective = Objective.THROUGHPUT,
) -> Iterator[list[Inference]]:  # fmt: skip
    """Make guests, each an app of its own, that infer with a model of the registry's catalogue."""
    host = Host(engine, registry, executor, AppLimits())
    values = case.values()
    module = wasmtime.Module(engine.engine, _wat(case, values.nbytes))
    with contextlib.ExitStack() as made:
        inferences = []
        for number in range(count):
            manifest = AppManifest(name=f"bench-{number}", nn=NNOptions(objective=objective))
            program = make_program(host, module, manifest)
            made.callback(program.keeper.close)
            wasi = wasmtime.WasiConfig()
            instance = Instance(program, wasi, Output(lambda raw: None, lambda raw: None))
            made.callback(instance.close)
            window = instance.guest.memory.window(_DATA_AT, values.nbytes, "input")
            window[:] = values.tobytes()
            inferences.append(Inference(instance, values.size))
        yield inferences


def _wat(case: Case, input_bytes: int) -> str:
    """Write the guest; the input lies at _DATA_AT, the output behind it."""
    i32 = " ".join
    dims = "".join(f"(i32.store (i32.const {_DIMS_AT + 4 * i}) (i32.const {d}))"
                   for i, d in enumerate(case.shape))  # fmt: skip
    record = "".join(
        f"(i32.store (i32.const {_RECORD_AT + 4 * i}) (i32.const {v}))"
        for i, v in enumerate((_DIMS_AT, len(case.shape), 1, _DATA_AT, input_bytes))
    )
    output_at, pages = _DATA_AT + input_bytes, (_DATA_AT + input_bytes) // 65536 + 2

    def nn(name: str, count: int) -> str:
        params = i32(["i32"] * count)
        return f'(import "wasi_ephemeral_nn" "{name}" (func ${name} (param {params}) (result i32)))'

    return f"""
    (module
      {nn("load_by_name", 3)} {nn("init_execution_context", 2)} {nn("set_input", 3)}
      {nn("compute", 1)} {nn("get_output", 5)}
      (memory (export "memory") {pages})
      (data (i32.const {_NAME_AT}) "{case.key}")
      (func (export "_initialize")
        {dims} {record}
        (drop (call $load_by_name
          (i32.const {_NAME_AT}) (i32.const {len(case.key)}) (i32.const {_HANDLE_AT})))
        (drop (call $init_execution_context
          (i32.load (i32.const {_HANDLE_AT})) (i32.const {_OUTPUT_AT}))))
      (func (export "appliance_on_frame") (param i32) (result i32) (local $ctx i32)
        (local.set $ctx (i32.load (i32.const {_OUTPUT_AT})))
        (i32.or (i32.or
          (call $set_input (local.get $ctx) (i32.const 0) (i32.const {_RECORD_AT}))
          (call $compute (local.get $ctx)))
          (call $get_output (local.get $ctx) (i32.const 0) (i32.const {output_at})
            (i32.const 65536) (i32.const {_OUTPUT_AT + 4})))))
    """
