import logging
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import BadRequest, Conflict, Unavailable
from appliance.store import PredictionQuery, PredictionStore
from tests.appliance.store.rows import NOW, predict

ALL = PredictionQuery(limit=1000)


def sequences(store: PredictionStore, query: PredictionQuery) -> list[int]:
    return [p.sequence for p in store.query(query)]


def test_what_is_appended_is_found(store: PredictionStore) -> None:
    """Every field comes back, with the id that append gave."""
    prediction = predict(3)
    (id_,) = store.append([prediction])

    assert store.query(ALL) == [replace(prediction, id=id_)]


def test_an_answer_without_label_and_score_is_kept(store: PredictionStore) -> None:
    """Text guests name none."""
    store.append([predict(label=None, score=None, data={"text": "a\0b"})])

    (found,) = store.query(ALL)
    assert (found.label, found.score, found.data) == (None, None, {"text": "a\0b"})


def test_appending_nothing_does_nothing(store: PredictionStore) -> None:
    """No rows, no ids."""
    assert store.append([]) == []


@pytest.mark.parametrize(
    ("query", "found"),
    [
        pytest.param(PredictionQuery(), [3, 2, 1, 0], id="all, newest first"),
        pytest.param(PredictionQuery(app="dog"), [1], id="app"),
        pytest.param(PredictionQuery(source="yard"), [2], id="camera"),
        pytest.param(PredictionQuery(label="tiger"), [3], id="label"),
        pytest.param(PredictionQuery(min_score=0.9), [2], id="score is inclusive"),
        pytest.param(PredictionQuery(since=NOW + 2), [3, 2], id="since is inclusive"),
        pytest.param(PredictionQuery(until=NOW + 2), [1, 0], id="until is exclusive"),
        pytest.param(PredictionQuery(sequence=2), [2], id="frame"),
        pytest.param(PredictionQuery(sequence=2, source="door"), [], id="frame of a camera"),
        pytest.param(PredictionQuery(min_score=0.5, since=NOW + 2), [3, 2], id="score and time"),
        pytest.param(PredictionQuery(min_score=0.5, before_id=4), [2, 1], id="score and cursor"),
        pytest.param(PredictionQuery(since=NOW + 1, after_id=3), [3], id="time and cursor"),
        pytest.param(PredictionQuery(label="tabby", until=NOW + 2), [1, 0], id="label and time"),
        pytest.param(PredictionQuery(after_id=2), [3, 2], id="after"),
        pytest.param(PredictionQuery(before_id=3), [1, 0], id="before"),
        pytest.param(PredictionQuery(limit=2), [3, 2], id="limit"),
        pytest.param(PredictionQuery(after_id=1, limit=2, oldest_first=True), [1, 2], id="resume"),
        pytest.param(PredictionQuery(app="cat", label="tiger", since=NOW + 9), [], id="and"),
        pytest.param(PredictionQuery(app="' OR 1 --"), [], id="no SQL from outside"),
    ],
)
def test_a_query_filters(store: PredictionStore, query: PredictionQuery, found: list[int]) -> None:
    """Conditions are joined by and."""
    store.append([
        predict(0, score=None),
        predict(1, app="dog"),
        predict(2, source="yard", score=0.9),
        predict(3, label="tiger"),
    ])  # fmt: skip

    assert sequences(store, query) == found


def test_count_ignores_the_limit(store: PredictionStore) -> None:
    """It says how many there are to fetch."""
    store.append([predict(n) for n in range(5)])

    assert store.count(PredictionQuery(limit=1)) == 5
    assert store.count(PredictionQuery(app="dog")) == 0


@pytest.mark.parametrize(
    "given",
    [
        {"limit": 0},
        {"limit": 1001},
        {"after_id": -1},
        {"before_id": 2**63},
        {"sequence": 2**63},
        {"label": "\ud800"},
    ],
    ids=["none", "many", "negative", "over 63 bits", "huge frame", "no Unicode"],
)
def test_a_bad_query_is_refused(given: dict[str, Any]) -> None:
    """The sentence names the parameter."""
    with pytest.raises(BadRequest, match=f"^{next(iter(given))}: got "):
        PredictionQuery(**given)


def test_retention_keeps_the_newest_rows(store: PredictionStore) -> None:
    """Over max_rows the oldest go, across more than one chunk."""
    store.append([predict(n) for n in range(1100)])

    assert store.retain(max_rows=3, max_age_s=1e9) == 1097
    assert sequences(store, ALL) == [1099, 1098, 1097]


def test_retention_ends_with_age(store: PredictionStore) -> None:
    """Older than max_age_s goes; exactly as old stays."""
    store.append([predict(n, emitted_at=NOW - 10 * n) for n in range(4)])

    assert store.retain(max_rows=100, max_age_s=20.0) == 1
    assert sequences(store, ALL) == [2, 1, 0]


def test_retention_of_little_deletes_nothing(store: PredictionStore) -> None:
    """Under both limits nothing happens."""
    store.append([predict(0)])

    assert store.retain(max_rows=1, max_age_s=1e9) == 0


def test_ids_are_never_used_twice(path: Path) -> None:
    """Not after a deletion, nor a restart: a client's cursor stays good."""
    with PredictionStore(path, clock=lambda: NOW) as store:
        (first,) = store.append([predict(emitted_at=0.0)])
        store.retain(max_rows=1, max_age_s=1.0)
    with PredictionStore(path) as store:
        (second,) = store.append([predict()])

    assert second > first


def test_a_kill_loses_nothing_that_was_confirmed(path: Path) -> None:
    """After append has returned, kill -9 may come."""
    program = (
        "import sys; from pathlib import Path\n"
        "from appliance.records import Prediction\n"
        "from appliance.store import PredictionStore\n"
        "store = PredictionStore(Path(sys.argv[1])); store.open()\n"
        "store.append([Prediction('a', 'v', 's', 1, 0.0, 0.0, None, None, {})])\n"
        "print('stored', flush=True); sys.stdin.read()\n"
    )
    root = Path(__file__).resolve().parents[3]
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root,
    )  # fmt: skip
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"stored\n"
        child.send_signal(signal.SIGKILL)

    with PredictionStore(path) as store:
        assert store.count(ALL) == 1


def test_threads_append_and_read_at_once(store: PredictionStore) -> None:
    """Ids are unique, none is lost, and a reader never fails."""

    def work(number: int) -> list[int]:
        ids = store.append([predict(number), predict(number)])
        store.query(ALL)
        return ids

    with ThreadPoolExecutor(8) as pool:
        ids = [i for made in pool.map(work, range(100)) for i in made]

    assert len(set(ids)) == 200
    assert store.count(ALL) == 200


def test_a_foreign_file_is_set_aside(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What is no database is kept under another name, told once, and a new one begun."""
    path.write_bytes(b"this is no database" * 100)
    with PredictionStore(path, clock=lambda: NOW) as store:
        store.append([predict()])

        assert store.count(ALL) == 1
        assert store.statistics().set_aside == 1
    kept = path.with_name("predictions.db.corrupt-1700000000")
    assert kept.read_bytes().startswith(b"this is no database")
    assert [r.levelno for r in caplog.records] == [logging.ERROR]
    assert f"kept={kept.name} cause=file is not a database" in caplog.text


def damage(path: Path) -> None:
    """Overwrite every page but the first; only what reads the rows will notice."""
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (path.stat().st_size - 4096))


@pytest.mark.parametrize("call", ["append", "query"])
def test_damage_found_later_is_set_aside_too(path: Path, call: str) -> None:
    """The call that finds it is served from the new file."""
    with PredictionStore(path) as store:
        store.append([predict(n) for n in range(50)])
    damage(path)
    with PredictionStore(path, clock=lambda: NOW) as store:
        calls: dict[str, Callable[[], Any]] = {
            "append": lambda: store.append([predict()]),
            "query": lambda: store.query(ALL),
        }
        answer = calls[call]()

        assert answer == {"append": [1], "query": []}[call]
        assert store.statistics().set_aside == 1
    assert path.with_name("predictions.db.corrupt-1700000000").exists()


def test_two_damages_in_one_second_are_both_kept(path: Path) -> None:
    """No damaged file overwrites another."""
    for _ in range(2):
        path.write_bytes(b"no database" * 100)
        with PredictionStore(path, clock=lambda: NOW):
            pass

    names = sorted(p.name for p in path.parent.iterdir() if "corrupt" in p.name)
    assert names == [
        "predictions.db.corrupt-1700000000", "predictions.db.corrupt-1700000000-2",
    ]  # fmt: skip


def test_a_full_disk_fails_the_call_only(store: PredictionStore) -> None:
    """All or nothing is stored, and with space again the store works."""
    assert store._connections._writer is not None
    (pages,) = store._connections._writer.execute("PRAGMA page_count").fetchone()
    store._connections._writer.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(Unavailable, match=r"^predictions: .* is full; check the disk") as refusal:
        store.append([predict(n, data={"text": "x" * 5000}) for n in range(20)])
    rows_while_full = store.count(ALL)
    store._connections._writer.execute("PRAGMA max_page_count = 1000000")
    store.append([predict()])

    assert refusal.value.retry_after_s > 0
    assert (rows_while_full, store.count(ALL)) == (0, 1)
    assert store.statistics().failed == 1


def test_a_read_only_database_fails_the_call_only(store: PredictionStore) -> None:
    """Reading goes on."""
    assert store._connections._writer is not None
    store._connections._writer.execute("PRAGMA query_only = 1")
    with pytest.raises(Unavailable, match="attempt to write a readonly database"):
        store.append([predict()])

    assert store.query(ALL) == []


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    """Opening fails with our error, and can be tried again."""
    store = PredictionStore(tmp_path / "later" / "predictions.db")
    with pytest.raises(Unavailable, match="unable to open database file"):
        store.open()
    os.mkdir(tmp_path / "later")

    store.open()
    store.close()


def test_a_newer_file_is_left_alone(path: Path) -> None:
    """An older box does not touch what a newer one wrote."""
    newer = sqlite3.connect(path)
    newer.execute("PRAGMA user_version = 99")
    newer.close()

    with pytest.raises(Conflict, match="got schema 99, wanted at most 2"):
        PredictionStore(path).open()


def test_a_closed_store_says_so(path: Path) -> None:
    """Closing and opening twice does nothing; between, calls are refused."""
    store = PredictionStore(path)
    store.open()
    store.open()
    store.close()
    store.close()

    with pytest.raises(Unavailable, match="the store is closed"):
        store.append([predict()])
    with pytest.raises(Unavailable, match="the store is closed"):
        store.query(ALL)
    assert repr(store) == "<PredictionStore closed>"


def test_statistics_tell_the_state(store: PredictionStore) -> None:
    """A snapshot of rows and counters."""
    store.append([predict(n) for n in range(3)])
    store.retain(max_rows=2, max_age_s=1e9)
    statistics = store.statistics()

    assert (statistics.rows, statistics.newest_id) == (2, 3)
    assert statistics.oldest_emitted_at == NOW + 1
    assert (statistics.appended, statistics.deleted, statistics.failed) == (3, 1, 0)
    assert statistics.size_bytes > 0
    assert statistics.used_bytes > 0
    assert statistics.commits == 1
    assert repr(store) == "<PredictionStore open appended=3 commits=1 deleted=1>"


def test_an_empty_store_has_no_newest(store: PredictionStore) -> None:
    """None, not 0."""
    statistics = store.statistics()

    assert (statistics.rows, statistics.newest_id, statistics.oldest_emitted_at) == (0, None, None)
