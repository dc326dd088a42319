"""Threads of which the one that was busy last is busy next."""

import asyncio
import threading
import weakref
from collections.abc import Iterator

import pytest
import uvloop

from appliance.api.warm import WarmThreads


@pytest.fixture
def threads() -> Iterator[WarmThreads]:
    made = WarmThreads(4, "warm")
    yield made
    made.shutdown()


class _Hold:
    """Work that waits until it is let go."""

    def __init__(self, threads: WarmThreads) -> None:
        self.begun, self._free = threading.Event(), threading.Event()
        self.future = threads.submit(self._work)

    def _work(self) -> threading.Thread:
        self.begun.set()
        assert self._free.wait(30)
        return threading.current_thread()

    def end(self, threads: WarmThreads) -> threading.Thread:
        """Let it go. Returns: its thread, which waits for work again."""
        self._free.set()
        thread = self.future.result(30)
        # What is answered is not idle yet: that takes the executor's lock.
        while thread not in [worker.thread for worker in tuple(threads._idle)]:
            pass
        return thread


def test_the_last_to_be_busy_is_the_next(threads: WarmThreads) -> None:
    """Whatever the others did, and in whatever order they were started."""
    first, second, third = _Hold(threads), _Hold(threads), _Hold(threads)
    ended = [hold.end(threads) for hold in (third, first, second)]
    assert 3 == len(set(ended))

    again = [_Hold(threads) for _ in range(3)]

    assert ended[::-1] == [hold.end(threads) for hold in again]


def test_no_more_threads_than_the_bound(threads: WarmThreads) -> None:
    """What is more waits, and is done in order."""
    holds = [_Hold(threads) for _ in range(4)]
    for hold in holds:
        assert hold.begun.wait(30)
    order: list[int] = []
    waiting = [threads.submit(order.append, number) for number in range(8)]
    assert not any(future.done() for future in waiting)

    holds[0].end(threads)
    for future in waiting:
        future.result(30)

    assert list(range(8)) == order
    for hold in holds[1:]:
        hold.end(threads)
    assert 4 == len(threads._all)


def test_what_is_raised_is_the_futures(threads: WarmThreads) -> None:
    """The thread goes on."""
    failed = threads.submit(int, "cat")

    with pytest.raises(ValueError, match="cat"):
        failed.result(30)
    assert 7 == threads.submit(int, "7").result(30)


def test_nothing_of_a_request_is_kept(threads: WarmThreads) -> None:
    """Neither its body nor its answer, while the thread waits."""

    class Body:
        pass

    def attempt() -> "weakref.ref[Body]":
        body = Body()
        assert threads.submit(lambda: body).result(30) is body
        return weakref.ref(body)

    seen = attempt()
    # The thread lets go of it before it takes anything else.
    threads.submit(int).result(30)

    assert seen() is None


def test_a_shut_down_executor_finishes_what_it_has(threads: WarmThreads) -> None:
    """And takes nothing new; what was not begun may be cancelled."""
    holds = [_Hold(threads) for _ in range(4)]
    for hold in holds:
        assert hold.begun.wait(30)
    dropped = [threads.submit(int) for _ in range(2)]
    threads.shutdown(wait=False, cancel_futures=True)
    for hold in holds:
        hold._free.set()
    threads.shutdown()

    assert all(future.cancelled() for future in dropped)
    assert all(hold.future.done() for hold in holds)
    with pytest.raises(RuntimeError, match="shut down"):
        threads.submit(int)


def test_an_event_loop_takes_it_for_its_own() -> None:
    """And shuts it down at its end."""
    made = WarmThreads(2, "warm")

    async def ask() -> str:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(made)
        return await loop.run_in_executor(None, lambda: threading.current_thread().name)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert "warm_0" == runner.run(ask())

    assert not any(worker.thread.is_alive() for worker in made._all)
