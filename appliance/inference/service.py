"""What answers the Open Inference Protocol, whichever transport carried it.

Models answer under their names in the repository, and live apps under theirs; where both have one
name, the model answers. Everything computes through the scheduler, on behalf of the owner "api".

Every method blocks and may be called from any thread. Failures are `appliance.errors`; an unknown
name is NotFound (Triton says 400 for a name and 404 for a version, KServe 404 for both).
"""

import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version as version_of

from appliance.errors import ApplianceError, BadRequest, ModelFailed, NotFound, Unavailable
from appliance.inference.counts import Counts
from appliance.inference.describe import config_of, metadata_of
from appliance.inference.graphs import (
    READY,
    UNAVAILABLE,
    GraphShelf,
    LoadedModel,
)
from appliance.inference.guests import AppModels
from appliance.inference.inputs import InputReader
from appliance.inference.outputs import chosen, output_of
from appliance.inference.parts import InferenceParts
from appliance.inference.shared import delivered
from appliance.oip.messages import (
    IndexEntry,
    InferAnswer,
    InferRequest,
    InferTiming,
    ModelConfig,
    ModelMetadata,
    ModelStatistics,
    ServerMetadata,
)
from appliance.pictures import decode
from appliance.standings import AppState, Standing
from wasi_nn import errors as nn
from wasi_nn.executor import Cancellation, Spent, Ticket
from wasi_nn.policy import Policy
from wasi_nn.tensor import Array

SERVER = "edge-inference-appliance"
# Triton's names; "classification" and the rest only as far as they are there.
EXTENSIONS = (
    "classification", "model_repository", "schedule_policy", "model_configuration",
    "binary_tensor_data", "parameters", "statistics",
)  # fmt: skip
SHARED_MEMORY = "system_shared_memory"
# On whose behalf clients' requests are computed, fair beside the apps'.
OWNER = "api"


class Inference:
    """The service behind the protocol.

    clock: Unix seconds.
    """

    def __init__(self, parts: InferenceParts, clock: Callable[[], float] = time.time) -> None:
        self.regions = parts.regions
        self._parts = parts
        self._scheduler = parts.scheduler
        self._graphs = GraphShelf(
            parts.models, parts.registry, Policy(allow_fallback=parts.allow_fallback),
            max_loaded=parts.max_loaded, recheck_s=parts.recheck_s,
        )  # fmt: skip
        self._counts = Counts(clock)
        self._graphs.on_load = lambda m: self._counts.graph_came(
            (m.name, m.version), parts.scheduler.counts_of(m.graph)
        )
        self._graphs.on_drop = lambda m: self._counts.graph_went(
            (m.name, m.version), parts.scheduler.counts_of(m.graph)
        )
        self._reader = InputReader(
            lambda encoded: decode(encoded, max_pixels=parts.max_pixels)[0], parts.regions,
            parts.max_tensor_bytes,
        )  # fmt: skip
        self._apps = AppModels(
            parts.apps, parts.pipeline,
            lambda encoded: decode(encoded, max_pixels=parts.max_pixels), parts.regions,
            parts.max_tensor_bytes,
        )  # fmt: skip
        self._is_closed = False

    def close(self) -> None:
        """Be ready no more and let all graphs go; what is under way is finished."""
        self._is_closed = True
        self._graphs.close()
        self.regions.close()

    # -- the box ---------------------------------------------------------------------------------

    def server_metadata(self) -> ServerMetadata:
        """Say what answers, and which extensions of the protocol it has."""
        shared = (SHARED_MEMORY,) if self.regions.is_enabled else ()
        return ServerMetadata(SERVER, version_of(SERVER), (*EXTENSIONS, *shared))

    def is_ready(self) -> bool:
        """Tell whether requests are answered."""
        return not self._is_closed

    def index(self, *, only_ready: bool = False) -> tuple[IndexEntry, ...]:
        """List every version of every model, and the apps."""
        entries = [self._graphs.entry_of(entry) for entry in self._parts.models.entries()]
        for standing in self._parts.standings():
            entries += _index_of(standing)
        return tuple(e for e in entries if e.state == READY or not only_ready)

    def load(self, name: str) -> None:
        """Load a model's newest version and keep it loaded; an app is loaded as it is.

        Raises: NotFound; Unavailable if it cannot be loaded, or too many are kept already.
        """
        if self._app(name) is None:
            self._graphs.load(name)

    def forgive(self, name: str) -> None:
        """Let a model be tried again that could not be loaded."""
        self._graphs.forgive(name)

    def unload(self, name: str) -> None:
        """Let a model go and refuse it until `load`; guests that use it are unaffected.

        Raises: NotFound; BadRequest for an app.
        """
        if self._app(name) is not None:
            raise BadRequest(
                f"unload {name}: an app, not a model; POST /v1/apps/{name}/disable stops it"
            )
        self._graphs.unload(name)

    # -- one model -------------------------------------------------------------------------------

    def is_model_ready(self, name: str, version: str = "") -> bool:
        """Tell whether a request for it would be computed. Raises: NotFound."""
        if self._app(name, version) is not None:
            return not self._is_closed
        return self._graphs.is_ready(name, version)

    def model_metadata(self, name: str, version: str = "") -> ModelMetadata:
        """Describe a model's tensors; it is loaded for that. Raises: NotFound, Unavailable."""
        live = self._app(name, version)
        if live is not None:
            return self._apps.metadata(name, live)
        with self._graphs.using(name, version) as model:
            entries = self._parts.models.versions(name)
            return metadata_of(model, tuple(entry.version for entry in entries))

    def model_config(self, name: str, version: str = "") -> ModelConfig:
        """Describe how a model is run; it is loaded for that. Raises: NotFound, Unavailable."""
        if self._app(name, version) is not None:
            return self._apps.config(name)
        with self._graphs.using(name, version) as model:
            loaded = self._parts.registry.statistics().graphs
            backend = next((g.backend for g in loaded if g.graph is model.graph), "")
            return config_of(model, backend, self._parts.plans.plan_of(model.graph))

    def statistics(self, name: str = "", version: str = "") -> tuple[ModelStatistics, ...]:
        """Count what was computed since the box started.

        name: "" for every model and app.   Raises: NotFound.
        """
        if name:
            live = self._app(name, version)
            if live is not None:
                return (self._statistics_of_app(name, live),)
            self._graphs.find(name, version)
        keys = [
            (entry.name, entry.version)
            for entry in self._parts.models.entries()
            if name in ("", entry.name) and version in ("", entry.version)
        ]
        graphs = {(m.name, m.version): m.graph for m in self._graphs.models()}
        counted = [
            self._counts.statistics(
                key, self._scheduler.counts_of(graphs[key]) if key in graphs else None
            )
            for key in keys
        ]
        if not name:
            live_apps = ((app, self._apps.find(app)) for app in self._parts.apps.names())
            counted += [self._statistics_of_app(app, live) for app, live in live_apps if live]
        return tuple(counted)

    # -- inference -------------------------------------------------------------------------------

    def infer(self, request: InferRequest, cancellation: Cancellation | None = None) -> InferAnswer:
        """Compute.

        cancellation: tells when nobody waits for the answer any more.
        Raises: NotFound, BadRequest, BadPicture, Unavailable (the queue is full, the time is over,
        the model is not ready), ModelFailed, GuestFailed; Unsupported for shared memory that is
        switched off.
        """
        started_s = time.perf_counter()
        if self._is_closed:
            raise Unavailable("Server exiting")
        live = self._app(request.model, request.version)
        if live is not None:
            return self._infer_app(request, (request.model, live), cancellation)
        with self._graphs.using(request.model, request.version) as model:
            key = (model.name, model.version)
            try:
                answer, output_s = self._compute(model, request, cancellation, started_s)
            except ApplianceError:
                self._counts.failed(key, time.perf_counter() - started_s)
                raise
        self._counts.succeeded(key, answer.timing, output_s)
        return answer

    def _compute(
        self, model: LoadedModel, request: InferRequest, cancellation: Cancellation | None,
        started_s: float,
    ) -> tuple[InferAnswer, float]:  # fmt: skip
        """Returns: also the seconds that making the outputs took."""
        spent = Spent()
        ticket = _ticket(request, cancellation, spent)
        specs = model.graph.outputs
        is_batched = model.graph.batch_axis is not None
        with chosen([spec.name for spec in specs], request, self.regions) as choices:
            arrays = self._reader.arrays_of(model, request)
            ready_s = time.perf_counter()
            given = self._run(model, arrays, ticket)
            computed_s = time.perf_counter()
            outputs = tuple(
                delivered(
                    output_of(
                        given[choice.index], specs[choice.index], choice.wanted,
                        model.labels_of(choice.index), is_batched=is_batched,
                    ),
                    choice.held,
                )
                for choice in choices
            )  # fmt: skip
        done_s = time.perf_counter()
        timing = InferTiming(
            queue_s=spent.queue_s,
            input_s=ready_s - started_s,
            compute_s=spent.compute_s,
            total_s=done_s - started_s,
        )
        answer = InferAnswer(model.name, model.version, outputs, request.id, timing)
        return answer, done_s - computed_s

    def _run(self, model: LoadedModel, arrays: list[Array], ticket: Ticket) -> list[Array]:
        try:
            return self._scheduler.run(model.graph, arrays, ticket)
        except nn.Busy as exc:
            raise Unavailable(f"model {model.name}: {exc}") from exc
        except nn.InvalidArgument as exc:
            raise BadRequest(f"model {model.name}: {exc}") from exc
        except nn.NNError as exc:
            raise ModelFailed(f"model {model.name}: {exc}") from exc

    # -- apps ------------------------------------------------------------------------------------

    def _app(self, name: str, version: str = "") -> str | None:
        """Find the live version of an app, if no model has its name. Raises: NotFound."""
        if self._graphs.recall(name, version) or self._parts.models.versions(name):
            return None
        return self._apps.find(name, version)

    def _infer_app(
        self, request: InferRequest, key: tuple[str, str], cancellation: Cancellation | None
    ) -> InferAnswer:
        started_s = time.perf_counter()
        try:
            answer = self._apps.infer(request, cancellation)
        except ApplianceError:
            self._counts.failed(key, time.perf_counter() - started_s)
            raise
        # To a client's statistics the guest is what computes.
        compute_s = max(0.0, answer.timing.guest_s - answer.timing.queue_s)
        timing = replace(answer.timing, compute_s=compute_s)
        self._counts.succeeded((key[0], answer.version), timing, 0.0)
        return answer

    def _statistics_of_app(self, name: str, version: str) -> ModelStatistics:
        counted = self._counts.statistics((name, version), None)
        frames = 0
        try:
            with self._parts.apps.using(name) as app:
                counts = app.statistics()
                frames = counts.frames - sum(counts.failures.values())
        except NotFound:
            pass  # it went just now
        return replace(counted, inference_count=frames, execution_count=frames)


def _index_of(standing: Standing) -> list[IndexEntry]:
    """List an app's live version, and one that could not be brought up or is switched off."""
    name, version, failure = standing.name, standing.version, standing.failure
    reason = "" if failure is None else failure.reason
    if standing.state is not AppState.LIVE:
        words = {AppState.DISABLED: "disabled", AppState.DEPLOYING: "deploying"}
        reason = words.get(standing.state, reason)
        return [IndexEntry(name, version, UNAVAILABLE, reason)]
    entries = [IndexEntry(name, version, READY)]
    if failure is not None and failure.version != version:
        entries.append(IndexEntry(name, failure.version, UNAVAILABLE, reason))
    return entries


def _ticket(request: InferRequest, cancellation: Cancellation | None, spent: Spent) -> Ticket:
    deadline_s = None
    if request.timeout_us > 0:
        deadline_s = time.monotonic() + request.timeout_us * 1e-6
    return Ticket(OWNER, deadline_s, request.priority, cancellation, spent)
