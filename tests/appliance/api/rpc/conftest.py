"""What the gRPC tests share: the official client on a serving box, and inputs as it packs them."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput

from tests.appliance.service import Service

Put = Callable[..., InferInput]


@pytest.fixture(scope="module")
def url(service: Service) -> str:
    """The box's gRPC socket, as gRPC names it."""
    return f"unix:{service.state}/run/grpc.sock"


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[InferenceServerClient]:
    """The official client, connected."""
    with InferenceServerClient(url) as connected:
        yield connected


@pytest.fixture(scope="session")
def put_pictures() -> Put:
    """Pack encoded pictures as the input "image" of type BYTES."""

    def put(*encoded: bytes) -> InferInput:
        given = InferInput("image", [len(encoded)], "BYTES")
        given.set_data_from_numpy(np.array(encoded, dtype=np.object_))
        return given

    return put


@pytest.fixture(scope="session")
def put_tensor() -> Put:
    """Pack so many different rows as the input "image" of EfficientNet-Lite0 in ONNX, FP32."""

    def put(rows: int) -> InferInput:
        given = InferInput("image", [rows, 3, 224, 224], "FP32")
        ramp = np.linspace(-1, 1, rows * 3 * 224 * 224, dtype=np.float32)
        given.set_data_from_numpy(ramp.reshape(rows, 3, 224, 224))
        return given

    return put
