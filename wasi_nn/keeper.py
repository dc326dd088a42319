"""Keep graphs warm between the short lives of a guest's instances.

A command guest is a fresh instance per frame: it loads its model, computes once and ends, and its
references end with it. The app it belongs to holds a `GraphKeeper`, which holds a share of the
graphs the app used last; the next instance's load is then answered by the cache.

One keeper per app, so that an app which loads a new model on every run wears out its own places
and nobody else's.
"""

import threading
from collections import OrderedDict

from wasi_nn.backend import Graph
from wasi_nn.registry import GraphReference


class GraphKeeper:
    """Shares of the `limit` graphs that were used last."""

    def __init__(self, limit: int = 4) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, tuple[Graph, GraphReference]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, reference: GraphReference) -> None:
        """Hold a share of this graph; the one unused for longest gives way."""
        graph = reference.graph
        dropped = None
        with self._lock:
            # Keyed by identity: the entry holds the graph, so its id cannot be used again.
            if id(graph) in self._kept:
                self._kept.move_to_end(id(graph))
                return
            self._kept[id(graph)] = (graph, reference.share())
            if len(self._kept) > self._limit:
                _, (_, dropped) = self._kept.popitem(last=False)
        if dropped is not None:
            dropped.release()

    def close(self) -> None:
        """Let go of everything."""
        with self._lock:
            references = [reference for _, reference in self._kept.values()]
            self._kept.clear()
        for reference in references:
            reference.release()
