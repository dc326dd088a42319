"""What inference stands on."""

from collections.abc import Callable
from dataclasses import dataclass

from appliance.apps import AppTable
from appliance.inference.graphs import MAX_LOADED
from appliance.inference.lookups import RECHECK_S
from appliance.models import ModelRepository
from appliance.pipeline import Pipeline
from appliance.plans import PlanBook
from appliance.scheduler import Scheduler
from appliance.sharedmemory import SharedRegions
from appliance.standings import Standing
from wasi_nn.registry import Registry


@dataclass(frozen=True, slots=True)
class InferenceParts:
    """The rooms that inference stands on, and the operator's bounds.

    standings: of all apps, for the index.   max_pixels: of one picture.   max_tensor_bytes: of
    one input.   allow_fallback: compute on the CPU where a device is absent.
    max_loaded: graphs kept for clients.   recheck_s: see `lookups`.
    """

    models: ModelRepository
    registry: Registry
    scheduler: Scheduler
    plans: PlanBook
    apps: AppTable
    pipeline: Pipeline
    standings: Callable[[], tuple[Standing, ...]]
    regions: SharedRegions
    max_pixels: int
    max_tensor_bytes: int
    allow_fallback: bool = False
    max_loaded: int = MAX_LOADED
    recheck_s: float = RECHECK_S
