"""Group commit: who comes while a commit is under way shares the next one.

The first to come leads: it commits what all have brought until then, wakes them, and hands the
lead to one of those who came meanwhile. So a lone caller waits for nobody, and of many each waits
for two commits at most, however many they are.

Guarantees:
1. A caller is answered when its batch is committed, or with the error that kept it out.
2. Commits happen one after another, in the order in which batches came, and `after` is called
   with what was committed in that order before the next commit begins.
3. If a commit of several batches fails, each is tried alone: a bad batch fails alone.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(slots=True, eq=False)
class _Batch(Generic[Item, Answer]):
    items: Sequence[Item]
    cost: int
    # Set when the batch is answered, or when its caller is to lead.
    turn: threading.Event = field(default_factory=threading.Event)
    answer: Answer | None = None
    error: BaseException | None = None


class GroupCommit(Generic[Item, Answer]):
    """Turns concurrent calls into common commits.

    commit: stores batches in one transaction and answers each, in order; raises if none is stored.
    after: told of each batch that was committed, with its answer; must not raise.
    max_cost: of the batches that share a commit, unless a single one costs more.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[Sequence[Item]]], Sequence[Answer]],
        after: Callable[[Sequence[Item], Answer], None],
        *,
        max_cost: int,
    ) -> None:
        self._commit = commit
        self._after = after
        self._max_cost = max_cost
        self._lock = threading.Lock()
        self._waiting: deque[_Batch[Item, Answer]] = deque()
        self._has_leader = False

    def add(self, items: Sequence[Item], cost: int) -> Answer:
        """Commit a batch and give its answer. Raises: what the commit of this batch raised."""
        batch: _Batch[Item, Answer] = _Batch(items, cost)
        with self._lock:
            self._waiting.append(batch)
            leads, self._has_leader = not self._has_leader, True
        if not leads:
            batch.turn.wait()
        if batch.answer is None and batch.error is None:
            self._lead()
        if batch.error is not None:
            raise batch.error
        assert batch.answer is not None, "a leader's own batch is among those it commits"
        return batch.answer

    def _lead(self) -> None:
        """Commit the oldest batches, the caller's among them, and hand the lead on."""
        with self._lock:
            group = self._take()
        try:
            self._store(group)
        finally:
            with self._lock:
                successor = self._waiting[0] if self._waiting else None
                self._has_leader = successor is not None
            for batch in group:
                batch.turn.set()
            if successor is not None:
                successor.turn.set()

    def _take(self) -> list[_Batch[Item, Answer]]:
        group = [self._waiting.popleft()]
        cost = group[0].cost
        while self._waiting and cost + self._waiting[0].cost <= self._max_cost:
            group.append(self._waiting.popleft())
            cost += group[-1].cost
        return group

    def _store(self, group: list[_Batch[Item, Answer]]) -> None:
        try:
            answers = self._commit([batch.items for batch in group])
        except BaseException as exc:
            if len(group) == 1:
                # Raised again on the thread of the batch's caller, which here is this one.
                group[0].error = exc
                return
            for batch in group:
                self._store([batch])
            return
        for batch, answer in zip(group, answers, strict=True):
            batch.answer = answer
            self._after(batch.items, answer)
