"""Requests with little to say, and what becomes of them."""

from collections.abc import Sequence
from typing import Any

from appliance.batching import Batcher
from appliance.requests import BatchPolicy, Request

EIGHT = BatchPolicy(max_batch_rows=8)


def request(id: int, graph: str = "g", **rest: Any) -> Request:
    defaults = {"rows": 1, "key": "k", "owner": "ann", "arrived_s": 0.0, "policy": EIGHT}
    return Request(id, graph, **{**defaults, **rest})


def queue(*requests: Request, **options: Any) -> Batcher:
    batcher = Batcher(**options)
    for one in requests:
        assert batcher.offer(one) == ()
    return batcher


def ids(requests: Sequence[Request]) -> list[int]:
    return [one.id for one in requests]


def all_batches(batcher: Batcher, now: float = 0.0) -> list[list[int]]:
    batches = []
    while batch := batcher.decide(now, 1, 1).batch:
        batches.append(ids(batch))
    return batches
