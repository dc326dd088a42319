"""Whose turn it is to have a warm instance."""

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from appliance.guests.line import CATCH_UP
from appliance.guests.pool import InstancePool


class Item:
    """Something that can be closed."""

    closed = 0

    def close(self) -> None:
        self.closed += 1


class Lines(dict[str, deque[object]]):
    """The lines of a pool, which tell when somebody comes to one."""

    def __init__(self) -> None:
        super().__init__()
        self.came = threading.Semaphore(0)

    def setdefault(self, source: str, line: deque[object]) -> deque[object]:
        self.came.release()
        return super().setdefault(source, line)


class Queue:
    """A pool of one whose one is taken, and threads that wait for it in a known order."""

    def __init__(self) -> None:
        self.pool = InstancePool(1)
        self.pool._line.lines = self._lines = Lines()
        assert self.pool.take("first", 30) is None
        self.served: list[str] = []
        self._threads = ThreadPoolExecutor(16)

    def wait(self, source: str) -> Future[None]:
        """Let a thread wait in line; return when it does."""
        done = self._threads.submit(self._take, source)
        assert self._lines.came.acquire(timeout=30)
        with self.pool._lock:  # it came while it held the lock
            return done

    def _take(self, source: str) -> None:
        item = self.pool.take(source, 30)
        self.served.append(source)
        self.pool.give_back(item)

    def close(self) -> None:
        self._threads.shutdown()


@pytest.fixture
def queue() -> Iterator[Queue]:
    made = Queue()
    yield made
    made.close()


def test_sources_take_turns(queue: Queue) -> None:
    """One that asks four times at once is not served four times in a row."""
    waits = [queue.wait(source) for source in ("api", "api", "api", "door", "gate", "api")]
    queue.pool.give_back(Item())
    for done in waits:
        done.result(30)

    assert ["api", "door", "gate", "api", "api", "api"] == queue.served


def test_who_comes_again_at_once_does_not_overtake(queue: Queue) -> None:
    """What is given back belongs to who waits, before its last user can ask again."""
    waiting = queue.wait("door")
    queue.pool.give_back(Item())
    again = queue.pool.take("first", 30)
    waiting.result(30)

    assert (["door"], True) == (queue.served, isinstance(again, Item))


def test_who_waits_makes_the_next_where_one_was_thrown_away(queue: Queue) -> None:
    """The right to one is handed over like one."""
    taken = threading.Thread(target=queue._take, args=("door",))
    taken.start()
    queue.pool.throw_away()
    taken.join(30)

    assert ["door"] == queue.served
    assert 1 == queue.pool._alive


def test_who_waits_too_long_leaves_the_line(queue: Queue) -> None:
    """And nothing is ever handed to nobody."""
    with pytest.raises(TimeoutError):
        queue.pool.take("door", 0.001)
    queue.pool.give_back(Item())

    assert "[Instances: 1 of 1, 1 idle]" == repr(queue.pool)


def test_a_closed_pool_closes_what_comes_back() -> None:
    """Those that are idle at once, the others when they are given back."""
    pool, idle, busy = InstancePool(2), Item(), Item()
    pool.take("a", 1)
    pool.take("a", 1)
    pool.give_back(idle)
    pool.close()
    assert (1, 0) == (idle.closed, busy.closed)
    pool.give_back(busy)

    assert (1, "[Instances: 0 of 2, 0 idle]") == (busy.closed, repr(pool))


def test_idleness_earns_no_more_than_catching_up(queue: Queue) -> None:
    """A source that was silent for a thousand frames does not get a thousand at once."""
    for _ in range(1000):
        queue.pool.give_back(Item())
        queue.pool.take("busy", 30)
    waits = [queue.wait(source) for source in ["busy"] * 3 + ["silent"] * 12]
    queue.pool.give_back(Item())
    for done in waits:
        done.result(30)

    assert CATCH_UP <= queue.served.index("busy") <= CATCH_UP + 1
    assert ["silent"] * 3 != queue.served[-3:]
