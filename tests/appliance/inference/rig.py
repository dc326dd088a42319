"""An inference service over fake models, as the box builds it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from appliance.apps import AppTable, make_live
from appliance.calls import GraphPlan
from appliance.feed import Feed
from appliance.inference import Inference, InferenceParts
from appliance.oip.datatypes import Datatype
from appliance.oip.messages import InferRequest, Tensor
from appliance.pipeline import Pipeline
from appliance.planning import Bench
from appliance.plans import PlanBook
from appliance.requests import BatchPolicy
from appliance.scheduler import Scheduler
from appliance.sharedmemory import SharedRegions
from appliance.standings import AppState, Standing
from appliance.store import PredictionStore
from tests.appliance.workshop import Workshop, put_model
from wasi_nn.backend import Device

NOW = 1_700_000_000.5


class Rig:
    """A service and what it stands on.

    others: where apps stand that are not live.   objects: the folder of shared memory.
    """

    def __init__(self, workshop: Workshop, folder: Path, *, max_loaded: int = 8,
                 is_shared: bool = True, recheck_s: float = 0) -> None:  # fmt: skip
        self.workshop = workshop
        self.objects = folder / "shm"
        self.objects.mkdir(exist_ok=True)
        self.others: tuple[Standing, ...] = ()
        self.scheduler = Scheduler(
            {Device.CPU: 1},
            lambda _: GraphPlan(policy=BatchPolicy(max_batch_rows=8, max_queue_size=1)),
        )
        self.store = PredictionStore(folder / "predictions.db")
        self.store.open()
        self.apps = AppTable()
        self._scratch = folder
        self.inference = Inference(
            InferenceParts(
                workshop.repository, workshop.registry, self.scheduler,
                PlanBook(folder, 1, Bench(1, lambda _: None)),
                self.apps, Pipeline(self.apps, self.store, Feed(max_subscribers=1)),
                self._standings,
                SharedRegions(is_enabled=is_shared, folder=self.objects),
                max_pixels=1_000_000, max_tensor_bytes=10_000, max_loaded=max_loaded,
                recheck_s=recheck_s,
            ),
            lambda: NOW,
        )  # fmt: skip

    def put(self, name: str = "tiny", **rest: Any) -> Path:
        """Put a fake model into the repository."""
        return put_model(self.workshop.models, name, **rest)

    def deploy(self, name: str, wasm: bytes, version: str = "v1") -> None:
        """Make an app live."""
        program = self.workshop.program(wasm, f'name = "{name}"')
        self.apps.switch(make_live(program, version, instances=1, scratch=self._scratch))

    def _standings(self) -> tuple[Standing, ...]:
        live = []
        for name in self.apps.names():
            with self.apps.using(name) as app:
                live.append(Standing(name, AppState.LIVE, app.version))
        return (*live, *self.others)

    def close(self) -> None:
        """Stop in the order of the box."""
        self.inference.close()
        self.scheduler.close()
        self.apps.close()
        self.store.close()


def image(*rows: float, name: str = "image") -> Tensor:
    """Make the tiny model's input, one row for each value."""
    values = np.ones((len(rows), 3, 2, 4), np.float32)
    values *= np.array(rows, np.float32).reshape(-1, 1, 1, 1)
    return Tensor(name, Datatype.FP32, values.shape, values)


def request(*inputs: Tensor, model: str = "tiny", **rest: Any) -> InferRequest:
    """Ask the tiny model."""
    return InferRequest(model, inputs or (image(1.0),), **rest)


def values(tensor: Tensor) -> Any:
    """Give a tensor's elements for comparing."""
    return tensor.values.tolist() if isinstance(tensor.values, np.ndarray) else tensor.values


Make = Callable[..., Rig]
