"""What an inference costs through a guest, against the same model called directly.

The guest here is the smallest there is: its input lies in its memory, and a call sets it, computes
and fetches the output. What it takes beyond the direct call is what the host layer costs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import wasmtime

from appliance.guests.engine import GuestEngine
from appliance.guests.instance import Instance, Output
from appliance.guests.program import Host, make_program
from appliance.manifests import AppManifest
from appliance.settings import AppLimits
from appliance.shipped import models_folder
from scripts.benchmarks.direct import RUNTIMES, Floats
from scripts.benchmarks.pairs import compare
from scripts.benchmarks.report import Row, at_least, at_most
from wasi_nn.backends import all_backends
from wasi_nn.catalogue import StaticCatalogue, parse_preload
from wasi_nn.executor import DirectExecutor
from wasi_nn.registry import Registry

_TINY = Path(__file__).parents[2] / "tests" / "wasi_nn" / "backends" / "data"
_LITE0 = models_folder() / "efficientnet-lite0" / "1"
_DATA_AT = 4096
_OUTPUT_AT = 1024


@dataclass(frozen=True, slots=True)
class Case:
    """One model in one format. shape: of its input, float32."""

    model: str
    encoding: str
    files: tuple[Path, ...]
    shape: tuple[int, ...]

    @property
    def name(self) -> str:
        return f"{self.model}, {self.encoding}"


CASES = (
    Case("tiny", "onnx", (_TINY / "scale.onnx",), (1, 4)),
    Case("tiny", "openvino", (_TINY / "scale.xml", _TINY / "scale.bin"), (1, 4)),
    Case("tiny", "tensorflowlite", (_TINY / "scale.tflite",), (1, 4)),
    Case("lite0", "onnx", (_LITE0 / "model.onnx",), (1, 3, 224, 224)),
    Case("lite0", "openvino", (_LITE0 / "model.xml", _LITE0 / "model.bin"), (1, 3, 224, 224)),
    Case("lite0", "tensorflowlite", (_LITE0 / "model.tflite",), (1, 224, 224, 3)),
)


def measure(rounds: int) -> list[Row]:
    """Compare each case through a guest with the direct call."""
    rows = []
    for case in CASES:
        is_tiny = case.model == "tiny"
        values = np.random.default_rng(0).standard_normal(case.shape).astype(np.float32)
        direct = RUNTIMES[case.encoding](list(case.files))
        with _guest(case, values) as guest:
            np.testing.assert_allclose(
                guest.output(), np.ravel(direct(values)), rtol=1e-3, atol=1e-3
            )
            pair = compare(
                guest.infer, lambda d=direct, x=values: d(x), rounds=rounds,
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
    return rows


class _Inference:
    """A guest that is ready to infer."""

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


@contextmanager
def _guest(case: Case, values: Floats) -> Iterator[_Inference]:
    preload = ":".join(["m", case.encoding, "cpu", *map(str, case.files)])
    engine = GuestEngine()
    registry = Registry(all_backends(), StaticCatalogue([parse_preload(preload)]))
    host = Host(engine, registry, DirectExecutor(), AppLimits())
    module = wasmtime.Module(engine.engine, _wat(case, values.nbytes))
    program = make_program(host, module, AppManifest(name="bench"))
    engine.start()
    wasi = wasmtime.WasiConfig()
    instance = Instance(program, wasi, Output(lambda raw: None, lambda raw: None))
    try:
        window = instance.guest.memory.window(_DATA_AT, values.nbytes, "input")
        window[:] = values.tobytes()
        yield _Inference(instance, values.size)
    finally:
        instance.close()
        program.keeper.close()
        engine.stop()


def _wat(case: Case, input_bytes: int) -> str:
    """Write the guest: the tensor record at 64, dims at 128, handles and sizes at 1024."""
    i32 = " ".join
    dims = "".join(f"(i32.store (i32.const {128 + 4 * i}) (i32.const {d}))"
                   for i, d in enumerate(case.shape))  # fmt: skip
    record = "".join(
        f"(i32.store (i32.const {64 + 4 * i}) (i32.const {v}))"
        for i, v in enumerate((128, len(case.shape), 1, _DATA_AT, input_bytes))
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
      (data (i32.const 8) "m")
      (func (export "_initialize")
        {dims} {record}
        (drop (call $load_by_name (i32.const 8) (i32.const 1) (i32.const 16)))
        (drop (call $init_execution_context (i32.load (i32.const 16)) (i32.const {_OUTPUT_AT}))))
      (func (export "appliance_on_frame") (param i32) (result i32) (local $ctx i32)
        (local.set $ctx (i32.load (i32.const {_OUTPUT_AT})))
        (i32.or (i32.or
          (call $set_input (local.get $ctx) (i32.const 0) (i32.const 64))
          (call $compute (local.get $ctx)))
          (call $get_output (local.get $ctx) (i32.const 0) (i32.const {output_at})
            (i32.const 65536) (i32.const {_OUTPUT_AT + 4})))))
    """
