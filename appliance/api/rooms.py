"""What the API needs of the box: the rooms it calls, by name. The composition root has them all."""

from typing import Protocol

from appliance.apps import AppTable
from appliance.cameras.table import CameraTable
from appliance.deploy import Deployer
from appliance.feed import Feed
from appliance.inference import Inference
from appliance.logring import LogRing
from appliance.models import ModelRepository
from appliance.pipeline import Pipeline
from appliance.plans import PlanBook
from appliance.quarantine import Quarantine
from appliance.readiness import Readiness
from appliance.routing.router import Router
from appliance.scheduler import Scheduler
from appliance.settings import Settings
from appliance.store import PredictionStore
from appliance.trust.gate import Gate
from appliance.uploads import ModelUploads
from appliance.viewing import Viewing
from wasi_nn.registry import Registry


class Rooms(Protocol):
    """A started box, as its routes see it. started_at: Unix seconds."""

    settings: Settings
    started_at: float
    apps: AppTable
    cameras: CameraTable
    deployer: Deployer
    inference: Inference
    log_ring: LogRing
    feed: Feed
    gate: Gate
    models: ModelRepository
    pipeline: Pipeline
    plans: PlanBook
    quarantine: Quarantine
    readiness: Readiness
    registry: Registry
    router: Router
    scheduler: Scheduler
    store: PredictionStore
    uploads: ModelUploads
    viewing: Viewing

    def problems(self) -> list[str]:
        """Say what somebody should look at, though the box serves."""
        ...
