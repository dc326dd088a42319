"""Graphs stay warm between a guest's instances, as many as the app may keep."""

import pytest

from wasi_nn.backend import Encoding, GraphOptions
from wasi_nn.backends.fake import FakeBackend, model
from wasi_nn.keeper import GraphKeeper
from wasi_nn.registry import GraphReference, Registry
from wasi_nn.tensor import TensorSpec, TensorType


class Box:
    """A registry with the fake, and models told apart by a number."""

    def __init__(self) -> None:
        self.backend = FakeBackend()
        self.registry = Registry([self.backend])

    def load(self, number: int) -> GraphReference:
        """Load a model."""
        x = TensorSpec("x", TensorType.F32, (1, number + 1))
        content = model([x], [x], "identity")
        return self.registry.load([content], Encoding.ONNX, GraphOptions())

    def use(self, keeper: GraphKeeper, number: int) -> None:
        """Load a model, keep it, and end."""
        reference = self.load(number)
        keeper.keep(reference)
        reference.release()


@pytest.fixture
def box() -> Box:
    return Box()


def test_kept_graph_outlives_its_loader(box: Box) -> None:
    """The next instance's load is answered by the cache."""
    keeper = GraphKeeper()
    for _ in range(3):
        box.use(keeper, 1)

    assert box.backend.loads == 1
    assert box.backend.open_graphs == 1
    assert len(keeper) == 1


def test_unused_for_longest_gives_way(box: Box) -> None:
    """Over the limit the graph that was used longest ago is let go."""
    keeper = GraphKeeper(limit=2)
    for number in (1, 2, 1, 3):
        box.use(keeper, number)
    assert box.backend.open_graphs == 2
    for number in (1, 3):
        box.use(keeper, number)

    assert box.backend.loads == 3
    box.use(keeper, 2)
    assert box.backend.loads == 4


def test_same_graph_takes_one_place(box: Box) -> None:
    """Several references to one graph are one graph."""
    keeper = GraphKeeper(limit=2)
    references = [box.load(1) for _ in range(3)]
    for reference in references:
        keeper.keep(reference)

    assert len(keeper) == 1
    assert box.registry.statistics().graphs[0].references == 4


def test_graph_in_use_survives_its_place(box: Box) -> None:
    """A graph that gives way in the keeper is closed only when nobody else holds it."""
    keeper = GraphKeeper(limit=1)
    held = box.load(1)
    keeper.keep(held)
    box.use(keeper, 2)
    assert box.backend.open_graphs == 2
    held.release()

    assert box.backend.open_graphs == 1


def test_close(box: Box) -> None:
    """A closed keeper holds nothing; it may be closed again, and used."""
    keeper = GraphKeeper()
    box.use(keeper, 1)
    box.use(keeper, 2)
    keeper.close()
    keeper.close()

    assert box.backend.open_graphs == 0
    assert len(keeper) == 0


def test_keepers_do_not_crowd_one_another(box: Box) -> None:
    """An app that loads a new model on every run wears out its own places only."""
    quiet, busy = GraphKeeper(limit=1), GraphKeeper(limit=1)
    box.use(quiet, 0)
    for number in range(1, 6):
        box.use(busy, number)
    box.use(quiet, 0)

    assert box.backend.loads == 6
