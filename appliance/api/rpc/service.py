"""GRPCInferenceService and gRPC's own health service: every method, and who answers it.

A method reads its message, calls a room, writes the answer. Nothing is decided here but how many
inferences are under way at once.
"""

import threading
from collections.abc import Mapping
from dataclasses import replace

from appliance.api.rpc import metadata
from appliance.api.rpc.calls import (
    Answer,
    Context,
    Handler,
    cancelled_with,
    remaining_us,
    unary,
    unimplemented,
)
from appliance.api.rpc.convert import request_of, response_of
from appliance.api.rpc.descriptors import HEALTH, INFERENCE, Proto
from appliance.api.rpc.schema import HEALTH_SERVICE, SERVICE
from appliance.api.rpc.streams import Streams
from appliance.errors import NotFound, Unavailable
from appliance.inference import Inference
from appliance.readiness import Readiness
from appliance.sharedmemory import Region
from wasi_nn.executor import Cancellation

# Under way at once, streams apart; each holds a thread and its message. As many as a graph's
# queue takes.
MAX_INFERS = 64

_ABSENT = {
    "CudaSharedMemoryStatus": "CUDA shared memory: this box has none",
    "CudaSharedMemoryRegister": "CUDA shared memory: this box has none; use system shared memory",
    "CudaSharedMemoryUnregister": "CUDA shared memory: this box has none",
    "TraceSetting": "trace settings: this box does not trace; see its statistics and /metrics",
    "LogSettings": "log settings: the box's log is its operator's",
}

_Handlers = dict[str, Handler]


class Service:
    """The methods, over a box's inference. readiness: of the whole box."""

    def __init__(self, inference: Inference, readiness: Readiness) -> None:
        self._inference = inference
        self._readiness = readiness
        self._regions = inference.regions
        self._places = threading.BoundedSemaphore(MAX_INFERS)
        self.streams = Streams(self._infer)

    def handlers(self) -> Mapping[str, _Handlers]:
        """List service -> method -> handler."""
        answers: dict[str, Answer] = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self._model_infer,
            "ModelConfig": self._model_config,
            "ModelStatistics": self._model_statistics,
            "RepositoryIndex": self._repository_index,
            "RepositoryModelLoad": self._repository_load,
            "RepositoryModelUnload": self._repository_unload,
            "SystemSharedMemoryStatus": self._memory_status,
            "SystemSharedMemoryRegister": self._memory_register,
            "SystemSharedMemoryUnregister": self._memory_unregister,
        }
        inference: _Handlers = {
            name: unary(INFERENCE, f"{name}Request", answer) for name, answer in answers.items()
        }
        inference |= {name: unimplemented(sentence) for name, sentence in _ABSENT.items()}
        inference["ModelStreamInfer"] = self.streams.handler()
        health: _Handlers = {"Check": unary(HEALTH, "HealthCheckRequest", self._health)}
        return {SERVICE: inference, HEALTH_SERVICE: health}

    # -- the server ------------------------------------------------------------------------------

    def _is_ready(self) -> bool:
        return self._readiness.is_ready and self._inference.is_ready()

    def _server_live(self, _: Proto, __: Context) -> Proto:
        return INFERENCE["ServerLiveResponse"](live=True)

    def _server_ready(self, _: Proto, __: Context) -> Proto:
        return INFERENCE["ServerReadyResponse"](ready=self._is_ready())

    def _server_metadata(self, _: Proto, __: Context) -> Proto:
        return metadata.server_metadata(self._inference.server_metadata())

    def _health(self, asked: Proto, _: Context) -> Proto:
        if asked.service not in ("", SERVICE):
            raise NotFound(f"service {asked.service[:80]}: not here, wanted {SERVICE}")
        status = "SERVING" if self._is_ready() else "NOT_SERVING"
        return HEALTH["HealthCheckResponse"](status=status)

    # -- a model ---------------------------------------------------------------------------------

    def _model_ready(self, asked: Proto, _: Context) -> Proto:
        is_ready = self._inference.is_model_ready(asked.name, asked.version)
        return INFERENCE["ModelReadyResponse"](ready=is_ready)

    def _model_metadata(self, asked: Proto, _: Context) -> Proto:
        return metadata.model_metadata(self._inference.model_metadata(asked.name, asked.version))

    def _model_config(self, asked: Proto, _: Context) -> Proto:
        return metadata.model_config(self._inference.model_config(asked.name, asked.version))

    def _model_statistics(self, asked: Proto, _: Context) -> Proto:
        return metadata.statistics(self._inference.statistics(asked.name, asked.version))

    def _model_infer(self, asked: Proto, context: Context) -> Proto:
        if not self._places.acquire(blocking=False):
            raise Unavailable(
                f"inferences: {MAX_INFERS} are under way, wanted at most that many; try later"
            )
        try:
            return self._infer(asked, cancelled_with(context), remaining_us(context))
        finally:
            self._places.release()

    def _infer(self, asked: Proto, cancellation: Cancellation, remaining_us: int = 0) -> Proto:
        request = request_of(asked)
        # A client that gives up at its deadline needs no answer after it.
        if remaining_us and (not request.timeout_us or remaining_us < request.timeout_us):
            request = replace(request, timeout_us=remaining_us)
        return response_of(self._inference.infer(request, cancellation))

    # -- the repository --------------------------------------------------------------------------

    def _repository_index(self, asked: Proto, _: Context) -> Proto:
        return metadata.index(self._inference.index(only_ready=asked.ready))

    def _repository_load(self, asked: Proto, _: Context) -> Proto:
        self._inference.load(asked.model_name)
        return INFERENCE["RepositoryModelLoadResponse"]()

    def _repository_unload(self, asked: Proto, _: Context) -> Proto:
        self._inference.unload(asked.model_name)
        return INFERENCE["RepositoryModelUnloadResponse"]()

    # -- shared memory ---------------------------------------------------------------------------

    def _memory_status(self, asked: Proto, _: Context) -> Proto:
        response = INFERENCE["SystemSharedMemoryStatusResponse"]()
        for region in self._regions.status(asked.name):
            written = response.regions[region.name]
            written.name, written.key = region.name, region.key
            written.offset, written.byte_size = region.offset, region.byte_size
        return response

    def _memory_register(self, asked: Proto, _: Context) -> Proto:
        self._regions.register(Region(asked.name, asked.key, asked.offset, asked.byte_size))
        return INFERENCE["SystemSharedMemoryRegisterResponse"]()

    def _memory_unregister(self, asked: Proto, _: Context) -> Proto:
        self._regions.unregister(asked.name)
        return INFERENCE["SystemSharedMemoryUnregisterResponse"]()
