"""Models that compute in a process of their own, so that a crash or a hang of theirs stays there.

    box                                        worker, one for each graph
    IsolatedGraph.run -- arena (memory) -->    Graph.run of the real backend
                      <-- socket, messages --

A native runtime can abort on a model that no check foresees. Here that ends one process: the
callers get an error, the next run starts another, and after a few strikes the graph is given up.

The box trusts nothing that a worker says: messages are JSON within bounds, sizes are checked, and
memory that both see can grow but not shrink.
"""

from appliance.isolation.backend import IsolatedBackend
from appliance.isolation.graph import STRIKES, IsolatedGraph
from appliance.isolation.loader import IsolatingLoader

__all__ = ["STRIKES", "IsolatedBackend", "IsolatedGraph", "IsolatingLoader"]
