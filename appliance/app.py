"""The box as a whole: builds every room, wires them, starts them, stops them in reverse.

    box = Box(load_settings(state="/tmp/x"))
    with box:
        box.pipeline.process("classifier", frame)

This is the only place that knows all the others.
"""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from appliance.apps import AppTable
from appliance.cameras.table import CameraTable
from appliance.deploy import Deployer
from appliance.deploying.chores import Chores
from appliance.drops import ModelDrops
from appliance.errors import Unavailable
from appliance.feed import Feed
from appliance.files import make_dirs, set_aside, sweep_temporaries
from appliance.guests.aot import AotCache
from appliance.guests.engine import GuestEngine
from appliance.guests.program import Host
from appliance.inbox import Inbox
from appliance.inference import Inference, InferenceParts
from appliance.isolation import IsolatingLoader
from appliance.logring import LogRing
from appliance.marking import Guard
from appliance.marks import Marks
from appliance.models import ModelRepository
from appliance.pipeline import Pipeline
from appliance.planning import Bench, Piece
from appliance.plans import PlanBook
from appliance.quarantine import Quarantine
from appliance.readiness import Readiness
from appliance.routing.router import Router
from appliance.scheduler import Scheduler
from appliance.scratch import Scratch
from appliance.settings import Isolation, Settings
from appliance.sharedmemory import SharedRegions
from appliance.shipped import models_folder
from appliance.store import PredictionStore
from appliance.trials.trials import Surroundings, Trials
from appliance.trust.gate import Gate
from appliance.uploads import ModelUploads, UploadLimits
from appliance.viewing import Viewing
from wasi_nn.backend import Backend, Device
from wasi_nn.backends import all_backends
from wasi_nn.registry import Loader, Registry

log = logging.getLogger(__name__)

_DAY_S = 24 * 3600.0
# How much history may exceed its bounds for; the work is a few milliseconds.
RETAIN_EVERY_S = 60.0


class Box:
    """One appliance over one state folder.

    Constructing makes nothing on disk and starts nothing; `start` does, `stop` undoes it.
    fate: how the service before this one ended, as its supervisor says; "" for in order.
    """

    def __init__(self, settings: Settings, *, fate: str = "") -> None:
        self.settings = settings
        self._fate = fate
        self.quarantine = Quarantine(settings.quarantine_file)
        self.guard = Guard(Marks(), self.quarantine)
        self.started_at = time.time()
        self.readiness = Readiness()
        self.log_ring = LogRing()
        self.models = ModelRepository((settings.models, models_folder()))
        threads = settings.threads or os.cpu_count() or 1
        # A GPU or NPU runs one thing at a time; its driver has threads of its own.
        budgets = {Device.CPU: threads, Device.GPU: 1, Device.NPU: 1}
        bench = Bench(threads, self._alone)
        self.plans = PlanBook(settings.cache_plans, threads, bench, settings.scheduler)
        self.scheduler = Scheduler(budgets, self.plans.plan_of, settings.scheduler)
        backends, loader = all_backends(), self._loader()
        self.registry = Registry(backends, self.models, loader)
        self.engine = GuestEngine()
        self._scratch = Scratch(settings.state)
        self._aot = self._compiled_guests()
        self.trials = self._make_trials(tuple(b.name for b in backends))
        self.uploads = self._make_uploads(backends, loader)
        self.feed = Feed(max_subscribers=settings.max_streams)
        self.readiness.on_stopping(self.feed.close)
        self.store = PredictionStore(
            settings.predictions_db, max_bytes=settings.predictions_max_bytes,
            on_stored=self.feed.publish,
        )  # fmt: skip
        self.apps = AppTable()
        self.pipeline = Pipeline(self.apps, self.store, self.feed)
        self.cameras = CameraTable(settings.state)
        self.router = Router(self.cameras, self.apps, self.pipeline)
        self.viewing = Viewing(self.cameras, self.router)
        self.gate = Gate.of(settings)
        self._chores = Chores()
        self.deployer = self._deployer(threads)
        self.inference = Inference(
            InferenceParts(
                self.models, self.registry, self.scheduler, self.plans, self.apps, self.pipeline,
                self.deployer.standings,
                SharedRegions(is_enabled=settings.shared_memory),
                settings.max_pixels, settings.limits.tensor_bytes,
                settings.allow_device_fallback,
            )
        )  # fmt: skip
        drops = ModelDrops(self.uploads, self.models)
        self._inbox = Inbox(settings.inbox, self.deployer, drops, gate=self.gate)
        self._stopping = threading.Event()
        self._keeper = threading.Thread(target=self._retain, name="retention", daemon=True)
        self._started = contextlib.ExitStack()

    def _make_trials(self, backends: tuple[str, ...]) -> Trials:
        """Let what is new be tried with what the box has."""
        settings = self.settings
        place = Surroundings(
            (settings.models, models_folder()), backends, self._scratch.folder, settings.limits,
            settings.max_pixels, settings.allow_device_fallback, settings.policy,
        )  # fmt: skip
        return Trials(place, self._aot, self.engine, settings.cache_trials)

    def _make_uploads(self, backends: Sequence[Backend], loader: Loader) -> ModelUploads:
        limits = UploadLimits(self.settings.max_model_bytes)
        return ModelUploads(self.models, backends, loader, self.trials.model, limits)

    def _deployer(self, threads: int) -> Deployer:
        """Make what changes apps; the rooms that guests need are there."""
        settings = self.settings
        return Deployer(
            settings.apps,
            Host(
                self.engine, self.registry, self.scheduler, settings.limits,
                settings.allow_device_fallback, settings.policy,
            ),
            self._aot,
            self.apps,
            scratch=self._scratch.folder,
            instances=threads,
            guard=self.guard,
            gate=self.gate,
            trial=lambda bundle, manifest: self.trials.app(bundle, manifest).models,
            settings=settings.deploy,
            later=self._chores.put,
        )  # fmt: skip

    def _loader(self) -> Loader:
        """Choose who loads models: as planned, and not in this process where they may crash it."""
        return self.guard.loader(self._isolation())

    def _compiled_guests(self) -> AotCache:
        settings = self.settings
        return AotCache(settings.cache_aot, self.engine, max_bytes=settings.aot_max_bytes)

    def _isolation(self) -> Loader:
        match self.settings.isolation:
            case Isolation.NONE:
                return self.plans
            case Isolation.ALL:
                return IsolatingLoader(self.plans, lambda name: False)
            case Isolation.FOREIGN:
                return IsolatingLoader(self.plans, self.models.is_shipped)

    def start(self) -> None:
        """Bring the box up: history, then what was deployed, then the inbox.

        Raises: Unavailable if the state folder cannot be used.
        """
        with contextlib.ExitStack() as starting:
            self.log_ring.open()
            starting.callback(self.log_ring.close)
            make_dirs(self.settings.state)
            make_dirs(self.settings.run_dir)
            self._tidy()
            self.guard.open(self.settings.run_dir, self._fate)
            starting.callback(self.guard.marks.close)
            self.models.open()
            self._scratch.open()
            starting.callback(self._scratch.close)
            starting.callback(self.store.close)
            self._open_history()
            self.engine.start()
            # Stopped after the guests: a guest's deadline counts on the ticks.
            starting.callback(self.engine.stop)
            starting.callback(self.apps.close)
            starting.callback(self.inference.close)
            # Before the apps: a guest that waits in the queue is told at once.
            starting.callback(self.scheduler.close)
            self._aot.sweep()
            # Before the scheduler: a version that is rolled back to may load its graphs.
            self._chores.start()
            starting.callback(self._chores.stop)
            self.deployer.restore()
            self._keeper.start()
            starting.callback(self._keeper.join)
            starting.callback(self._stopping.set)
            # Before the router, so that it hears of each; a camera without a router just shows.
            self.cameras.start()
            starting.callback(self.cameras.stop)
            self.router.start()
            starting.callback(self.router.stop)
            # Last to start and first to stop: it deploys, so everything else must be there.
            self._inbox.start()
            starting.callback(self._inbox.stop)
            # Before it: a deploy that waits for a trial is told at once.
            starting.callback(self.trials.close)
            self._started = starting.pop_all()
        self.readiness.begin()
        log.info("box started state=%s apps=%d", self.settings.state, len(self.apps.names()))

    def _tidy(self) -> None:
        """Sweep what a crash left where nobody else does, and make way for folders."""
        settings = self.settings
        for folder in (settings.state, settings.cache_aot, settings.cache_plans):
            sweep_temporaries(folder)
        for folder in (settings.apps, settings.inbox, settings.cache_aot.parent,
                       settings.cache_aot, settings.cache_plans):  # fmt: skip
            if folder.exists() and not folder.is_dir():
                set_aside(folder)

    def _open_history(self) -> None:
        """Open the history; a box on a full or read-only disk serves without."""
        try:
            self.store.open()
        except Unavailable as exc:
            log.error("history not kept until the disk allows it reason=%s", exc)

    def problems(self) -> list[str]:
        """Say what somebody should look at, though the box serves."""
        cameras = [f"cameras: {name}: {text}" for name, text in self.cameras.problems().items()]
        return [*self.store.problems(), *filter(None, [self.quarantine.problem()]), *cameras]

    def stop(self) -> None:
        """Stop in reverse; what is under way is finished."""
        self.readiness.stop()
        self._started.close()
        log.info("box stopped")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.stop()

    def _alone(self, piece: Piece) -> None:
        """Let a plan be measured in pieces between the others' work."""
        self.scheduler.alone(piece)

    def _retain(self) -> None:
        """Keep the history within its bounds."""
        while not self._stopping.wait(RETAIN_EVERY_S):
            try:
                self.store.retain(
                    max_rows=self.settings.predictions_max_rows,
                    max_age_s=self.settings.predictions_max_age_days * _DAY_S,
                )
            except Unavailable as exc:
                # A full disk; the next round tries again.
                log.warning("history not trimmed reason=%s", exc)
            except Exception:
                log.exception("history not trimmed")
