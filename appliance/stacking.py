"""Calls of one graph become one call, and its answer becomes theirs: the copying of batches."""

from collections.abc import Hashable, Sequence

import numpy as np

from wasi_nn.backend import Graph
from wasi_nn.errors import RuntimeFailure
from wasi_nn.tensor import Array

# Buffers are kept for so many shapes of a graph; a guest may send any.
_KEPT_SHAPES = 8

Inputs = Sequence[Array]


def batch_shape(graph: Graph, inputs: Inputs) -> tuple[int, Hashable]:
    """Tell how many rows a call has, and with what other calls it can be stacked.

    Returns: rows, and a key that is equal for calls that fit together; None if it fits with none.
    """
    if graph.batch_axis is None or not inputs:
        return 1, None
    rows = inputs[0].shape[0] if inputs[0].ndim else 0
    key = []
    for array in inputs:
        shape = array.shape
        if rows < 1 or not shape or shape[0] != rows:
            return max(rows, 1), None
        key.append((shape[1:], array.dtype.char))
    return rows, tuple(key)


def has_rows(outputs: Sequence[Array], rows: int) -> bool:
    """Tell whether every output has so many rows."""
    return all(output.ndim > 0 and len(output) == rows for output in outputs)


class Stack:
    """Runs several calls of one graph as one, in buffers that are used again."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        # Idle buffers by key. Only single operations on a dict and a list: threads may meet here.
        self._idle: dict[Hashable, list[list[Array]]] = {}

    def run(self, key: Hashable, calls: Sequence[Inputs], max_rows: int) -> list[list[Array]]:
        """Stack the calls' inputs, run once, and give each its rows of the outputs.

        key: of all of them, from `batch_shape`.   max_rows: what buffers are made for.
        Returns: outputs by call; views, for a slice of rows of a C-contiguous array is one itself.
        Raises: what `Graph.run` raises; RuntimeFailure if it gives another number of rows.
        """
        rows = [len(inputs[0]) for inputs in calls]
        total = sum(rows)
        buffers = self._take(key, calls[0], max(total, max_rows))
        try:
            for index, buffer in enumerate(buffers):
                np.concatenate([inputs[index] for inputs in calls], out=buffer[:total])
            outputs = self._graph.run([buffer[:total] for buffer in buffers])
        finally:
            self._idle.setdefault(key, []).append(buffers)
        if not has_rows(outputs, total):
            raise RuntimeFailure(f"batch of {total} rows: the graph gave another number of rows")
        ends = np.cumsum(rows).tolist()
        return [
            [output[end - count : end] for output in outputs]
            for end, count in zip(ends, rows, strict=True)
        ]

    def _take(self, key: Hashable, like: Inputs, rows: int) -> list[Array]:
        if len(self._idle) > _KEPT_SHAPES:
            self._idle.clear()
        try:
            return self._idle[key].pop()
        except (KeyError, IndexError):
            return [np.empty((rows, *array.shape[1:]), array.dtype) for array in like]
