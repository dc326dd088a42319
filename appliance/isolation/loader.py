"""Which models compute in a process of their own."""

from collections.abc import Callable, Sequence

from appliance.isolation.backend import IsolatedBackend
from appliance.isolation.process import Bounds
from wasi_nn.backend import Backend, Buffer, Encoding, Graph, GraphOptions
from wasi_nn.registry import Loader, Origin


class IsolatingLoader:
    """Loads models through another loader, those that are not trusted in their own processes.

    is_trusted: of a model, by name:version; what a guest brings as bytes has no name and is not
    asked about.   A `wasi_nn.registry.Loader`.
    """

    def __init__(
        self, loader: Loader, is_trusted: Callable[[str], bool], bounds: Bounds | None = None
    ) -> None:
        self._loader = loader
        self._is_trusted = is_trusted
        self._bounds = bounds or Bounds()

    def __call__(
        self, backend: Backend, builders: Sequence[Buffer], encoding: Encoding,
        options: GraphOptions, origin: Origin,
    ) -> Graph:  # fmt: skip
        """Load a model."""
        if not (origin.name and self._is_trusted(origin.name)):
            backend = IsolatedBackend(backend, self._bounds)
        return self._loader(backend, builders, encoding, options, origin)
