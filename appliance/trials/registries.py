"""The box's real models in a throw-away process: same folders, same runtimes, no isolation."""

from collections.abc import Sequence
from dataclasses import replace

from wasi_nn.backend import Backend, Buffer, Encoding, Graph, GraphOptions
from wasi_nn.backends import all_backends
from wasi_nn.backends.fake import FakeBackend
from wasi_nn.catalogue import Catalogue, NamedModel
from wasi_nn.registry import Origin

_MAX_NOTED = 32


class NotingCatalogue:
    """A catalogue that notes which models were asked for, found or not."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self.noted: list[str] = []

    def find(self, name: str) -> NamedModel:
        """See `Catalogue.find`."""
        if name not in self.noted and len(self.noted) < _MAX_NOTED:
            self.noted.append(name)
        return self._catalogue.find(name)


def backends_named(names: Sequence[str]) -> tuple[Backend, ...]:
    """Make the backends that the box has; `fake` is none of `all_backends`."""
    made = {backend.name: backend for backend in (*all_backends(), FakeBackend())}
    return tuple(made[name] for name in names if name in made)


def load_modestly(
    backend: Backend, builders: Sequence[Buffer], encoding: Encoding, options: GraphOptions,
    _origin: Origin,
) -> Graph:  # fmt: skip
    """Load for one thread unless asked otherwise: the others are the live apps'."""
    return backend.load(builders, encoding, replace(options, num_threads=options.num_threads or 1))
