"""The official Triton client for asyncio over HTTP on the Unix socket."""

import asyncio
from collections.abc import Callable

import numpy as np
import pytest
from tritonclient.http import InferInput, InferRequestedOutput
from tritonclient.http.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from appliance.client_triton import over_unix_socket_aio
from tests.appliance.service import Service

MODEL = "efficientnet-lite0"


def test_pictures_are_classified_side_by_side(
    service: Service, read_sample: Callable[[str], bytes]
) -> None:
    """Two requests in flight on one event loop, each with its own answer."""
    names = ("coffee.jpg", "chelsea.jpg")

    async def ask() -> list[bytes]:
        client = await over_unix_socket_aio(InferenceServerClient("box"), service.socket)
        async with client:
            assert await client.is_model_ready(MODEL)
            inputs = [InferInput("image", [1], "BYTES") for _ in names]
            for each, name in zip(inputs, names, strict=True):
                each.set_data_from_numpy(np.array([read_sample(name)], np.object_))
            wanted = InferRequestedOutput("logits", class_count=1)
            answers = await asyncio.gather(
                *(client.infer(MODEL, [each], outputs=[wanted]) for each in inputs)
            )
        return [answer.as_numpy("logits")[0, 0] for answer in answers]

    coffee, cat = asyncio.run(ask())

    assert b"espresso" in coffee
    assert cat.split(b":")[1] in {b"281", b"282", b"285"}


def test_a_refusal_is_the_clients_own_exception(service: Service) -> None:
    """The sentence and the status arrive."""

    async def ask() -> None:
        client = await over_unix_socket_aio(InferenceServerClient("box"), service.socket)
        async with client:
            await client.get_model_metadata("nothing")

    with pytest.raises(InferenceServerException, match="unknown model") as caught:
        asyncio.run(ask())
    assert "404" == caught.value.status()
