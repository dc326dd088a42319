"""A history in which something is damaged, in every place that a disk may choose."""

import os
import random
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from appliance.errors import ApplianceError
from appliance.store import PredictionQuery, PredictionStore, SummaryQuery
from tests.appliance.store.rows import predict

ALL = PredictionQuery(limit=1000)
ROWS = 300


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with some history."""
    path = tmp_path / "predictions.db"
    with PredictionStore(path) as store:
        store.append([predict(n) for n in range(ROWS)])
    return path


def scribble(path: Path, seed: int) -> None:
    """Write noise to a few places of a file."""
    dice = random.Random(seed)
    with path.open("r+b") as file:
        for _ in range(dice.choice([1, 3, 10])):
            file.seek(dice.randrange(path.stat().st_size))
            file.write(dice.randbytes(dice.choice([1, 4, 64, 512, 4096])))


@pytest.mark.parametrize("seed", range(30))
def test_damage_anywhere_ends_in_our_own_error_or_none(path: Path, seed: int) -> None:
    """At the start or while it runs; afterwards the store works."""
    calls: tuple[Callable[[PredictionStore], object], ...] = (
        lambda store: store.query(ALL),
        lambda store: store.summary(SummaryQuery()),
        lambda store: store.statistics(),
        lambda store: store.append([predict()]),
        lambda store: store.retain(max_rows=100, max_age_s=1e12),
    )
    with PredictionStore(path) as store:
        scribble(path, seed)
        for call in calls:
            with suppress(ApplianceError):
                call(store)
    with PredictionStore(path) as store:
        (id_,) = store.append([predict()])

        assert id_ == store.query(PredictionQuery(limit=1))[0].id


@pytest.mark.parametrize(
    "damage",
    ["data = '{\"n\": '", "data = '[1]'", "app = ''", "captured_at = 'x'", "score = 9e999",
     "label = 'a' || char(0)", "sequence = 'x'", "data = CAST(x'7b22ff' AS TEXT)",
     "app = CAST(x'ff' AS TEXT)", "source = x'00'"],
)  # fmt: skip
def test_a_damaged_row_hides_no_other(path: Path, damage: str) -> None:
    """It is shown as what is left of it; those around it are whole."""
    connection = sqlite3.connect(path)
    connection.execute(f"UPDATE predictions SET {damage} WHERE id = 2")
    connection.commit()
    connection.close()
    with PredictionStore(path) as store:
        first, second, third = store.query(PredictionQuery(limit=3, oldest_first=True))

    assert [1, 2, 3] == [first.id, second.id, third.id]
    assert (predict(0).data, predict(2).data) == (first.data, third.data)


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
def test_what_is_no_file_is_set_aside(path: Path, suffix: str) -> None:
    """A folder where the file or its log belongs; with what is in it."""
    file = path.with_name(path.name + suffix)
    file.unlink(missing_ok=True)
    (file / "inside").mkdir(parents=True)
    with PredictionStore(path) as store:
        store.append([predict()])
        rows, counts, problems = store.count(ALL), store.counts(), store.problems()

    (aside,) = path.parent.glob(f"{file.name}.corrupt-*")
    assert (aside / "inside").is_dir()
    assert (1 if suffix == "" else ROWS + 1) == rows
    assert (1, 1) == (counts.set_aside, len(problems))


def test_a_log_of_noise_is_kept_beside(path: Path) -> None:
    """SQLite would pass over it without a word, and what it held would be gone."""
    noise = os.urandom(4096)
    path.with_name("predictions.db-wal").write_bytes(b"\0" + noise)
    with PredictionStore(path) as store:
        assert ROWS == store.count(ALL)

    (aside,) = path.parent.glob("predictions.db-wal.corrupt-*")
    assert b"\0" + noise == aside.read_bytes()


def test_missed_predictions_are_counted_and_logged_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """When it begins and when it ends, however many there are."""
    with PredictionStore(path) as store:
        store.append([predict()])
        assert store._connections._writer is not None
        store._connections._writer.execute("PRAGMA max_page_count = 1")
        for _ in range(3):
            with pytest.raises(ApplianceError, match="is full"):
                store.append([predict(data={"text": "x" * 5000}) for _ in range(9)])
        problems = store.problems()
        store._connections._writer.execute("PRAGMA max_page_count = 1000000")
        store.append([predict()])

        assert (27, [True]) == (store.counts().missed, ["not stored" in p for p in problems])
        assert [] == store.problems()
    said = [record.getMessage() for record in caplog.records]
    assert 1 == len([text for text in said if "not stored from now on" in text])
    assert "predictions stored again missed=27" in said
