"""One change of an app at a time; other apps do not wait."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from appliance.deploying import turns as module
from appliance.deploying.chores import Chores
from appliance.deploying.turns import MAX_WAITING, Turns
from appliance.errors import Conflict


def test_another_name_does_not_wait() -> None:
    """Nor does the same one later."""
    turns = Turns()
    with turns.of("cat"), turns.of("dog"):
        pass
    with turns.of("cat"):
        pass

    assert {} == turns._turns


def test_one_after_another() -> None:
    """Whatever the threads."""
    turns = Turns()
    inside: list[int] = []

    def change(number: int) -> int:
        with turns.of("cat", is_patient=True):
            inside.append(number)
            seen = len(inside)
            inside.clear()
        return seen

    with ThreadPoolExecutor(8) as threads:
        assert {1} == set(threads.map(change, range(200)))


def test_a_crowd_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each that waits holds a thread of the box; the box itself may wait."""
    monkeypatch.setattr(module, "MAX_WAITING", 0)
    turns = Turns()
    is_done = threading.Event()

    def patient() -> None:
        with turns.of("cat", is_patient=True):
            is_done.set()

    with ThreadPoolExecutor(1) as thread:
        with turns.of("cat"):
            with pytest.raises(Conflict, match="app cat: 0 changes of it wait already"):
                turns.of("cat").__enter__()
            waiting = thread.submit(patient)
        waiting.result(30)

    assert is_done.is_set()
    assert MAX_WAITING > 0


def test_chores_are_done_in_order_by_one_thread(caplog: pytest.LogCaptureFixture) -> None:
    """Before `stop` returns; one that fails is logged and is the last of nothing."""
    done: list[str] = []
    chores = Chores()
    chores.put(lambda: done.append(threading.current_thread().name))
    chores.put(lambda: done.append(str(1 // 0)))
    chores.start()
    chores.put(lambda: done.append("last"))
    chores.stop()

    assert ["deploys", "last"] == done
    assert "chore of a deploy failed" in caplog.text
