"""`ModelStreamInfer` through `tritonclient.grpc`, against a serving box."""

import queue
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput, InferResult
from tritonclient.utils import InferenceServerException

from appliance.api.rpc.descriptors import INFERENCE
from appliance.api.rpc.streams import IN_FLIGHT, MAX_STREAMS
from tests.appliance.service import Service

MODEL = "efficientnet-lite0"
PATIENCE_S = 60
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"

Put = Callable[..., InferInput]
Told = tuple[InferResult | None, InferenceServerException | None]


@contextmanager
def stream(
    url: str, **options: object
) -> Iterator[tuple[InferenceServerClient, Callable[[], Told]]]:
    """Open a stream. Gives the client and what takes the next answer."""
    told: queue.SimpleQueue[Told] = queue.SimpleQueue()
    with InferenceServerClient(url) as client:
        client.start_stream(lambda result, error: told.put((result, error)), **options)
        yield client, lambda: told.get(timeout=PATIENCE_S)
        client.stop_stream()


def test_answers_come_in_the_order_of_requests(
    url: str, read_sample: Callable[[str], bytes], put_pictures: Put
) -> None:
    """Many more than may be under way at once; each is the last of its request."""
    inputs = [put_pictures(read_sample(name)) for name in ("coffee.jpg", "chelsea.jpg")]
    count = 3 * IN_FLIGHT
    with stream(url) as (client, take):
        for number in range(count):
            client.async_stream_infer(
                MODEL, [inputs[number % 2]], request_id=str(number),
                outputs=[InferRequestedOutput("logits", class_count=1)],
            )  # fmt: skip
        results = [result for result, _ in (take() for _ in range(count)) if result is not None]

    assert list(map(str, range(count))) == [result.get_response().id for result in results]
    assert {b"espresso"} == {r.as_numpy("logits")[0, 0].split(b":")[2] for r in results[0::2]}
    assert all(r.get_response().parameters["triton_final_response"].bool_param for r in results)


def test_an_error_is_an_answer_and_the_stream_goes_on(url: str, put_tensor: Put) -> None:
    """Only the one that was wrong is told."""
    with stream(url) as (client, take):
        client.async_stream_infer("nobody", [put_tensor(1)])
        client.async_stream_infer(MODEL, [put_tensor(1)], request_id="next")
        (_, error), (result, _) = take(), take()

    assert "nobody" in str(error)
    assert result is not None
    assert "next" == result.get_response().id


def test_an_error_ends_the_call_of_a_client_that_wants_it_so(url: str, put_tensor: Put) -> None:
    """Then it has a status, as a call of one request has."""
    with stream(url, headers={"triton_grpc_error": "true"}) as (client, take):
        client.async_stream_infer("nobody", [put_tensor(1)])
        _, error = take()

    assert error is not None
    assert "StatusCode.NOT_FOUND" == error.status()


def test_an_error_says_whose_it_is(url: str) -> None:
    """The id is in the answer, where a client that reads it finds it."""
    request = INFERENCE["ModelInferRequest"](model_name="nobody", id="7").SerializeToString()
    with grpc.insecure_channel(url) as channel:
        (answer,) = channel.stream_stream(STREAM)(iter([request]), timeout=PATIENCE_S)
    read = INFERENCE["ModelStreamInferResponse"].FromString(answer)

    assert "7" == read.infer_response.id
    assert "nobody" in read.error_message


def test_bytes_that_are_no_message_are_an_error_like_any(url: str) -> None:
    """The stream goes on."""
    good = INFERENCE["ModelInferRequest"](model_name="nobody").SerializeToString()
    with grpc.insecure_channel(url) as channel:
        answers = list(channel.stream_stream(STREAM)(iter([b"\xff", good]), timeout=PATIENCE_S))
    first, second = map(INFERENCE["ModelStreamInferResponse"].FromString, answers)

    assert "1 bytes that are no ModelInferRequest" in first.error_message
    assert "nobody" in second.error_message


def test_streams_are_bounded_and_come_free(service: Service, url: str, put_tensor: Put) -> None:
    """One too many is refused at once; when others end, there is room again."""
    request = INFERENCE["ModelInferRequest"](model_name="nobody").SerializeToString()
    with grpc.insecure_channel(url) as channel:
        open_stream = channel.stream_stream(STREAM)
        sent = [queue.SimpleQueue[bytes | None]() for _ in range(MAX_STREAMS)]
        calls = [open_stream(iter(requests.get, None), timeout=PATIENCE_S) for requests in sent]
        for requests, call in zip(sent, calls, strict=True):
            requests.put(request)
            next(call)
        with pytest.raises(grpc.RpcError) as refused:
            next(open_stream(iter([request]), timeout=PATIENCE_S))
        for requests, call in zip(sent, calls, strict=True):
            requests.put(None)
            # Its end comes only after our place is free.
            assert [] == list(call)

    with stream(url) as (client, take):
        client.async_stream_infer(MODEL, [put_tensor(1)])
        result, _ = take()

    assert grpc.StatusCode.UNAVAILABLE is refused.value.code()
    assert result is not None
    assert "Traceback" not in service.log.read_text()
