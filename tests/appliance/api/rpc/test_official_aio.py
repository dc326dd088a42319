"""`tritonclient.grpc.aio`, calls and streams, against a serving box."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tritonclient.grpc import InferInput, InferRequestedOutput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

MODEL = "efficientnet-lite0"

Put = Callable[..., InferInput]


def test_calls_beside_each_other_are_all_answered(
    url: str, read_sample: Callable[[str], bytes], put_pictures: Put
) -> None:
    """Sixteen under way, each with its own answer."""
    names = ["coffee.jpg", "chelsea.jpg"] * 8
    inputs = [put_pictures(read_sample(name)) for name in names]
    outputs = [InferRequestedOutput("logits", class_count=1)]

    async def classify() -> list[bytes]:
        async with InferenceServerClient(url) as client:
            assert await client.is_server_ready()
            results = await asyncio.gather(
                *(client.infer(MODEL, [given], outputs=outputs) for given in inputs)
            )
        return [result.as_numpy("logits")[0, 0].split(b":")[2] for result in results]

    found = asyncio.run(classify())

    assert {b"espresso"} == set(found[0::2])
    assert b"espresso" not in found[1::2]
    assert 1 == len(set(found[1::2]))


def test_metadata_and_statistics_are_answered(url: str) -> None:
    """The same methods under asyncio."""

    async def ask() -> tuple[Any, Any]:
        async with InferenceServerClient(url) as client:
            return await client.get_model_config(MODEL), await client.get_inference_statistics()

    config, counted = asyncio.run(ask())

    assert MODEL == config.config.name
    assert MODEL in {model.name for model in counted.model_stats}


def test_a_stream_answers_in_order(url: str, put_tensor: Put) -> None:
    """An error in the middle is one answer among the others."""

    async def requests() -> AsyncIterator[dict[str, Any]]:
        for number, model in enumerate([MODEL, "nobody", MODEL]):
            yield {"model_name": model, "inputs": [put_tensor(1)], "request_id": str(number)}

    async def talk() -> list[tuple[Any, Any]]:
        async with InferenceServerClient(url) as client:
            return [told async for told in client.stream_infer(requests())]

    (first, _), (_, error), (last, _) = asyncio.run(talk())

    assert ["0", "2"] == [first.get_response().id, last.get_response().id]
    assert "nobody" in str(error)


def test_a_cancelled_task_cancels_its_call(url: str, put_tensor: Put) -> None:
    """And the next call on the same channel is answered."""

    async def leave() -> bool:
        async with InferenceServerClient(url) as client:
            task = asyncio.create_task(client.infer(MODEL, [put_tensor(8)]))
            await client.is_server_live()
            task.cancel()
            with pytest.raises((asyncio.CancelledError, InferenceServerException)):
                await task
            return await client.is_server_live()

    assert asyncio.run(leave())
