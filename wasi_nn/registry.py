"""Graphs for many guests: which backend loads a model, and who shares the result.

Guarantees:
1. The same bytes, encoding, backend and options give the same graph, whoever loads it. A repeated
   load costs reading the bytes once.
2. Loading is single-flight: while one guest loads a model, others that want the same wait for it;
   others that want another are not held up.
3. A graph lives as long as someone holds a reference, and is closed with the last one.
4. Nothing is published half-built: a failed load leaves no entry behind.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from wasi_nn.backend import Backend, Buffer, Device, Encoding, Graph, GraphOptions
from wasi_nn.catalogue import (
    Catalogue,
    LoadConfig,
    ModelFile,
    NamedModel,
    StaticCatalogue,
    parse_config,
)
from wasi_nn.digests import Digests, digest_of
from wasi_nn.errors import InvalidArgument, NNError, UnsupportedOperation
from wasi_nn.formats import detect_encoding
from wasi_nn.policy import Policy

log = logging.getLogger(__name__)

# Formats that have no runtime here, and what their owner can do.
_CONVERTERS = {
    Encoding.PYTORCH: "export it to ONNX (torch.onnx.export) and load it as onnx",
    Encoding.TENSORFLOW: "convert it to TensorFlow Lite (tf.lite.TFLiteConverter) and load it as "
    "tensorflowlite, or to ONNX (tf2onnx)",
    Encoding.GGML: "language models are not what this host is for",
}


@dataclass(frozen=True, slots=True)
class Origin:
    """Which model a graph is made of.

    digest: of its bytes.   name: name:version, or "" if a guest brought the bytes.
    """

    digest: str
    name: str = ""


# Loads a model for the cache. An embedder's own may choose the options that the caller left open.
Loader = Callable[[Backend, Sequence[Buffer], Encoding, GraphOptions, Origin], Graph]


def load_directly(
    backend: Backend,
    builders: Sequence[Buffer],
    encoding: Encoding,
    options: GraphOptions,
    _origin: Origin,
) -> Graph:
    """Load a model just as asked; the `Loader` of a plain host."""
    return backend.load(builders, encoding, options)


_Key = tuple[str, Encoding, str, GraphOptions]


@dataclass(slots=True)
class _Entry:
    """One graph in the cache; `graph` or `error` is set once `ready` is.

    name: of the model it was first loaded as, "" if from a guest's bytes.
    """

    ready: threading.Event
    name: str = ""
    references: int = 1
    graph: Graph | None = None
    error: NNError | None = None


class GraphReference:
    """A share of a graph. Releasing the last share closes it.

    encoding: the format it was loaded from.   model, file: where it came from, if by name.
    """

    __slots__ = ("_entry", "_key", "_registry", "encoding", "file", "graph", "model")

    def __init__(
        self, registry: "Registry", key: _Key, entry: _Entry,
        model: NamedModel | None = None, file: ModelFile | None = None,
    ) -> None:  # fmt: skip
        assert entry.graph is not None, "a reference is made of a loaded graph"
        self._registry = registry
        self._key = key
        self._entry: _Entry | None = entry
        self.graph = entry.graph
        self.encoding = key[1]
        self.model = model
        self.file = file

    def share(self) -> "GraphReference":
        """Make another reference to the same graph."""
        assert self._entry is not None, "a released reference cannot be shared"
        self._registry._count(self._entry)
        return GraphReference(self._registry, self._key, self._entry, self.model, self.file)

    def release(self) -> None:
        """Give the share back; a second release does nothing."""
        entry, self._entry = self._entry, None
        if entry is not None:
            self._registry._release(self._key, entry)


@dataclass(frozen=True, slots=True)
class GraphInfo:
    """One loaded graph: where it was asked for, where it computes, and how many hold it.

    name: the model's, as name:version; "" if a guest brought the bytes.   graph: itself, to look
    its plan and counts up.
    """

    graph: Graph
    name: str
    digest: str
    encoding: Encoding
    backend: str
    asked: Device
    device: Device
    references: int


@dataclass(frozen=True, slots=True)
class RegistryStatistics:
    """Counts since start, and the graphs loaded now.

    hits: loads answered by a graph that was there.   loads: loads done by a backend.
    failures: loads that failed.
    """

    hits: int
    loads: int
    failures: int
    graphs: tuple[GraphInfo, ...]


class Registry:
    """The graphs of one process.

    backends: in the order of preference where several load one encoding.
    catalogue: the models that guests may load by name.   loader: makes the graphs.
    """

    def __init__(
        self,
        backends: Sequence[Backend],
        catalogue: Catalogue | None = None,
        loader: Loader = load_directly,
    ) -> None:
        self._backends = tuple(backends)
        self._catalogue = catalogue or StaticCatalogue()
        self._loader = loader
        self._digests = Digests()
        self._lock = threading.Lock()
        self._entries: dict[_Key, _Entry] = {}
        self._hits = self._loads = self._failures = 0
        self._present: dict[str, frozenset[Device]] = {}

    def load(
        self, builders: Sequence[Buffer], encoding: Encoding, options: GraphOptions,
        policy: Policy | None = None,
    ) -> GraphReference:  # fmt: skip
        """Load a model from its bytes.

        builders: its parts, borrowed for the call.
        Raises: what `Backend.load` raises; UnsupportedOperation if no backend here loads the
        encoding on the device, or the policy forbids the encoding or bytes of the guest's own.
        """
        policy = policy or Policy()
        policy.check_own_model()
        if encoding is Encoding.AUTODETECT:
            encoding = detect_encoding(builders)
        policy.check_encoding(encoding)
        backend = self._select(encoding, options, None)
        key = (self._digests.of(builders), encoding, backend.name, options)
        entry = self._acquire(
            key, lambda: self._loader(backend, builders, encoding, options, Origin(key[0]))
        )
        return GraphReference(self, key, entry)

    def load_named(
        self, name: str, config: bytes = b"", policy: Policy | None = None
    ) -> GraphReference:
        """Load a model of the catalogue.

        config: JSON with any of device, backend, encoding, num_threads; empty for none.
        Raises: NotFound; else as `load`.
        """
        policy = policy or Policy()
        wanted = parse_config(config)
        model = self._catalogue.find(name)
        device = wanted.device or model.device
        policy.check_device(device)
        options = GraphOptions(device, wanted.num_threads, policy.allow_fallback, policy.objective)
        file, encoding, backend = self._choose(model, wanted, options, policy)
        builders = None if file.digest else file.read()
        digest = file.digest or digest_of(builders or ())
        key = (digest, encoding, backend.name, options)
        origin = Origin(digest, f"{model.name}:{model.version}")
        entry = self._acquire(
            key,
            lambda: self._loader(backend, builders or file.read(), encoding, options, origin),
            origin.name,
        )
        return GraphReference(self, key, entry, model, file)

    def statistics(self) -> RegistryStatistics:
        """Take a snapshot."""
        with self._lock:
            graphs = tuple(
                GraphInfo(
                    graph=entry.graph,
                    name=entry.name,
                    digest=digest,
                    encoding=encoding,
                    backend=backend,
                    asked=options.device,
                    device=entry.graph.device,
                    references=entry.references,
                )
                for (digest, encoding, backend, options), entry in self._entries.items()
                if entry.graph is not None
            )
            return RegistryStatistics(self._hits, self._loads, self._failures, graphs)

    # -- choosing --------------------------------------------------------------------------------

    def _choose(
        self, model: NamedModel, wanted: LoadConfig, options: GraphOptions, policy: Policy
    ) -> tuple[ModelFile, Encoding, Backend]:
        """Take the model's first form that this box can run as wanted."""
        refusal: NNError = UnsupportedOperation(
            f"model {model.name}: it has no {wanted.encoding.value if wanted.encoding else ''} "
            f"form; it has {', '.join(file.encoding.value for file in model.files) or 'none'}"
        )
        for file in model.files:
            encoding = file.encoding
            if encoding is Encoding.AUTODETECT:
                encoding = detect_encoding(file.read())
            if wanted.encoding not in (None, encoding):
                continue
            try:
                policy.check_encoding(encoding)
                return file, encoding, self._select(encoding, options, wanted.backend)
            except UnsupportedOperation as exc:
                refusal = exc
        raise refusal

    def _select(self, encoding: Encoding, options: GraphOptions, name: str | None) -> Backend:
        """Take the first backend that loads this encoding on this device."""
        if name is not None and name not in {backend.name for backend in self._backends}:
            known = ", ".join(backend.name for backend in self._backends)
            raise InvalidArgument(f"backend {name}: not known; backends here: {known}")
        able = [
            backend
            for backend in self._backends
            if encoding in backend.encodings and name in (None, backend.name)
        ]
        if not able:
            advice = _CONVERTERS.get(encoding, "see what `appliance doctor` lists")
            raise UnsupportedOperation(
                f"encoding {encoding.value}: no backend here loads it"
                f"{f' ({name} does not)' if name else ''}; {advice}"
            )
        for backend in able:
            if options.device in self._devices_of(backend):
                return backend
        if options.allow_fallback:
            return able[0]
        present = "; ".join(
            f"{b.name}: {', '.join(sorted(d.value for d in self._devices_of(b))) or 'none'}"
            for b in able
        )
        message = f"device {options.device.value}: absent; present for {encoding.value}: {present}"
        # The guest's owner is told by `Guest.on_error`, at a rate; a guest may ask without end.
        log.debug("device refused %s", message)
        raise UnsupportedOperation(message)

    def _devices_of(self, backend: Backend) -> frozenset[Device]:
        """Ask once per process: probing a runtime imports it."""
        known = self._present.get(backend.name)
        if known is None:
            info = backend.probe()
            known = frozenset(d.device for d in info.devices if d.present)
            self._present[backend.name] = known
        return known

    # -- sharing ---------------------------------------------------------------------------------

    def _acquire(self, key: _Key, load: Callable[[], Graph], name: str = "") -> _Entry:
        """Find the entry or make it; its graph is loaded when this returns."""
        with self._lock:
            entry = self._entries.get(key)
            is_mine = entry is None
            if entry is None:
                entry = self._entries[key] = _Entry(threading.Event(), name)
            else:
                entry.references += 1
        if is_mine:
            self._load_into(key, entry, load)
        entry.ready.wait()
        if entry.error is not None:
            raise entry.error
        if not is_mine:
            with self._lock:
                self._hits += 1
        return entry

    def _load_into(self, key: _Key, entry: _Entry, load: Callable[[], Graph]) -> None:
        try:
            entry.graph = load()
        except NNError as exc:
            entry.error = exc
        except BaseException as exc:
            entry.error = NNError(f"load: the backend failed unexpectedly, {type(exc).__name__}")
            raise
        finally:
            with self._lock:
                if entry.error is not None:
                    del self._entries[key]
                    self._failures += 1
                else:
                    self._loads += 1
            entry.ready.set()

    def _count(self, entry: _Entry) -> None:
        with self._lock:
            entry.references += 1

    def _release(self, key: _Key, entry: _Entry) -> None:
        with self._lock:
            entry.references -= 1
            if entry.references:
                return
            del self._entries[key]
        assert entry.graph is not None, "only a loaded graph is referenced"
        entry.graph.close()
