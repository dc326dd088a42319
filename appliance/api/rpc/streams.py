"""ModelStreamInfer: many requests on one call, answered in their order.

A stream's requests are computed beside each other, so that one client fills batches, but no more
than IN_FLIGHT of them: then the next is left in the socket until an answer is taken.

An error is one answer among others and the stream goes on. A client that would rather have the
call end with a status says so by the metadata `triton_grpc_error: true`.

Source: Triton's `grpc_service.proto`, ModelStreamInfer; its `grpc/stream_infer_handler.cc`.
"""

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import grpc

from appliance.api.rpc.calls import Context, Handler, cancelled_with, fail, failure, read
from appliance.api.rpc.convert import set_parameter
from appliance.api.rpc.descriptors import INFERENCE, Proto
from appliance.api.rpc.statuses import Status, status_of
from appliance.api.warm import WarmThreads
from appliance.errors import Unavailable
from wasi_nn.executor import Cancellation

log = logging.getLogger(__name__)

# Chosen, not measured: as many as batches are large.
IN_FLIGHT = 8
# Each holds two threads. Chosen, not measured.
MAX_STREAMS = 16
_WORKERS = 32
_STATUS_WANTED = ("triton_grpc_error", "true")

Infer = Callable[[Proto, Cancellation], Proto]


class _Failed(Exception):
    """A request of a stream failed. id: what the client calls it."""

    def __init__(self, status: Status, id: str) -> None:
        super().__init__(status.sentence)
        self.status = status
        self.id = id


class Streams:
    """All streams of a server, their threads and their bounds.

    infer: answers a ModelInferRequest by a ModelInferResponse, blocking.
    """

    def __init__(self, infer: Infer) -> None:
        self._infer = infer
        self._places = threading.BoundedSemaphore(MAX_STREAMS)
        self._readers = ThreadPoolExecutor(MAX_STREAMS, "grpc-stream")
        self._workers = WarmThreads(_WORKERS, "grpc-stream-infer")

    def handler(self) -> Handler:
        """Make the handler of ModelStreamInfer."""
        return grpc.stream_stream_rpc_method_handler(self._handle)

    def close(self) -> None:
        """End the threads; the server has stopped, so that nothing comes in any more."""
        self._readers.shutdown()
        self._workers.shutdown()

    def _handle(self, requests: Iterator[bytes], context: Context) -> Iterator[bytes]:
        if not self._places.acquire(blocking=False):
            fail(context, status_of(Unavailable(
                f"stream: {MAX_STREAMS} are open, wanted at most that many; close one or try later"
            )))  # fmt: skip
        stream = _Stream(self._infer, self._workers, cancelled_with(context))
        try:
            self._readers.submit(stream.read, requests)
            is_status_wanted = _STATUS_WANTED in tuple(context.invocation_metadata() or ())
            yield from stream.answers(context if is_status_wanted else None)
        finally:
            # gRPC drops us here when the client has gone.
            stream.end()
            self._places.release()


class _Stream:
    """One stream: a reader starts requests, and their answers are taken in order."""

    def __init__(self, infer: Infer, workers: Executor, cancellation: Cancellation) -> None:
        self._infer = infer
        self._workers = workers
        self._lock = threading.Lock()
        self._under_way: set[Cancellation] = set()
        self._is_over = False
        self._slots = threading.Semaphore(IN_FLIGHT)
        self._answers: queue.SimpleQueue[Future[Proto] | None] = queue.SimpleQueue()
        cancellation.listen(self.end)

    def read(self, requests: Iterator[bytes]) -> None:
        """Start one request after the other, until the client has no more or is gone."""
        try:
            self._slots.acquire()
            for sent in requests:
                if self._is_over:
                    break
                self._answers.put(self._workers.submit(self._answer, sent))
                self._slots.acquire()
        except grpc.RpcError:
            # How gRPC says that the client has gone.
            log.debug("stream left by its client")
        finally:
            self._answers.put(None)

    def answers(self, failing: Context | None) -> Iterator[bytes]:
        """Give the answers in the requests' order.

        failing: of a client that wants its call to fail with the first request that does.
        """
        while (future := self._answers.get()) is not None:
            try:
                response = INFERENCE["ModelStreamInferResponse"](infer_response=future.result())
                set_parameter(response.infer_response.parameters["triton_final_response"], True)
            except _Failed as exc:
                if failing is not None:
                    fail(failing, exc.status)
                response = INFERENCE["ModelStreamInferResponse"](error_message=str(exc))
                response.infer_response.id = exc.id
            self._slots.release()
            yield response.SerializeToString()

    def end(self) -> None:
        """Drop what is under way: nobody takes the answers."""
        with self._lock:
            self._is_over = True
            under_way = tuple(self._under_way)
        for cancellation in under_way:
            cancellation.cancel()
        # The reader may wait for a slot.
        self._slots.release()

    def _answer(self, sent: bytes) -> Proto:
        cancellation = Cancellation()
        with self._lock:
            self._under_way.add(cancellation)
            is_over = self._is_over
        if is_over:
            cancellation.cancel()
        id = ""
        try:
            message = read(INFERENCE, "ModelInferRequest", sent)
            id = message.id
            return self._infer(message, cancellation)
        except Exception as exc:
            raise _Failed(failure(exc, "ModelInferRequest"), id) from exc
        finally:
            with self._lock:
                self._under_way.discard(cancellation)
