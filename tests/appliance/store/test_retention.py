"""How much history is kept."""

from pathlib import Path

import pytest

from appliance.store import PredictionQuery, PredictionStore
from appliance.store.retention import MIN_BYTES
from tests.appliance.store.rows import NOW, predict

TEXT = {"text": "x" * 60_000}


def test_a_bounded_file_does_not_grow_beyond_its_bound(path: Path) -> None:
    """Whoever appends makes room; the newest are kept."""
    with PredictionStore(path, clock=lambda: NOW, max_bytes=MIN_BYTES) as store:
        for number in range(30):
            store.append([predict(20 * number + n, data=TEXT) for n in range(20)])
        statistics = store.statistics()
        (newest,) = store.query(PredictionQuery(limit=1))

    assert path.stat().st_size <= MIN_BYTES
    assert newest.sequence == 599
    assert statistics.deleted == 600 - statistics.rows > 0


def test_a_lowered_bound_makes_the_file_smaller(path: Path) -> None:
    """Retention deletes the oldest and gives the pages back to the disk."""
    with PredictionStore(path, clock=lambda: NOW) as store:
        store.append([predict(n, data=TEXT) for n in range(400)])
    large = path.stat().st_size
    with PredictionStore(path, clock=lambda: NOW, max_bytes=MIN_BYTES) as store:
        store.retain(max_rows=1000, max_age_s=1e9)

    assert large > MIN_BYTES >= path.stat().st_size


def test_a_full_history_is_not_emptied_for_a_full_disk(path: Path) -> None:
    """Only the bounds delete; a disk that refuses does not."""
    with PredictionStore(path, clock=lambda: NOW, max_bytes=MIN_BYTES) as store:
        store.append([predict(n) for n in range(300)])
        writer = store._connections._writer
        assert writer is not None
        (pages,) = writer.execute("PRAGMA page_count").fetchone()
        writer.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(Exception, match="full"):
            store.append([predict(data=TEXT)])
        store.retain(max_rows=1000, max_age_s=1e9)

        assert store.count(PredictionQuery()) == 300


def test_old_rows_amid_new_ones_go(store: PredictionStore) -> None:
    """A clock that was set back for a while."""
    store.append([predict(n) for n in range(300)])
    store.append([predict(n, emitted_at=NOW - 5000) for n in range(300, 600)])
    store.append([predict(n) for n in range(600, 900)])

    assert store.retain(max_rows=1000, max_age_s=1000.0) == 300
    assert store.count(PredictionQuery()) == 600


def test_everything_may_go(store: PredictionStore) -> None:
    """And what comes after is counted as before."""
    store.append([predict(n, emitted_at=0.0) for n in range(600)])
    store.retain(max_rows=1000, max_age_s=1.0)
    store.append([predict(n) for n in range(600)])

    assert store.count(PredictionQuery(since=NOW)) == 600
    assert store.query(PredictionQuery(limit=1))[0].id == 1200
