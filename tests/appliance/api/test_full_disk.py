"""A disk that takes no more, under a serving box."""

import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.appliance import watguests as guests
from tests.appliance.service import Service


@contextmanager
def full_disk(service: Service) -> Iterator[None]:
    """Let no file of the service grow beyond what the history's log has now."""
    pid, log = service.pid, service.state / "predictions.db-wal"
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (os.stat(log).st_size, hard))
    yield
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def box(service: Service, picture: bytes) -> Service:
    """A box with some history: its log is larger than all other files that it writes."""
    service.deploy("cats", guests.labelled("cat"))
    for _ in range(20):
        assert service.show("cats", picture).json()["is_stored"]
    return service


def test_inference_goes_on_without_a_disk(box: Service, picture: bytes) -> None:
    """Who asks and who follows get their predictions, and the history is as it was."""
    with box.http.stream(
        "GET", "/v1/predictions/stream", headers={"Accept": "application/x-ndjson"}
    ) as stream:
        lines = stream.iter_lines()
        assert next(lines) == ""
        with full_disk(box):
            answer = box.show("cats", picture).json()
            followed = json.loads(next(lines))
            kept = box.http.get("/v1/predictions").json()["predictions"]
        again = box.show("cats", picture).json()
        resumed = json.loads(next(lines))

    assert (answer["is_stored"], answer["predictions"][0]["id"]) == (False, None)
    assert (followed["id"], followed["label"]) == (None, "cat")
    assert len(kept) == 20
    assert again["is_stored"]
    assert resumed["id"] == again["predictions"][0]["id"] == kept[0]["id"] + 1
