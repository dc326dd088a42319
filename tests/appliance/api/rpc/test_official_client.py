"""`tritonclient.grpc`, unpatched, against a serving box."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from tritonclient.grpc import (
    InferenceServerClient,
    InferInput,
    InferRequestedOutput,
    KeepAliveOptions,
)
from tritonclient.utils import InferenceServerException

from appliance.api.rpc.descriptors import HEALTH
from tests.appliance import watguests as guests
from tests.appliance.service import Service

MODEL = "efficientnet-lite0"
INT8 = "efficientnet-lite0-int8"
ESPRESSO, CAT = 967, 281

Put = Callable[..., InferInput]
Read = Callable[[str], bytes]


@pytest.fixture(scope="module", autouse=True)
def app(service: Service) -> None:
    """An app that says "steady" of every picture."""
    assert service.deploy("steady", guests.STEADY).status_code == 200


def top(classes: int) -> list[InferRequestedOutput]:
    return [InferRequestedOutput("logits", class_count=classes)]


def index_of(entry: bytes) -> int:
    """value:index:label -> index."""
    return int(entry.split(b":")[1])


def test_the_server_says_what_it_is(client: InferenceServerClient) -> None:
    """Live, ready, and the extensions that it has."""
    known = client.get_server_metadata()

    assert (True, True) == (client.is_server_live(), client.is_server_ready())
    assert "edge-inference-appliance" == known.name
    assert {"classification", "statistics", "model_configuration"} <= set(known.extensions)


def test_probes_of_grpc_itself_are_answered(url: str) -> None:
    """`grpc_health_probe` and Kubernetes ask this way."""
    with grpc.insecure_channel(url) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        answer = HEALTH["HealthCheckResponse"].FromString(check(b""))

    serving = HEALTH["HealthCheckResponse"](status="SERVING")
    assert serving.status == answer.status


def test_models_and_apps_are_listed(client: InferenceServerClient) -> None:
    """An app is a model of platform wasm."""
    index = client.get_model_repository_index()

    assert {(MODEL, "READY"), (INT8, "READY"), ("steady", "READY")} <= {
        (model.name, model.state) for model in index.models
    }


def test_metadata_says_what_to_send(client: InferenceServerClient) -> None:
    """Names, datatypes and shapes, the batch dimension free."""
    known = client.get_model_metadata(MODEL)

    assert [("image", "FP32", [-1, 3, 224, 224])] == [
        (one.name, one.datatype, list(one.shape)) for one in known.inputs
    ]
    assert [("logits", "FP32", [-1, 1000])] == [
        (one.name, one.datatype, list(one.shape)) for one in known.outputs
    ]
    assert ["1"] == list(known.versions)


def test_config_says_how_it_is_batched(client: InferenceServerClient) -> None:
    """What perf_analyzer reads: the batch size, dims without the batch, and the queue's bound."""
    config = client.get_model_config(MODEL).config

    assert config.max_batch_size > 1
    assert [3, 224, 224] == list(config.input[0].dims)
    assert "TYPE_FP32" == config.DESCRIPTOR.file.enum_types_by_name["DataType"].values_by_number[
        config.input[0].data_type
    ].name  # fmt: skip
    assert config.dynamic_batching.default_queue_policy.max_queue_size > 0
    assert "dynamic_batching" == config.WhichOneof("scheduling_choice")


def test_metadata_of_an_app(client: InferenceServerClient) -> None:
    """A picture in, predictions out."""
    known = client.get_model_metadata("steady", as_json=True)

    assert "wasm" == known["platform"]
    assert {"name": "image", "datatype": "BYTES", "shape": ["1"]} == known["inputs"][0]


def test_pictures_are_classified(
    client: InferenceServerClient, read_sample: Read, put_pictures: Put
) -> None:
    """Encoded pictures go in, and "value:index:label" of the best classes comes out."""
    put = put_pictures(read_sample("coffee.jpg"), read_sample("chelsea.jpg"))

    classes = client.infer(MODEL, [put], outputs=top(3), request_id="7").as_numpy("logits")

    assert (2, 3) == classes.shape
    assert ESPRESSO == index_of(classes[0, 0])
    assert index_of(classes[1, 0]) in {281, 282, 285}
    assert classes[0, 0].endswith(b":espresso")


def test_the_requests_id_comes_back(client: InferenceServerClient, put_tensor: Put) -> None:
    """And model and version say who answered."""
    response = client.infer(MODEL, [put_tensor(1)], request_id="a/1").get_response()

    assert ("a/1", MODEL, "1") == (response.id, response.model_name, response.model_version)


def test_a_batch_of_eight_is_no_trouble(client: InferenceServerClient, put_tensor: Put) -> None:
    """4.8 MB in one message, over what gRPC takes by itself; each row gets its own answer."""
    eight = client.infer(MODEL, [put_tensor(8)]).as_numpy("logits")

    assert (8, 1000) == eight.shape
    assert 8 == len({row.tobytes() for row in eight})


def test_an_app_sees_a_picture(
    client: InferenceServerClient, picture: bytes, put_pictures: Put
) -> None:
    """Its predictions are label, score and JSON."""
    result = client.infer("steady", [put_pictures(picture)])

    assert [b"steady"] == list(result.as_numpy("label"))
    assert "steady" == json.loads(result.as_numpy("json")[0])["label"]


def test_priority_and_timeout_are_taken(client: InferenceServerClient, put_tensor: Put) -> None:
    """As the client types them: uint64 and int64."""
    result = client.infer(MODEL, [put_tensor(1)], priority=1, timeout=10_000_000)

    assert (1, 1000) == result.as_numpy("logits").shape


def test_statistics_count_what_was_asked(client: InferenceServerClient) -> None:
    """Requests, rows and nanoseconds; perf_analyzer takes differences of them."""
    before = client.get_inference_statistics(INT8).model_stats[0]
    metadata = client.get_model_metadata(INT8).inputs[0]
    shape = [2, *list(metadata.shape)[1:]]
    given = InferInput(metadata.name, shape, metadata.datatype)
    given.set_data_from_numpy(np.zeros(shape, np.float32))

    client.infer(INT8, [given])

    after = client.get_inference_statistics(INT8).model_stats[0]
    assert (1, 2) == (
        after.inference_stats.success.count - before.inference_stats.success.count,
        after.inference_count - before.inference_count,
    )
    assert after.inference_stats.compute_infer.ns > before.inference_stats.compute_infer.ns
    assert after.last_inference > 1.7e12


def test_an_unloaded_model_waits_for_its_load(
    client: InferenceServerClient, put_tensor: Put
) -> None:
    """Unload lets it go and says so; load brings it back."""
    client.unload_model(MODEL)
    states = {model.name: model.state for model in client.get_model_repository_index().models}
    is_ready = client.is_model_ready(MODEL)
    with pytest.raises(InferenceServerException, match="not at ready state") as refused:
        client.infer(MODEL, [put_tensor(1)])
    client.load_model(MODEL)

    assert ("UNAVAILABLE", False) == (states[MODEL], is_ready)
    assert "StatusCode.UNAVAILABLE" == refused.value.status()
    assert client.is_model_ready(MODEL)
    assert (1, 1000) == client.infer(MODEL, [put_tensor(1)]).as_numpy("logits").shape


def test_threads_get_their_own_answers(
    client: InferenceServerClient, read_sample: Read, put_pictures: Put
) -> None:
    """Eight at a time, through one channel; nothing is mixed up."""
    inputs = [put_pictures(read_sample(name)) for name in ("coffee.jpg", "chelsea.jpg")] * 8

    def classify(given: InferInput) -> int:
        return index_of(client.infer(MODEL, [given], outputs=top(1)).as_numpy("logits")[0, 0])

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(classify, inputs))

    assert {ESPRESSO} == set(found[0::2])
    assert {found[1]} == set(found[1::2]) <= {281, 282, 285}


def test_a_clients_deadline_ends_its_call(client: InferenceServerClient, put_tensor: Put) -> None:
    """gRPC's own deadline, in seconds; the box goes on."""
    with pytest.raises(InferenceServerException) as late:
        client.infer(MODEL, [put_tensor(8)], client_timeout=0.002)

    assert "StatusCode.DEADLINE_EXCEEDED" == late.value.status()
    assert client.is_server_live()


def test_a_client_that_pings_all_the_time_is_not_sent_away(url: str) -> None:
    """gRPC's servers say "too many pings" by default and drop the connection."""
    options = KeepAliveOptions(
        keepalive_time_ms=20, keepalive_permit_without_calls=True, http2_max_pings_without_data=0
    )
    with InferenceServerClient(url, keepalive_options=options) as busy:
        assert all(busy.is_server_live() for _ in range(100))


@pytest.mark.parametrize(
    ("status", "words", "call"),
    [
        pytest.param(
            "NOT_FOUND", "nobody", lambda client, _: client.get_model_metadata("nobody"),
            id="unknown model",
        ),
        pytest.param(
            "NOT_FOUND", "nobody", lambda client, put: client.infer("nobody", [put(1)]),
            id="infer of an unknown model",
        ),
        pytest.param(
            "NOT_FOUND", MODEL,
            lambda client, put: client.infer(MODEL, [put(1)], model_version="9"),
            id="unknown version",
        ),
        pytest.param(
            "INVALID_ARGUMENT", "image", lambda client, _: client.infer(MODEL, []), id="no input"
        ),
        pytest.param(
            "INVALID_ARGUMENT", "nothing",
            lambda client, put: client.infer(
                MODEL, [put(1)], outputs=[InferRequestedOutput("nothing")]
            ),
            id="unknown output",
        ),
        pytest.param(
            "RESOURCE_EXHAUSTED", "larger than max",
            lambda client, put: client.infer(MODEL, [put(60)]),
            id="over the bound of a body",
        ),
        pytest.param(
            "UNIMPLEMENTED", "switched off",
            lambda client, _: client.register_system_shared_memory("r", "/k", 4),
            id="shared memory is off",
        ),
        pytest.param(
            "UNIMPLEMENTED", "CUDA",
            lambda client, _: client.get_cuda_shared_memory_status(),
            id="CUDA shared memory",
        ),
        pytest.param(
            "UNIMPLEMENTED", "does not trace", lambda client, _: client.get_trace_settings(),
            id="trace",
        ),
        pytest.param(
            "UNIMPLEMENTED", "log", lambda client, _: client.get_log_settings(), id="log"
        ),
        pytest.param(
            "NOT_FOUND", "nobody", lambda client, _: client.load_model("nobody"), id="load"
        ),
        pytest.param(
            "NOT_FOUND", "nobody", lambda client, _: client.unload_model("nobody"), id="unload"
        ),
    ],
)  # fmt: skip
def test_a_refusal_says_why(
    client: InferenceServerClient, put_tensor: Put, status: str, words: str,
    call: Callable[[InferenceServerClient, Put], object],
) -> None:  # fmt: skip
    """A status that fits, and a sentence."""
    with pytest.raises(InferenceServerException, match=words) as refused:
        call(client, put_tensor)

    assert f"StatusCode.{status}" == refused.value.status()
    assert refused.value.message()


def test_a_damaged_picture_is_the_clients_fault(
    client: InferenceServerClient, put_pictures: Put
) -> None:
    """Neither model nor app is asked."""
    with pytest.raises(InferenceServerException, match="picture") as refused:
        client.infer(MODEL, [put_pictures(b"GIF89a no picture")])

    assert "StatusCode.INVALID_ARGUMENT" == refused.value.status()


def test_a_guest_that_traps_is_told(
    service: Service, client: InferenceServerClient, picture: bytes, put_pictures: Put
) -> None:
    """The status is neither the client's fault nor the box's."""
    assert service.deploy("trap", guests.trapping()).status_code == 200
    with pytest.raises(InferenceServerException) as failed:
        client.infer("trap", [put_pictures(picture)])

    assert "StatusCode.ABORTED" == failed.value.status()
