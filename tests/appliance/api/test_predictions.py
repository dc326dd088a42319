"""The history over the socket: filters and pages."""

from typing import Any

import pytest

from tests.appliance import watguests as guests
from tests.appliance.service import Service


@pytest.fixture(scope="module")
def history(service: Service, picture: bytes) -> list[dict[str, Any]]:
    """Seven predictions, newest first: cat 0.25, dog 0.75, a text, in turn."""
    for name, wasm in (
        ("cats", guests.emitting(b'{"label": "cat", "score": 0.25, "box": [1, 2]}')),
        ("dogs", guests.emitting(b'{"label": "dog", "score": 0.75}')),
        ("texts", guests.printing(b"just text\n\n")),
    ):
        assert service.deploy(name, wasm).status_code == 200
    sent = [
        service.show(("cats", "dogs", "texts")[number % 3], picture).json()["predictions"][0]
        for number in range(7)
    ]
    return sent[::-1]


def ask(service: Service, **filters: Any) -> dict[str, Any]:
    response = service.http.get("/v1/predictions", params=filters)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_what_was_answered_is_what_is_kept(service: Service, history: list[dict[str, Any]]) -> None:
    """Same ids, same data, newest first, and no page after the last."""
    assert {"predictions": history, "next_before": None} == ask(service)


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        pytest.param({"app": "cats"}, 3, id="app"),
        pytest.param({"app": "nobody"}, 0, id="unknown app"),
        pytest.param({"camera": "api"}, 7, id="camera"),
        pytest.param({"camera": "door"}, 0, id="unknown camera"),
        pytest.param({"label": "dog"}, 2, id="label"),
        pytest.param({"min_score": 0.5}, 2, id="score"),
        pytest.param({"since": 0}, 7, id="since"),
        pytest.param({"until": 1000}, 0, id="until"),
        pytest.param({"label": "cat", "min_score": 0.25, "limit": 2}, 2, id="several"),
    ],
)
def test_filters_narrow(
    service: Service, history: list[dict[str, Any]], filters: dict[str, Any], count: int
) -> None:
    """All given filters hold at once."""
    assert count == len(ask(service, **filters)["predictions"])


def test_pages_are_complete_and_do_not_overlap(
    service: Service, history: list[dict[str, Any]]
) -> None:
    """Following next_before gives every prediction once."""
    first = ask(service, limit=3)
    second = ask(service, limit=3, before=first["next_before"])
    third = ask(service, limit=3, before=second["next_before"])

    assert history == first["predictions"] + second["predictions"] + third["predictions"]
    assert third["next_before"] is None


def test_the_guests_own_data_come_back_whole(
    service: Service, history: list[dict[str, Any]]
) -> None:
    """JSON stays JSON, text stays text."""
    (cat, *_) = ask(service, app="cats")["predictions"]
    (text, *_) = ask(service, app="texts")["predictions"]

    assert {"label": "cat", "score": 0.25, "box": [1, 2]} == cat["data"]
    assert ({"text": "just text"}, None, None) == (text["data"], text["label"], text["score"])
