"""A graph that computes in its worker, and gets another worker when that one dies."""

import logging
import threading
from collections.abc import Sequence

from appliance.isolation.process import Bounds, Described, Model, Worker, WorkerDied
from wasi_nn.backend import Device
from wasi_nn.errors import RuntimeFailure
from wasi_nn.tensor import Array, TensorSpec, check_inputs

log = logging.getLogger(__name__)

# Deaths before the model is given up: a poisoned one would cost a process start for each frame.
STRIKES = 3


class IsolatedGraph:
    """A graph in a process of its own.

    model: owned from now on.
    Raises: what the load raises.
    """

    def __init__(self, model: Model, bounds: Bounds) -> None:
        self._model = model
        self._bounds = bounds
        self._lock = threading.Lock()
        self._strikes = 0
        self._is_closed = False
        try:
            self._worker: Worker | None = Worker(model, bounds)
        except BaseException:
            model.close()
            raise
        self._described: Described = self._worker.described

    def __repr__(self) -> str:
        return f"<IsolatedGraph {self._model.backend} [Strikes: {self._strikes} of {STRIKES}]>"

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self._described.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self._described.outputs

    @property
    def batch_axis(self) -> int | None:
        return self._described.batch_axis

    @property
    def device(self) -> Device:
        return self._described.device

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Compute; see `Graph.run`.

        Raises: also RuntimeFailure if the process died, or died too often before.
        """
        # Here, too: what a worker must not even be asked costs nobody a process.
        check_inputs(self.inputs, inputs)
        worker = self._alive()
        try:
            outputs = worker.run(inputs)
        except WorkerDied:
            self._strike(worker)
            raise
        for spec, output in zip(self.outputs, outputs, strict=False):
            if output.dtype != spec.type.storage:
                raise RuntimeFailure(f"output {spec.name}: got {output.dtype}, wanted {spec}")
        if len(outputs) != len(self.outputs):
            raise RuntimeFailure(f"outputs: got {len(outputs)}, wanted {len(self.outputs)}")
        return outputs

    def _alive(self) -> Worker:
        """Give the worker; start another if it died. Who comes meanwhile waits for it."""
        with self._lock:
            if self._is_closed:
                raise RuntimeFailure("graph: closed")
            if self._worker is not None and self._worker.has_ended:
                # Between two runs, such as by the kernel for want of memory: nobody's run is lost.
                self._worker.end()
                self._count_death()
            if self._worker is None:
                if self._strikes >= STRIKES:
                    raise RuntimeFailure(
                        f"the model crashed its process {self._strikes} times and is not run any "
                        "more; replace it, or load it again"
                    )
                self._worker = Worker(self._model, self._bounds)
            return self._worker

    def _strike(self, worker: Worker) -> None:
        """Count one death, whoever of its callers tells of it first."""
        with self._lock:
            if self._worker is worker:
                self._count_death()

    def _count_death(self) -> None:
        self._worker = None
        self._strikes += 1
        if self._strikes >= STRIKES:
            log.error("model given up backend=%s strikes=%d", self._model.backend, STRIKES)

    def close(self) -> None:
        """End the process; see `Graph.close`."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            worker, self._worker = self._worker, None
        if worker is not None:
            worker.end()
        self._model.close()
