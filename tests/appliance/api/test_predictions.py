"""The history over the socket: filters and pages."""

import csv
import io
import json
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


def test_a_frame_is_found(service: Service, history: list[dict[str, Any]]) -> None:
    """By its camera and number."""
    wanted = history[3]
    found = ask(service, camera="api", frame=wanted["sequence"])["predictions"]

    assert [wanted] == found


def test_the_history_comes_as_csv(service: Service, history: list[dict[str, Any]]) -> None:
    """For a spreadsheet: a header, a line each, all of them over several pages' limit."""
    response = service.http.get(
        "/v1/predictions", params={"limit": 5000}, headers={"Accept": "text/csv"}
    )
    rows = list(csv.DictReader(io.StringIO(response.text, newline="")))

    assert "text/csv; charset=utf-8; header=present" == response.headers["Content-Type"]
    assert [str(one["id"]) for one in history] == [row["id"] for row in rows]
    assert ["cat", "", "dog"] == [row["label"] for row in rows[:3]]
    assert history[0]["data"] == json.loads(rows[0]["data"])


def test_the_history_comes_as_ndjson(service: Service, history: list[dict[str, Any]]) -> None:
    """The same objects as in a page, filtered alike."""
    response = service.http.get(
        "/v1/predictions", params={"app": "cats"}, headers={"Accept": "application/x-ndjson"}
    )

    assert "application/x-ndjson" == response.headers["Content-Type"]
    assert ask(service, app="cats")["predictions"] == [
        json.loads(line) for line in response.text.splitlines()
    ]


@pytest.mark.parametrize("accept", ["application/json", "text/csv", "application/x-ndjson"])
def test_the_next_page_is_linked(
    service: Service, history: list[dict[str, Any]], accept: str
) -> None:
    """In the header, for forms that have no place for it; the filters stay."""
    headers = {"Accept": accept}
    first = service.http.get("/v1/predictions?label=cat&limit=2", headers=headers)
    link = first.links["next"]["url"]
    second = service.http.get(link, headers=headers)

    assert f"/v1/predictions?label=cat&limit=2&before={history[3]['id']}" == link
    assert str(history[6]["id"]) in second.text
    assert "next" not in second.links


def test_what_cannot_be_given_is_not_acceptable(service: Service) -> None:
    """With our error shape."""
    response = service.http.get("/v1/predictions", headers={"Accept": "text/html"})

    assert (406, "not_acceptable") == (response.status_code, response.json()["code"])
    assert "wanted any of application/json, text/csv" in response.json()["error"]


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("?lable=cat", "query.lable: "),
        ("?limit=0", "query.limit: "),
        ("?limit=1001", "limit: got 1001, wanted 1..1000"),
        ("?min_score=nan", "query.min_score: "),
        ("?min_score=high", "query.min_score: "),
        ("?since=inf", "query.since: "),
        ("?frame=-1", "query.frame: "),
        (f"?before={2**63}", "query.before: "),
        ("/summary?interval=0", "query.interval: "),
        ("/summary?interval=1&since=0", "interval: got 1 s for"),
        ("/summary?since=-5", "since: got -5.0, wanted Unix seconds"),
        ("/summary?since=2&until=1", "since: got 2.0, wanted at most until"),
        ("/summary?top=0", "query.top: "),
        ("/summary?until=1e300", "until: got 1e+300"),
    ],
)
def test_a_bad_question_is_refused(
    service: Service, history: list[dict[str, Any]], path: str, sentence: str
) -> None:
    """400, and the sentence names the parameter; a filter with a typing error is not ignored."""
    response = service.http.get(f"/v1/predictions{path}")

    assert (400, "bad_request") == (response.status_code, response.json()["code"])
    assert sentence in response.json()["error"]


def test_labels_are_counted(service: Service, history: list[dict[str, Any]]) -> None:
    """Per label and per interval."""
    answer = service.http.get("/v1/predictions/summary", params={"interval": 86400}).json()
    times = [one["emitted_at"] for one in history]

    assert [
        {"label": "cat", "count": 3, "mean_score": 0.25},
        {"label": None, "count": 2, "mean_score": None},
        {"label": "dog", "count": 2, "mean_score": 0.75},
    ] == answer["labels"]
    assert (min(times), 86400, 7, 0) == (
        answer["since"], answer["interval_s"], answer["total"], answer["others"]
    )  # fmt: skip
    assert max(times) < answer["until"]
    assert 7 == sum(bucket["count"] for bucket in answer["buckets"])


@pytest.mark.parametrize(
    ("filters", "total"),
    [({"app": "cats"}, 3), ({"camera": "door"}, 0), ({"label": "dog"}, 2), ({"min_score": 0.5}, 2)],
)
def test_a_summary_filters(
    service: Service, history: list[dict[str, Any]], filters: dict[str, Any], total: int
) -> None:
    """As the list does."""
    answer = service.http.get("/v1/predictions/summary", params=filters).json()

    assert total == answer["total"]


def test_openapi_names_every_form(service: Service) -> None:
    """Of the list and of the stream."""
    paths = service.http.get("/openapi.json").json()["paths"]
    forms = {
        path: set(paths[path]["get"]["responses"]["200"]["content"])
        for path in ("/v1/predictions", "/v1/predictions/stream", "/v1/predictions/summary")
    }

    assert {
        "/v1/predictions": {"application/json", "text/csv", "application/x-ndjson"},
        "/v1/predictions/stream": {"text/event-stream", "application/x-ndjson"},
        "/v1/predictions/summary": {"application/json"},
    } == forms
