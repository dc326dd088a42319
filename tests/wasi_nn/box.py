"""A host with the fake backend and some models, for the tests of sessions."""

from collections.abc import Sequence

import numpy as np

from wasi_nn.backend import Device, Encoding
from wasi_nn.backends.fake import FakeBackend, model
from wasi_nn.catalogue import ModelFile, NamedModel, StaticCatalogue
from wasi_nn.keeper import GraphKeeper
from wasi_nn.policy import Policy, SessionLimits
from wasi_nn.registry import Registry
from wasi_nn.session import Session
from wasi_nn.tensor import Tensor, TensorSpec, TensorType

ONNX, CPU = Encoding.ONNX, Device.CPU
X, Y = (TensorSpec(name, TensorType.F32, (None, 2)) for name in "xy")
SCALE = model([X], [Y], "scale", factor=2.0, offset=1.0)
PAIR = model([X, Y], [X, Y], ["sum", "difference"])
FAILS = model([X], [Y], "scale", fail_on_value=13.0)


class Box:
    """A host with the fake and some named models."""

    def __init__(self) -> None:
        self.backend = FakeBackend()
        models = [
            NamedModel(name, "1", (ModelFile(ONNX, lambda content=content: [content]),))
            for name, content in (("scale", SCALE), ("pair", PAIR))
        ]
        self.registry = Registry([self.backend], StaticCatalogue(models))

    def session(
        self, policy: Policy | None = None, keeper: GraphKeeper | None = None, **limits: int
    ) -> Session:
        """Make a guest's session."""
        return Session(self.registry, None, SessionLimits(**limits), policy, keeper)

    def references(self) -> list[int]:
        """Count the holders of every graph."""
        return [graph.references for graph in self.registry.statistics().graphs]


def tensor(*rows: Sequence[float]) -> Tensor:
    """Make a guest's tensor of floats."""
    array = np.array(rows, np.float32)
    return Tensor(TensorType.F32, array.shape, memoryview(array.tobytes()))


def loaded(session: Session, content: bytes = SCALE) -> int:
    """Load a model. Returns: its handle."""
    return session.load([content], ONNX, CPU)


def computed(session: Session, *row: float, content: bytes = SCALE) -> int:
    """Make a context that has computed one row."""
    context = session.init_execution_context(loaded(session, content))
    session.set_input(context, 0, tensor(row))
    session.compute(context)
    return context
