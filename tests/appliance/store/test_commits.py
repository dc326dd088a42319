"""One commit for all who come at once."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from appliance.store.commits import GroupCommit


class Disk:
    """Notes what is committed together; waits in the first commit until told to go on."""

    def __init__(self) -> None:
        self.commits: list[list[str]] = []
        self.told: list[str] = []
        self.is_in = threading.Event()
        self.may_go = threading.Event()

    def commit(self, batches: Sequence[Sequence[str]]) -> list[str]:
        if not self.is_in.is_set():
            self.is_in.set()
            assert self.may_go.wait(30)
        items = [item for batch in batches for item in batch]
        if "bad" in items:
            raise ValueError("bad")
        self.commits.append(items)
        return [f"stored {' '.join(batch)}" for batch in batches]

    def tell(self, items: Sequence[str], answer: str) -> None:
        self.told += items
        assert answer.startswith("stored")


@pytest.fixture
def disk() -> Disk:
    return Disk()


def waiting(group: GroupCommit[str, str], count: int) -> None:
    """Return when so many batches wait."""
    while len(group._waiting) < count:
        threading.Event().wait(0.001)


def add_behind(disk: Disk, group: GroupCommit[str, str], later: Sequence[str]) -> list[object]:
    """Add one, and the others while its commit is under way; give answers or errors."""

    def add(item: str) -> object:
        try:
            return group.add([item], 1)
        except ValueError as exc:
            return exc

    with ThreadPoolExecutor(1 + len(later)) as pool:
        first = pool.submit(add, "first")
        assert disk.is_in.wait(30)
        others = []
        for number, item in enumerate(later, 1):
            others.append(pool.submit(add, item))
            waiting(group, number)
        disk.may_go.set()
        return [future.result(30) for future in (first, *others)]


def test_who_comes_during_a_commit_shares_the_next(disk: Disk) -> None:
    """Each gets its own answer, and is told of in order."""
    group = GroupCommit(disk.commit, disk.tell, max_cost=100)
    answers = add_behind(disk, group, ["a", "b", "c"])

    assert answers == ["stored first", "stored a", "stored b", "stored c"]
    assert disk.commits == [["first"], ["a", "b", "c"]]
    assert disk.told == ["first", "a", "b", "c"]


def test_a_commit_is_bounded(disk: Disk) -> None:
    """What is over the bound goes with the one after."""
    group = GroupCommit(disk.commit, disk.tell, max_cost=2)
    add_behind(disk, group, ["a", "b", "c"])

    assert disk.commits == [["first"], ["a", "b"], ["c"]]


def test_a_bad_batch_fails_alone(disk: Disk) -> None:
    """Its caller gets the error; the others are stored."""
    group = GroupCommit(disk.commit, disk.tell, max_cost=100)
    answers = add_behind(disk, group, ["a", "bad", "b"])

    assert [str(answer) for answer in answers] == ["stored first", "stored a", "bad", "stored b"]
    assert disk.told == ["first", "a", "b"]


def test_a_lone_failure_leaves_the_next_alone(disk: Disk) -> None:
    """The lead is given back."""
    disk.may_go.set()
    group = GroupCommit(disk.commit, disk.tell, max_cost=100)
    with pytest.raises(ValueError, match="bad"):
        group.add(["bad"], 1)

    assert group.add(["good"], 1) == "stored good"


def test_a_batch_over_the_bound_goes_alone(disk: Disk) -> None:
    """The bound is of sharing, not of what may be stored."""
    disk.may_go.set()
    group = GroupCommit(disk.commit, disk.tell, max_cost=1)

    assert group.add(["huge"], 50) == "stored huge"
