"""Threads for requests, of which the one that was busy last is busy next.

Its caches are warm, and the core it ran on is likely free again. The standard pool wakes whoever
has slept longest: beside a dozen clients whose requests were refused in a millisecond each, one
that wanted a picture classified was handed from thread to thread, and a sixth of its rate was lost.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

Given = ParamSpec("Given")
Done = TypeVar("Done")

# The future of a piece of work, and the work.
_Job = tuple["Future[Any]", Callable[[], Any]]


class WarmThreads(ThreadPoolExecutor):
    """An executor; threads are started when needed and kept until it is shut down.

    A `ThreadPoolExecutor` by its public methods only: event loops take no other for their own.
    max_threads: what is more waits, in order.   name: of the threads, before their numbers.
    """

    def __init__(self, max_threads: int, name: str) -> None:
        super().__init__(max_threads, name)
        self._bound = max_threads
        self._name = name
        self._guard = threading.Lock()
        self._all: list[_Worker] = []
        # The last one is the warmest.
        self._idle: list[_Worker] = []
        self._backlog: deque[_Job] = deque()
        self._is_shut = False

    def submit(
        self, fn: Callable[Given, Done], /, *args: Given.args, **kwargs: Given.kwargs
    ) -> "Future[Done]":
        """See `Executor.submit`. Raises: RuntimeError once it is shut down."""
        future: Future[Done] = Future()
        job = (future, lambda: fn(*args, **kwargs))
        with self._guard:
            if self._is_shut:
                raise RuntimeError("threads: shut down, nothing new is begun")
            if self._idle:
                self._idle.pop().give(job)
            elif len(self._all) < self._bound:
                worker = _Worker(self._next, job, f"{self._name}_{len(self._all)}")
                worker.thread.start()
                self._all.append(worker)
            else:
                self._backlog.append(job)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """See `Executor.shutdown`."""
        with self._guard:
            self._is_shut = True
            idle, self._idle = self._idle, []
            dropped = list(self._backlog) if cancel_futures else []
            if cancel_futures:
                self._backlog.clear()
        for worker in idle:
            worker.give(None)
        for future, _ in dropped:
            future.cancel()
        if wait:
            for worker in self._all:
                worker.thread.join()

    def _next(self, worker: "_Worker") -> _Job | None:
        """Find a worker's next job, who waits for one if there is none; None at the end."""
        with self._guard:
            if self._backlog:
                return self._backlog.popleft()
            if self._is_shut:
                return None
            self._idle.append(worker)
        return worker.wait()


class _Worker:
    """One thread and what it is given; job: the first."""

    def __init__(self, find: Callable[["_Worker"], _Job | None], job: _Job, name: str) -> None:
        self._find = find
        self._job: _Job | None = job
        self._given = threading.Lock()
        # A request that hangs must not keep the process from ending.
        self.thread = threading.Thread(target=self._work, name=name, daemon=True)

    def give(self, job: _Job | None) -> None:
        """Wake it; it waits, or is about to."""
        self._job = job
        self._given.release()

    def wait(self) -> _Job | None:
        """Sleep until it is given something."""
        self._given.acquire()
        job, self._job = self._job, None
        return job

    def _work(self) -> None:
        job = self.wait()
        while job is not None:
            _do(*job)
            # It must not keep a request's body and answer alive while it waits.
            del job
            job = self._find(self)


def _do(future: "Future[Any]", work: Callable[[], Any]) -> None:
    """Do a piece of work; what it raises is its future's."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except BaseException as exc:
        future.set_exception(exc)
    else:
        future.set_result(result)
