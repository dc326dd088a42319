"""A busy box: what waits in its queue, who leaves it, and who is told to come later.

One compute thread, taken by a long call, and another in the queue: whatever comes after them waits.
"""

import queue
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput, InferResult, service_pb2
from tritonclient.utils import InferenceServerException

from appliance.api.rpc.service import MAX_INFERS
from tests.appliance.service import Service

MODEL = "efficientnet-lite0"
OTHER = "efficientnet-lite0-int8"
# Small to send and a second to compute on one thread.
LONG_ROWS = 64
PATIENCE_S = 60

Put = Callable[..., InferInput]


@pytest.fixture(scope="module")
def service(state: Path) -> Iterator[Service]:
    """A box of one compute thread."""
    state.mkdir()
    (state / "settings.toml").write_text("threads = 1\n")
    with Service(state) as running:
        yield running


@pytest.fixture(scope="module")
def other(client: InferenceServerClient) -> InferInput:
    """A row for the other model, which is loaded by now."""
    known = client.get_model_metadata(OTHER).inputs[0]
    shape = [1, *list(known.shape)[1:]]
    given = InferInput(known.name, shape, known.datatype)
    given.set_data_from_numpy(np.zeros(shape, np.float32))
    client.infer(OTHER, [given])
    return given


@pytest.fixture
def long_calls(
    service: Service, client: InferenceServerClient, picture: bytes, put_pictures: Put
) -> Iterator[Callable[[], None]]:
    """Two calls, one of which has the only thread and one the queue; gives what waits for both."""
    client.infer(MODEL, [put_pictures(picture)])
    before = client.get_inference_statistics(MODEL).model_stats[0].inference_stats.success.count
    answered = threading.Semaphore(0)
    long = put_pictures(*[picture] * LONG_ROWS)
    for _ in range(2):
        # Before whatever comes later, even if that has a deadline.
        client.async_infer(MODEL, [long], lambda result, error: answered.release(), priority=1)
    wait_for_queue(service, {1})

    def wait() -> None:
        assert answered.acquire(timeout=PATIENCE_S)
        assert answered.acquire(timeout=PATIENCE_S)

    yield wait
    after = client.get_inference_statistics(MODEL).model_stats[0].inference_stats.success.count
    assert 2 <= after - before


def wait_for_queue(service: Service, lengths: set[int]) -> None:
    """Ask the box until its queue has one of these lengths."""
    deadline_s = time.monotonic() + PATIENCE_S
    while queued(service) not in lengths:
        assert time.monotonic() < deadline_s, queued(service)


def queued(service: Service) -> int:
    pattern = r'pending_request_count{device="cpu"} (\d+)'
    found = re.search(pattern, service.http.get("/metrics").text)
    assert found is not None
    return int(found[1])


def counts(client: InferenceServerClient) -> tuple[int, int]:
    """Rows that the other model computed, and its requests that failed."""
    known = client.get_inference_statistics(OTHER).model_stats[0]
    return known.inference_count, known.inference_stats.fail.count


def test_a_cancelled_call_is_not_computed(
    service: Service,
    client: InferenceServerClient,
    other: InferInput,
    long_calls: Callable[[], None],
) -> None:
    """It leaves the queue at once; nothing is computed for whoever has gone."""
    rows, failures = counts(client)
    told: queue.SimpleQueue[InferenceServerException | None] = queue.SimpleQueue()
    call = client.async_infer(OTHER, [other], lambda result, error: told.put(error))
    wait_for_queue(service, {2})

    call.cancel()

    assert "CANCELLED" in str(told.get(timeout=PATIENCE_S))
    wait_for_queue(service, {0, 1})
    long_calls()
    assert (rows, failures + 1) == counts(client)


def test_a_stream_that_is_left_takes_its_requests_along(
    service: Service, url: str, client: InferenceServerClient, other: InferInput,
    long_calls: Callable[[], None],
) -> None:  # fmt: skip
    """All of them, not only the first."""
    rows, failures = counts(client)
    with InferenceServerClient(url) as streaming:
        streaming.start_stream(lambda result, error: None)
        for _ in range(3):
            streaming.async_stream_infer(OTHER, [other])
        wait_for_queue(service, {4})

        streaming.stop_stream(cancel_requests=True)

    wait_for_queue(service, {0, 1})
    long_calls()
    assert (rows, failures + 3) == counts(client)


def test_a_clients_deadline_takes_its_call_along(
    client: InferenceServerClient, other: InferInput, long_calls: Callable[[], None]
) -> None:
    """What would be late for the client is not computed."""
    rows, failures = counts(client)
    with pytest.raises(InferenceServerException) as late:
        client.infer(OTHER, [other], client_timeout=0.1)

    long_calls()
    assert late.value.status() in ("StatusCode.DEADLINE_EXCEEDED", "StatusCode.UNAVAILABLE")
    assert (rows, failures + 1) == counts(client)


def test_a_request_that_waited_too_long_is_refused(
    url: str, client: InferenceServerClient, other: InferInput, long_calls: Callable[[], None]
) -> None:
    """With the status that means "later", and with when, in the words of gRPC's retry policy."""
    rows, failures = counts(client)
    request = service_pb2.ModelInferRequest(
        model_name=OTHER, inputs=[other._get_tensor()], raw_input_contents=[other._get_content()]
    )
    request.parameters["timeout"].int64_param = 1
    with grpc.insecure_channel(url) as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError) as refused:
            infer(request.SerializeToString(), timeout=PATIENCE_S)

    long_calls()
    assert grpc.StatusCode.UNAVAILABLE is refused.value.code()
    assert {"error-code": "unavailable", "grpc-retry-pushback-ms": "1000"} == dict(
        refused.value.trailing_metadata()
    )
    assert (rows, failures + 1) == counts(client)


def test_a_streams_answers_keep_their_order(
    url: str, client: InferenceServerClient, other: InferInput, put_tensor: Put,
    long_calls: Callable[[], None],
) -> None:  # fmt: skip
    """The quick one behind the slow one waits for it."""
    told: queue.SimpleQueue[InferResult | None] = queue.SimpleQueue()
    with InferenceServerClient(url) as streaming:
        streaming.start_stream(lambda result, error: told.put(result))
        streaming.async_stream_infer(MODEL, [put_tensor(9)], request_id="slow")
        streaming.async_stream_infer(OTHER, [other], request_id="quick", priority=1)
        answers = [told.get(timeout=PATIENCE_S) for _ in range(2)]
        streaming.stop_stream()

    long_calls()
    assert ["slow", "quick"] == [answer.get_response().id for answer in answers if answer]


def test_a_full_box_refuses_at_once_and_still_answers_probes(
    client: InferenceServerClient, other: InferInput, long_calls: Callable[[], None]
) -> None:
    """Too many calls are told so, the rest are answered, and nobody waits to hear that it lives."""
    told: queue.SimpleQueue[InferenceServerException | None] = queue.SimpleQueue()
    sent = MAX_INFERS + 6
    for _ in range(sent):
        client.async_infer(OTHER, [other], lambda result, error: told.put(error))
    refused = told.get(timeout=PATIENCE_S)
    is_live = client.is_server_live()
    long_calls()
    errors = [refused, *(told.get(timeout=PATIENCE_S) for _ in range(sent - 1))]

    assert is_live
    assert isinstance(refused, InferenceServerException)
    assert f"{MAX_INFERS} are under way" in str(refused)
    assert {"StatusCode.UNAVAILABLE"} == {error.status() for error in errors if error is not None}
    assert errors.count(None) >= MAX_INFERS - 2
