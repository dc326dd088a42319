"""The official Triton client over HTTP on the Unix socket, as its users call it."""

import gzip
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from appliance.client_triton import over_unix_socket
from appliance.shipped import classifier_folder
from tests.appliance.service import Service

MODEL = "efficientnet-lite0"


@pytest.fixture
def client(service: Service) -> Iterator[Any]:
    """A client as its users make it."""
    made = over_unix_socket(InferenceServerClient("box"), service.socket)
    yield made
    made.close()


def tensor(name: str, values: Any, datatype: str, *, is_binary: bool = True) -> Any:
    """Make an input of the client's."""
    made = InferInput(name, list(values.shape), datatype)
    made.set_data_from_numpy(values, binary_data=is_binary)
    return made


def wanted(name: str, **rest: Any) -> Any:
    """Make a requested output of the client's."""
    return InferRequestedOutput(name, **rest)


def encoded(*pictures: bytes) -> Any:
    """Make the input of encoded pictures."""
    return tensor("image", np.array(pictures, np.object_), "BYTES")


def test_health_and_metadata_are_what_the_client_expects(client: Any) -> None:
    """Live, ready, and the names of what is there."""
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    assert client.is_model_ready(MODEL, "1")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    metadata = client.get_model_metadata(MODEL)
    assert [{"name": "image", "datatype": "FP32", "shape": [-1, 3, 224, 224]}] == metadata["inputs"]
    assert [{"name": "logits", "datatype": "FP32", "shape": [-1, 1000]}] == metadata["outputs"]
    assert ("onnx_onnxv1", ["1"]) == (metadata["platform"], metadata["versions"])


def test_the_configuration_is_tritons(client: Any) -> None:
    """Dimensions without the batch, the label file, the batcher's policy."""
    config = client.get_model_config(MODEL)

    assert 128 == config["max_batch_size"]
    assert {
        "name": "image", "data_type": "TYPE_FP32", "dims": [3, 224, 224], "format": "FORMAT_NCHW"
    } == config["input"][0]  # fmt: skip
    assert {
        "name": "logits", "data_type": "TYPE_FP32", "dims": [1000], "label_filename": "labels.txt"
    } == config["output"][0]  # fmt: skip
    assert "REJECT" == config["dynamic_batching"]["default_queue_policy"]["timeout_action"]


@pytest.mark.parametrize("is_binary", [True, False], ids=["binary", "json"])
def test_a_batch_of_tensors_is_computed(client: Any, is_binary: bool) -> None:
    """Binary and JSON tensors give the same answer; the id comes back."""
    image = np.linspace(-1, 1, 2 * 3 * 224 * 224, dtype=np.float32).reshape(2, 3, 224, 224)
    binary = client.infer(MODEL, [tensor("image", image, "FP32")], request_id="a7")
    answer = client.infer(
        MODEL, [tensor("image", image[:1], "FP32", is_binary=is_binary)],
        outputs=[wanted("logits", binary_data=is_binary)], model_version="1",
    )  # fmt: skip

    assert "a7" == binary.get_response()["id"]
    assert (2, 1000) == binary.as_numpy("logits").shape
    np.testing.assert_allclose(binary.as_numpy("logits")[:1], answer.as_numpy("logits"), atol=1e-4)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_requests_are_understood(client: Any, algorithm: str) -> None:
    """The header counts the JSON before it was packed."""
    image = np.zeros((1, 3, 224, 224), np.float32)

    answer = client.infer(
        MODEL, [tensor("image", image, "FP32")], request_compression_algorithm=algorithm
    )

    assert (1, 1000) == answer.as_numpy("logits").shape


def test_encoded_pictures_are_classified_by_label(
    client: Any, read_sample: Callable[[str], bytes]
) -> None:
    """N encoded pictures in, the best classes of each out: no tensor on the client's side."""
    pictures = encoded(read_sample("coffee.jpg"), read_sample("chelsea.jpg"))

    answer = client.infer(MODEL, [pictures], outputs=[wanted("logits", class_count=3)])

    best = answer.as_numpy("logits")
    assert (2, 3) == best.shape
    assert best[0, 0].decode().split(":")[1:] == ["967", "espresso"]
    assert best[1, 0].decode().split(":")[1] in {"281", "282", "285"}


def test_an_app_is_a_model(
    service: Service, client: Any, read_sample: Callable[[str], bytes]
) -> None:
    """A guest answers the protocol, and what it said is in the history."""
    folder = classifier_folder()
    wasm, manifest = ((folder / n).read_bytes() for n in ("classifier.wasm", "app.toml"))
    version = service.deploy("classifier", wasm, manifest).json()["version"]

    answer = client.infer("classifier", [encoded(read_sample("coffee.jpg"))], model_version=version)

    assert [b"espresso"] == answer.as_numpy("label").tolist()
    assert 0.5 < answer.as_numpy("score")[0] <= 1
    assert b'"index":967' in answer.as_numpy("json")[0]
    assert version == answer.get_response()["model_version"]
    stored = service.http.get("/v1/predictions?app=classifier").json()["predictions"]
    assert ["espresso"] == [prediction["label"] for prediction in stored]
    assert "wasm" == client.get_model_metadata("classifier")["platform"]


def test_statistics_count_what_was_computed(client: Any) -> None:
    """Successes and failures of this model, rows and runs of its graph."""
    name = "efficientnet-lite0-int8"
    image = np.zeros((1, 3, 224, 224), np.float32)
    client.infer(name, [tensor("image", image, "FP32")])
    with pytest.raises(InferenceServerException, match="wanted FP32"):
        client.infer(name, [tensor("image", image.astype(np.float64), "FP64")])

    (counted,) = client.get_inference_statistics(name)["model_stats"]
    stats = counted["inference_stats"]
    assert (1, 1) == (stats["success"]["count"], stats["fail"]["count"])
    assert stats["success"]["ns"] >= stats["compute_infer"]["ns"] > 0
    assert counted["inference_count"] >= counted["execution_count"] >= 1
    assert counted["last_inference"] > 1_700_000_000_000
    everything = client.get_inference_statistics()["model_stats"]
    assert {MODEL, name} <= {each["name"] for each in everything}


def test_a_model_is_unloaded_and_loaded(client: Any) -> None:
    """The index says so, and a request in between is refused."""
    name = "efficientnet-lite0-int8"
    client.unload_model(name)
    states = {each["name"]: each for each in client.get_model_repository_index()}
    assert ("UNAVAILABLE", "unloaded") == (states[name]["state"], states[name]["reason"])
    assert not client.is_model_ready(name)
    image = tensor("image", np.zeros((1, 3, 224, 224), np.float32), "FP32")
    with pytest.raises(InferenceServerException, match="not at ready state"):
        client.infer(name, [image])

    client.load_model(name)

    assert client.is_model_ready(name)
    assert (1, 1000) == client.infer(name, [image]).as_numpy("logits").shape


def test_eight_requests_at_once_are_answered_in_their_order(client: Any) -> None:
    """The client's own asynchronous calls, answers not mixed up."""
    images = [np.full((1, 3, 224, 224), value, np.float32) for value in (-1.0, 1.0)] * 4
    waiting = [client.async_infer(MODEL, [tensor("image", image, "FP32")]) for image in images]

    logits = [each.get_result().as_numpy("logits") for each in waiting]

    for answer, first in zip(logits, logits[:2] * 4, strict=True):
        np.testing.assert_allclose(first, answer, atol=1e-4)
    assert np.abs(logits[0] - logits[1]).max() > 0.1


@pytest.mark.parametrize(
    ("model", "version", "words"),
    [
        pytest.param("nothing", "", ["404", "unknown model", MODEL], id="no such model"),
        pytest.param(MODEL, "7", ["404", "unknown model"], id="no such version"),
    ],
)
def test_an_unknown_model_is_not_found(
    client: Any, model: str, version: str, words: list[str]
) -> None:
    """404 for a name and for a version, with what there is."""
    image = tensor("image", np.zeros((1, 3, 224, 224), np.float32), "FP32")

    with pytest.raises(InferenceServerException) as caught:
        client.infer(model, [image], model_version=version)
    assert [] == [word for word in words if word not in str(caught.value)]
    assert caught.value.status() == "404"


def test_what_is_not_offered_is_said_so(client: Any) -> None:
    """Trace, log settings and shared memory: refused in words the client shows."""
    with pytest.raises(InferenceServerException, match="trace: not offered"):
        client.get_trace_settings()
    with pytest.raises(InferenceServerException, match="logging: not offered"):
        client.get_log_settings()
    with pytest.raises(InferenceServerException, match="shared_memory = true"):
        client.register_system_shared_memory("in", "/in", 16)
    with pytest.raises(InferenceServerException, match="cuda shared memory: not offered"):
        client.get_cuda_shared_memory_status()
    client.unregister_system_shared_memory()
    assert [] == client.get_system_shared_memory_status()


def test_a_client_that_packs_by_itself_is_understood(service: Service) -> None:
    """Plain JSON under gzip; what is in it is refused like any other."""
    body = gzip.compress(b'{"inputs":[]}')

    response = service.http.post(
        f"/v2/models/{MODEL}/infer", content=body, headers={"Content-Encoding": "gzip"}
    )

    assert (400, "bad_request") == (response.status_code, response.json()["code"])
    assert "input image: missing" in response.json()["error"]
