"""How predictions are found: by what, and in which order."""

from typing import Any

import pytest

from appliance.store import PredictionQuery, PredictionStore
from appliance.store.query import plan
from tests.appliance.store.rows import NOW, predict


@pytest.mark.parametrize(
    ("given", "index"),
    [
        ({"app": "x"}, "of_app (app=? AND id>? AND id<?)"),
        ({"source": "x"}, "of_source (source=? AND id>? AND id<?)"),
        ({"label": "x"}, "of_label (label=? AND id>? AND id<?)"),
        ({"label": "x", "app": "x", "source": "x"}, "of_label (label=? AND id>? AND id<?)"),
        ({"label": "x", "since": NOW, "min_score": 0.5}, "of_label (label=? AND id>? AND id<?)"),
        ({"source": "x", "app": "x"}, "of_source (source=? AND id>? AND id<?)"),
        ({"app": "x", "until": NOW}, "of_app (app=? AND id>? AND id<?)"),
        ({"sequence": 1, "source": "x"}, "of_frame (sequence=? AND source=? AND rowid>?"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else "",
)
def test_a_name_is_found_by_its_index(
    store: PredictionStore, given: dict[str, Any], index: str
) -> None:
    """Newest first as it stands there, so that nothing is sorted."""
    (step,) = store._connections.read(lambda c: plan(c, PredictionQuery(**given)))

    assert step.startswith(f"SEARCH p USING INDEX predictions_{index}")


@pytest.mark.parametrize("given", [{"min_score": 0.5}, {"since": NOW}, {"until": NOW}])
def test_a_bound_is_found_by_the_segments(store: PredictionStore, given: dict[str, Any]) -> None:
    """Segments that cannot have it are skipped, and nothing is sorted."""
    steps = store._connections.read(lambda c: plan(c, PredictionQuery(**given)))

    assert [step.split(" ")[:2] for step in steps] == [["SEARCH", "s"], ["SEARCH", "p"]]


@pytest.mark.parametrize("rows", [255, 256, 257, 600])
@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"min_score": 0.9}, [200, 100, 0]),
        ({"since": NOW + 200, "until": NOW + 203}, [202, 201, 200]),
        ({"label": "tiger", "since": NOW + 1}, [200, 100]),
        ({"until": NOW + 3}, [2, 1, 0]),
        ({"min_score": 0.9, "since": NOW + 1, "until": NOW + 150}, [100]),
        ({"min_score": 0.9, "after_id": 1, "oldest_first": True}, [100, 200]),
        ({"min_score": 0.9, "before_id": 201}, [100, 0]),
    ],
)
def test_what_is_folded_and_what_is_not_are_found_alike(
    store: PredictionStore, rows: int, given: dict[str, Any], found: list[int]
) -> None:
    """Around the end of a segment nothing is missed or doubled."""
    special = {n: {"score": 0.9, "label": "tiger"} for n in (0, 100, 200)}
    store.append([predict(n, **special.get(n, {})) for n in range(rows)])

    assert [p.sequence for p in store.query(PredictionQuery(**given))] == found


def test_a_clock_set_back_hides_nothing(store: PredictionStore) -> None:
    """Times need not grow with the ids."""
    store.append([predict(n) for n in range(300)])
    store.append([predict(n, emitted_at=NOW - 5000 + n) for n in range(300, 600)])
    store.append([predict(n) for n in range(600, 900)])
    early = PredictionQuery(until=NOW - 5000 + 302)
    late = PredictionQuery(since=NOW + 899)
    amid = PredictionQuery(label="tabby", since=NOW + 299, until=NOW + 601)

    assert [p.sequence for p in store.query(early)] == [301, 300]
    assert [p.sequence for p in store.query(late)] == [899]
    assert [p.sequence for p in store.query(amid)] == [600, 299]


@pytest.mark.parametrize(
    ("given", "is_match"),
    [
        ({}, True),
        ({"app": "cat", "source": "door", "label": "tabby"}, True),
        ({"app": "dog"}, False),
        ({"source": "yard"}, False),
        ({"label": "tiger"}, False),
        ({"sequence": 4}, False),
        ({"min_score": 0.5}, True),
        ({"min_score": 0.51}, False),
        ({"since": NOW + 3}, True),
        ({"until": NOW + 3}, False),
    ],
)
def test_a_query_tells_what_matches(given: dict[str, Any], is_match: bool) -> None:
    """As the database would, for what is not read from it."""
    assert PredictionQuery(**given).matches(predict(3)) == is_match


def test_without_a_score_there_is_no_high_one() -> None:
    """None is not compared."""
    assert not PredictionQuery(min_score=0.0).matches(predict(score=None))
