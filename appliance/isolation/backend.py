"""A backend whose graphs compute in processes of their own."""

from collections.abc import Sequence

from appliance.isolation.graph import IsolatedGraph
from appliance.isolation.process import Bounds, Model
from wasi_nn.backend import Backend, BackendInfo, Buffer, Encoding, Graph, GraphOptions


class IsolatedBackend:
    """A backend of the same name over there.

    backend: the real one, which is asked what it offers and never loads anything here.
    """

    def __init__(self, backend: Backend, bounds: Bounds | None = None) -> None:
        self._backend = backend
        self._bounds = bounds or Bounds()
        # Another name, for its plans: what runs over there is timed over there.
        self.name = f"{backend.name}-isolated"
        self.encodings = backend.encodings

    def probe(self) -> BackendInfo:
        """Say what the runtime offers; see `Backend.probe`."""
        return self._backend.probe()

    def load(self, builders: Sequence[Buffer], encoding: Encoding, options: GraphOptions) -> Graph:
        """Load a model in a process of its own; see `Backend.load`."""
        model = Model(self._backend.name, builders, encoding, options)
        return IsolatedGraph(model, self._bounds)
