"""Graphs kept loaded for clients: found by model and version, loaded on first use.

Guarantees:
1. At most `max_loaded` are kept. The one that was not used for longest is let go first; one that
   was loaded by request (`load`) is pinned and stays. A graph in use lives until its use ends.
2. A model whose folder has changed is loaded anew by the next use; a file that was written in
   place is noticed within `recheck_s`, for looking at every file costs as much as a tiny model.
3. A load that failed is not tried again by every request, only when the folder has changed or
   `load` asks for it.
Guests hold graphs of their own and notice nothing.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from appliance.errors import NotFound, Unavailable
from appliance.inference.lookups import RECHECK_S, Lookups, not_ready
from appliance.inference.pictures import PictureInput, picture_inputs
from appliance.manifests import ModelPackage
from appliance.models import ModelEntry, ModelRepository
from appliance.oip.messages import IndexEntry
from wasi_nn import errors as nn
from wasi_nn.backend import Graph
from wasi_nn.catalogue import NamedModel
from wasi_nn.policy import Policy
from wasi_nn.registry import GraphReference, Registry

log = logging.getLogger(__name__)

# Chosen, not measured: what a box with 4 GiB holds of classifiers beside its guests' graphs.
MAX_LOADED = 8

READY, UNAVAILABLE, LOADING = "READY", "UNAVAILABLE", "LOADING"
_UNLOADED = "unloaded"

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model whose graph is loaded.

    pictures: for each input of the graph how a picture becomes it, None if it is no picture.
    """

    name: str
    version: str
    package: ModelPackage
    reference: GraphReference
    pictures: tuple[PictureInput | None, ...]

    @property
    def graph(self) -> Graph:
        return self.reference.graph

    def labels_of(self, output: int) -> tuple[str, ...]:
        """Give the labels of an output's classes; () if the manifest names none for it."""
        outputs = self.package.manifest.outputs
        first = next((i for i, each in enumerate(outputs) if each.labels is not None), None)
        # The package has read the first file that is named; others may name the same.
        is_read = first is not None and output < len(outputs)
        is_read = is_read and outputs[output].labels == outputs[first or 0].labels
        return self.package.labels if is_read else ()


class GraphShelf:
    """The graphs of one box's clients. Thread-safe.

    recheck_s: how long a look at all files of a model holds.
    on_load, on_drop: told, outside the lock, of each model that comes and goes.
    """

    def __init__(
        self, repository: ModelRepository, registry: Registry, policy: Policy,
        *, max_loaded: int = MAX_LOADED, recheck_s: float = RECHECK_S,
    ) -> None:  # fmt: skip
        self._lookups = Lookups(repository, recheck_s)
        self._registry = registry
        self._policy = policy
        self._max_loaded = max_loaded
        self._lock = threading.Lock()
        self._loaded: OrderedDict[Key, LoadedModel] = OrderedDict()
        self._pinned: set[Key] = set()
        self._loading: dict[Key, int] = {}
        self._failed: dict[Key, tuple[ModelPackage, str]] = {}
        self._unloaded: set[str] = set()
        self._is_closed = False
        self.on_load: Callable[[LoadedModel], None] = lambda _: None
        self.on_drop: Callable[[LoadedModel], None] = lambda _: None

    @contextmanager
    def using(self, name: str, version: str = "") -> Iterator[LoadedModel]:
        """Give a model, loaded, and keep it so inside the block.

        version: "" for the newest.
        Raises: NotFound; Unavailable if it is unloaded, broken or cannot be loaded.
        """
        model, share = self._take(name, version)
        try:
            yield model
        finally:
            share.release()

    def load(self, name: str) -> None:
        """Load the newest version and pin it; an older one is no longer pinned.

        Raises: as `using`; Unavailable if as many as may be are pinned.
        """
        found = self.find(name)
        key = (found.name, found.version)
        with self._lock:
            self._unloaded.discard(name)
            self._failed.pop(key, None)
            others = {k for k in self._pinned if k[0] != name}
            if len(others) >= self._max_loaded:
                raise Unavailable(
                    f"model {name}: {len(others)} models are pinned, the most there may be; "
                    "unload one first"
                )
        with self.using(*key), self._lock:
            self._pinned = {k for k in self._pinned if k[0] != name} | {key}

    def forgive(self, name: str) -> None:
        """Forget which versions could not be loaded: the next request tries again."""
        with self._lock:
            for key in [key for key in self._failed if key[0] == name]:
                del self._failed[key]

    def unload(self, name: str) -> None:
        """Let all versions go, and refuse the model until `load`. Raises: NotFound."""
        self.find_any(name)
        with self._lock:
            self._unloaded.add(name)
            self._pinned = {k for k in self._pinned if k[0] != name}
            dropped = [self._loaded.pop(k) for k in list(self._loaded) if k[0] == name]
        self._drop(dropped)

    def find(self, name: str, version: str = "") -> NamedModel:
        """Find a model in the repository. Raises: NotFound; Unavailable if it is broken."""
        try:
            return self._lookups.find(name, version)
        except NotFound:
            self._forget(name, version)
            raise

    def recall(self, name: str, version: str = "") -> NamedModel | None:
        """Give what `find` found just now; None if it has to look again."""
        return self._lookups.recall(name, version)

    def find_any(self, name: str) -> None:
        """Raises: NotFound if the repository has no such model, not even a broken one."""
        try:
            self.find(name)
        except Unavailable:
            return

    def is_ready(self, name: str, version: str = "") -> bool:
        """Tell whether a request for it would be computed. Raises: NotFound."""
        try:
            found = self.find(name, version)
        except Unavailable:
            return False
        with self._lock:
            return not self._is_closed and self._refusal(found) is None

    def entry_of(self, entry: ModelEntry) -> IndexEntry:
        """Say how a version of the repository stands."""
        key = (entry.name, entry.version)
        reason = entry.reason
        with self._lock:
            if entry.name in self._unloaded:
                reason = _UNLOADED
            failed = self._failed.get(key)
            if failed is not None and failed[0] is entry.package:
                reason = failed[1]
            is_loading = key in self._loading
        if is_loading:
            return IndexEntry(*key, LOADING)
        return IndexEntry(*key, UNAVAILABLE if reason else READY, reason)

    def models(self) -> tuple[LoadedModel, ...]:
        """List what is loaded now; for looking only, it may go at any moment."""
        with self._lock:
            return tuple(self._loaded.values())

    def close(self) -> None:
        """Let all go and refuse whatever comes."""
        with self._lock:
            self._is_closed = True
            dropped, self._loaded = list(self._loaded.values()), OrderedDict()
        self._drop(dropped)

    # -- taking ----------------------------------------------------------------------------------

    def _take(self, name: str, version: str) -> tuple[LoadedModel, GraphReference]:
        found = self.find(name, version)
        key = (found.name, found.version)
        with self._lock:
            if (reason := self._refusal(found)) is not None:
                raise not_ready(name, found.version, reason)
            kept = self._loaded.get(key)
            if kept is not None and kept.package is found.package:
                self._loaded.move_to_end(key)
                # Under the lock: between finding and sharing, nobody may let it go.
                return kept, kept.reference.share()
            self._loading[key] = self._loading.get(key, 0) + 1
        try:
            fresh = self._load(found)
        finally:
            with self._lock:
                self._loading[key] -= 1
                if not self._loading[key]:
                    del self._loading[key]
        return self._keep(key, fresh)

    def _refusal(self, found: NamedModel) -> str | None:
        """Say why a model is not to be had; under the lock."""
        if self._is_closed:
            return "the box is stopping"
        if found.name in self._unloaded:
            return f"{_UNLOADED}; POST /v2/repository/models/{found.name}/load loads it again"
        failed = self._failed.get((found.name, found.version))
        if failed is not None and failed[0] is found.package:
            return failed[1]
        return None

    def _load(self, found: NamedModel) -> LoadedModel:
        """Load a graph. Raises: Unavailable."""
        assert isinstance(found.package, ModelPackage), "what this box's repository gives"
        try:
            reference = self._registry.load_named(
                f"{found.name}:{found.version}", policy=self._policy
            )
        except nn.Busy as exc:
            raise Unavailable(f"model {found.name}: {exc}") from exc
        except nn.NNError as exc:
            with self._lock:
                self._failed[found.name, found.version] = (found.package, str(exc))
            raise not_ready(found.name, found.version, str(exc)) from exc
        pictures = picture_inputs(found.package, reference)
        model = LoadedModel(found.name, found.version, found.package, reference, pictures)
        for index, spec in enumerate(model.graph.outputs):
            labels, classes = len(model.labels_of(index)), spec.shape[-1] if spec.shape else 1
            if labels and classes not in (None, labels):
                log.warning(
                    "labels do not match the output model=%s:%s output=%s labels=%d classes=%d",
                    found.name, found.version, spec.name, labels, classes,
                )  # fmt: skip
        return model

    def _keep(self, key: Key, fresh: LoadedModel) -> tuple[LoadedModel, GraphReference]:
        """Put a model on the shelf, unless another thread was first or it is not wanted now."""
        dropped: list[LoadedModel] = []
        is_new = False
        with self._lock:
            self._failed.pop(key, None)
            kept = self._loaded.get(key)
            if kept is not None and kept.package is fresh.package:
                taken = kept
                dropped.append(fresh)
            elif self._is_closed or key[0] in self._unloaded:
                # Whoever asked gets it; nobody after.
                return fresh, fresh.reference
            else:
                taken = self._loaded[key] = fresh
                is_new = True
                dropped += [kept] if kept is not None else []
                dropped += self._surplus(key)
            self._loaded.move_to_end(key)
            share = taken.reference.share()
        if is_new:
            self.on_load(taken)
            self._drop(dropped)
        else:
            fresh.reference.release()
        return taken, share

    def _surplus(self, newest: Key) -> list[LoadedModel]:
        """Take off the shelf what is too much; under the lock."""
        free = [k for k in self._loaded if k not in self._pinned and k != newest]
        over = max(0, len(self._loaded) - self._max_loaded)
        return [self._loaded.pop(k) for k in free[:over]]

    def _forget(self, name: str, version: str) -> None:
        """Let go of what the repository no longer has."""
        with self._lock:
            gone = [k for k in self._loaded if k[0] == name and version in ("", k[1])]
            dropped = [self._loaded.pop(k) for k in gone]
            self._pinned.difference_update(gone)
        self._drop(dropped)

    def _drop(self, dropped: list[LoadedModel]) -> None:
        for model in dropped:
            self.on_drop(model)
            model.reference.release()
