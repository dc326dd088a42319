"""Tensors in POSIX shared memory, registered and used by the official client."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.utils.shared_memory as shm
from tritonclient.grpc import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from tests.appliance.service import Service

MODEL = "efficientnet-lite0"
KEY = f"/box-test-grpc-{os.getpid()}"
IN_BYTES, OUT_BYTES = 3 * 224 * 224 * 4, 1000 * 4


@pytest.fixture(scope="module")
def service(state: Path) -> Iterator[Service]:
    """A box whose operator allows shared memory."""
    state.mkdir()
    (state / "settings.toml").write_text("shared_memory = true\n")
    with Service(state) as running:
        yield running


def test_a_tensor_goes_and_comes_in_shared_memory(client: InferenceServerClient) -> None:
    """The same answer as in messages, and neither input nor output is in one."""
    values = np.linspace(-1, 1, IN_BYTES // 4, dtype=np.float32).reshape(1, 3, 224, 224)
    region = shm.create_shared_memory_region("both", KEY, IN_BYTES + OUT_BYTES)
    try:
        shm.set_shared_memory_region(region, [values])
        client.register_system_shared_memory("both", KEY, IN_BYTES + OUT_BYTES)
        registered = client.get_system_shared_memory_status().regions["both"]
        there = InferInput("image", [1, 3, 224, 224], "FP32")
        there.set_shared_memory("both", IN_BYTES)
        wanted = InferRequestedOutput("logits")
        wanted.set_shared_memory("both", OUT_BYTES, offset=IN_BYTES)

        answer = client.infer(MODEL, [there], outputs=[wanted])

        shared = shm.get_contents_as_numpy(region, np.float32, [1, 1000], offset=IN_BYTES).copy()
        client.unregister_system_shared_memory("both")
    finally:
        shm.destroy_shared_memory_region(region)
    sent = InferInput("image", [1, 3, 224, 224], "FP32")
    sent.set_data_from_numpy(values)
    np.testing.assert_allclose(client.infer(MODEL, [sent]).as_numpy("logits"), shared, rtol=1e-4)
    assert [] == list(answer.get_response().raw_output_contents)
    assert (KEY, IN_BYTES + OUT_BYTES) == (registered.key, registered.byte_size)
    assert {} == dict(client.get_system_shared_memory_status().regions)


def test_a_region_that_is_not_there_is_refused(client: InferenceServerClient) -> None:
    """To register it and to use it."""
    there = InferInput("image", [1, 3, 224, 224], "FP32")
    there.set_shared_memory("nothing", IN_BYTES)
    with pytest.raises(InferenceServerException, match="nothing") as unknown:
        client.infer(MODEL, [there])
    with pytest.raises(InferenceServerException, match="no-such") as absent:
        client.register_system_shared_memory("r", "/no-such-object", 4)

    assert ["StatusCode.NOT_FOUND"] * 2 == [unknown.value.status(), absent.value.status()]
