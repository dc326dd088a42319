"""Tensors in shared memory, by the official client's own module, on a box that allows it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException
from tritonclient.utils import shared_memory as shm

from appliance.client_triton import over_unix_socket
from tests.appliance.service import Service

MODEL = "efficientnet-lite0"
IMAGE = np.linspace(-1, 1, 3 * 224 * 224, dtype=np.float32).reshape(1, 3, 224, 224)
ANSWER_BYTES = 4000


@pytest.fixture(scope="module")
def service(state: Path) -> Iterator[Service]:
    """A box whose operator has switched it on."""
    state.mkdir(parents=True)
    (state / "settings.toml").write_text("shared_memory = true\n")
    with Service(state) as running:
        yield running


@pytest.fixture
def client(service: Service) -> Iterator[Any]:
    made = over_unix_socket(InferenceServerClient("box"), service.socket)
    yield made
    made.unregister_system_shared_memory()
    made.close()


@pytest.fixture
def region() -> Iterator[Any]:
    """An object with room for an input and, behind it, its answer."""
    handle = shm.create_shared_memory_region(
        "both", f"/box-test-{os.getpid()}", IMAGE.nbytes + ANSWER_BYTES
    )
    yield handle
    shm.destroy_shared_memory_region(handle)


def ask(client: Any, *, image_bytes: int = IMAGE.nbytes, answer_bytes: int = ANSWER_BYTES) -> Any:
    image = InferInput("image", list(IMAGE.shape), "FP32")
    image.set_shared_memory("both", image_bytes)
    logits = InferRequestedOutput("logits")
    logits.set_shared_memory("both", answer_bytes, offset=IMAGE.nbytes)
    return client.infer(MODEL, [image], outputs=[logits])


def test_input_and_output_may_stand_in_shared_memory(client: Any, region: Any) -> None:
    """The answer is the one of a plain request, and none of it is in the body."""
    shm.set_shared_memory_region(region, [IMAGE])
    key = f"/box-test-{os.getpid()}"
    client.register_system_shared_memory("both", key, IMAGE.nbytes + ANSWER_BYTES)
    plain = InferInput("image", list(IMAGE.shape), "FP32")
    plain.set_data_from_numpy(IMAGE)

    answer = ask(client)

    (output,) = answer.get_response()["outputs"]
    assert {
        "shared_memory_region": "both", "shared_memory_byte_size": ANSWER_BYTES,
        "shared_memory_offset": IMAGE.nbytes,
    } == output["parameters"]  # fmt: skip
    assert "data" not in output
    written = shm.get_contents_as_numpy(region, np.float32, [1, 1000], offset=IMAGE.nbytes)
    expected = client.infer(MODEL, [plain]).as_numpy("logits")
    np.testing.assert_allclose(expected, written, atol=1e-4)
    assert "system_shared_memory" in client.get_server_metadata()["extensions"]
    assert [
        {"name": "both", "key": key, "offset": 0, "byte_size": IMAGE.nbytes + ANSWER_BYTES}
    ] == client.get_system_shared_memory_status()


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        pytest.param({"image_bytes": 8}, "got 8 bytes, wanted 602112", id="input too small"),
        pytest.param({"image_bytes": 10**9}, "at most", id="input beyond every bound"),
        pytest.param({"answer_bytes": 10}, "there is room for 10", id="output does not fit"),
        pytest.param({"answer_bytes": 5000}, "the region has", id="output leaves the region"),
    ],
)
def test_sizes_that_are_wrong_are_refused(
    client: Any, region: Any, sizes: dict[str, int], words: str
) -> None:
    """What is said and what is there must agree."""
    size = IMAGE.nbytes + ANSWER_BYTES
    client.register_system_shared_memory("both", f"/box-test-{os.getpid()}", size)

    with pytest.raises(InferenceServerException, match=words) as caught:
        ask(client, **sizes)
    assert "400" == caught.value.status()


def test_an_object_that_shrinks_ends_nothing(service: Service, client: Any, region: Any) -> None:
    """A mapping would end the whole box with SIGBUS; this is a refusal."""
    name = f"box-test-{os.getpid()}"
    client.register_system_shared_memory("both", f"/{name}", IMAGE.nbytes + ANSWER_BYTES)
    os.truncate(f"/dev/shm/{name}", 100)

    with pytest.raises(InferenceServerException, match="has become smaller"):
        ask(client)
    assert 200 == service.http.get("/v2/health/live").status_code
    os.truncate(f"/dev/shm/{name}", IMAGE.nbytes + ANSWER_BYTES)


def test_a_region_that_is_unregistered_is_gone(client: Any, region: Any) -> None:
    """And its object is still its owner's."""
    size = IMAGE.nbytes + ANSWER_BYTES
    client.register_system_shared_memory("both", f"/box-test-{os.getpid()}", size)
    client.unregister_system_shared_memory("both")

    with pytest.raises(InferenceServerException, match="no such region"):
        ask(client)
    assert size == os.stat(f"/dev/shm/box-test-{os.getpid()}").st_size
