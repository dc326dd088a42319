"""Streams of a real box, over its restart."""

from typing import Any

from appliance.client import Event, Prediction
from tests.appliance import watguests as guests
from tests.appliance.client.conftest import Call, Take
from tests.appliance.service import Service


def labels(events: list[Event]) -> list[tuple[int | None, str | None]]:
    return [(event.id, event.label) for event in events if isinstance(event, Prediction)]


def test_a_stream_outlives_its_box(service: Service, picture: bytes, take: Take) -> None:
    """What was predicted while nobody was connected comes first, and nothing comes twice."""
    service.deploy("steady", guests.STEADY)
    service.deploy("other", guests.labelled("other"))
    made: list[tuple[int, str]] = []

    def show(times: int) -> None:
        for name in ("steady", "other") * times:
            (row,) = service.show(name, picture).json()["predictions"]
            made.append((row["id"], row["label"]))

    def meanwhile(taken: list[Event]) -> None:
        if len(taken) in (0, 1):
            show(1)
        elif len(taken) == 2:
            show(2)
            service.end()
            service.start()
            show(1)

    taken = take(service.socket, 5, meanwhile, app="steady")
    assert [row for row in made if row[1] == "steady"] == labels(taken)


def test_a_stream_of_the_past(service: Service, picture: bytes, take: Take) -> None:
    """After an id, by every filter."""
    service.deploy("steady", guests.STEADY)
    ids = [service.show("steady", picture).json()["predictions"][0]["id"] for _ in range(4)]

    def nothing(_: Any) -> None:
        return None

    taken = take(
        service.socket, 2, nothing, after=ids[1], app="steady", camera="api", label="steady",
        min_score=0.5,
    )  # fmt: skip
    assert [(ids[2], "steady"), (ids[3], "steady")] == labels(taken)


def test_sums(service: Service, picture: bytes, call: Call, kind: str) -> None:
    """The most frequent label first."""
    service.deploy(kind, guests.labelled("summed"))
    for _ in range(3):
        service.show(kind, picture)
    found = call(service.socket, "summary", 60, app=kind)

    assert (3, 60) == (found.total, found.interval_s)
    assert [("summed", 3, 0.5)] == [(x.label, x.count, x.mean_score) for x in found.labels]
    assert 3 == sum(bucket.count for bucket in found.buckets)
