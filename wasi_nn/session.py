"""What one guest owns, and every WASI-NN call in plain Python.

A session knows no wasm: ABI files (`witx`, `wamr`) decode a guest's arguments, call a method here
and encode the answer. Failures are `wasi_nn.errors`, whose classes carry the errno.

Guarantees:
1. Handles count up from 0 (guests print them) and are never used twice.
2. A handle that is published is complete: `load` and `init_execution_context` either return a
   ready object or leave nothing behind.
3. A context keeps its graph alive. After `unload` it may still hand out what it computed, but
   takes no input and computes no more (WasmEdge's drain after unload).
4. `set_input` copies: guests reuse and free their buffers between calls.

Source: WASI-NN witx; lifetimes and errnos after WasmEdge's `plugins/wasi_nn/DESIGN.md`.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wasi_nn.backend import Buffer, Device, Encoding, Graph, GraphOptions
from wasi_nn.errors import Busy, EndOfSequence, InvalidArgument, NotFound, RuntimeFailure
from wasi_nn.executor import DirectExecutor, Executor, Ticket
from wasi_nn.keeper import GraphKeeper
from wasi_nn.policy import Policy, SessionLimits
from wasi_nn.registry import GraphReference, Registry
from wasi_nn.tensor import Array, Tensor, TensorSpec, fit, raw_bytes

# What is copied without giving Python's lock away; a tenth of a millisecond.
_QUICK_BYTES = 1 << 20


@dataclass(slots=True)
class Context:
    """One execution context: inputs as they came in, outputs as they were computed.

    reference: its own share of the graph.   graph_handle: the handle it was made from.
    held_bytes: of all its tensors.
    """

    reference: GraphReference
    graph: Graph
    graph_handle: int
    inputs: list[Array | None]
    outputs: list[Array] | None = None
    held_bytes: int = 0
    is_stream_over: bool = False


class Session:
    """The handles of one guest.

    registry: where graphs come from.   executor: who computes.   keeper: holds the graphs beyond
    this session's life.   ticket: on whose behalf; replace it before each call into the guest to
    set the deadline.
    computes: done so far.   bytes_in, bytes_out: copied from and for the guest.
    Not thread-safe, as a Store is not.
    """

    def __init__(
        self,
        registry: Registry,
        executor: Executor | None = None,
        limits: SessionLimits | None = None,
        policy: Policy | None = None,
        keeper: GraphKeeper | None = None,
    ) -> None:
        self.registry = registry
        self.limits = limits or SessionLimits()
        self.policy = policy or Policy()
        self.ticket = Ticket()
        self.computes = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self._keeper = keeper
        self._executor = executor or DirectExecutor()
        self._graphs: dict[int, GraphReference] = {}
        self._contexts: dict[int, Context] = {}
        self._held_bytes = 0
        self._names: dict[tuple[str, bytes], int] = {}
        self._graph_ids = itertools.count()
        self._context_ids = itertools.count()

    def __repr__(self) -> str:
        return f"<Session [Graphs: {len(self._graphs)} | Contexts: {len(self._contexts)}]>"

    # -- graphs ----------------------------------------------------------------------------------

    def load(self, builders: Sequence[Buffer], encoding: Encoding, device: Device) -> int:
        """Load a graph from its bytes. Returns: the graph's handle."""
        self._check_room_for_graph()
        if not 1 <= len(builders) <= self.limits.builders:
            raise InvalidArgument(
                f"load: got {len(builders)} builders, wanted 1..{self.limits.builders}"
            )
        size_bytes = sum(len(builder) for builder in builders)
        if size_bytes > self.limits.model_bytes:
            raise InvalidArgument(
                f"load: got a model of {size_bytes} bytes, wanted at most "
                f"{self.limits.model_bytes}; raise the app's limit or name a shipped model"
            ).over("model_bytes", size_bytes, self.limits.model_bytes)
        self.bytes_in += size_bytes
        self.policy.check_device(device)
        options = GraphOptions(
            device,
            allow_fallback=self.policy.allow_fallback,
            objective=self.policy.objective,
        )
        return self._add_graph(self.registry.load(builders, encoding, options, self.policy))

    def load_by_name(self, name: str, config: bytes = b"") -> int:
        """Load a named graph; the same name and config give the same handle until `unload`.

        config: JSON that overrides the model's own choice, see `Registry.load_named`.
        """
        known = self._names.get((name, config))
        if known is not None:
            return known
        self._check_room_for_graph()
        allowed = self.policy.models
        if allowed is not None and name not in allowed:
            granted = ", ".join(sorted(allowed)) or "none"
            raise NotFound(f"model {name}: not among this app's models ({granted})")
        target = name if allowed is None else allowed[name]
        handle = self._add_graph(self.registry.load_named(target, config, self.policy))
        self._names[name, config] = handle
        return handle

    def unload(self, graph: int) -> None:
        """Give a graph's handle back at once; its contexts can only be drained."""
        reference = self._graphs.pop(graph, None)
        if reference is None:
            raise InvalidArgument(f"graph handle: got {graph}, {_known(self._graphs)}")
        self._names = {key: handle for key, handle in self._names.items() if handle != graph}
        reference.release()

    # -- contexts --------------------------------------------------------------------------------

    def init_execution_context(self, graph: int) -> int:
        """Make an execution context. Returns: its handle."""
        reference = self._graphs.get(graph)
        if reference is None:
            raise InvalidArgument(f"graph handle: got {graph}, {_known(self._graphs)}")
        if len(self._contexts) >= self.limits.contexts:
            raise Busy(
                f"execution contexts: {self.limits.contexts} are open, the app's limit"
            ).over("handles", len(self._contexts) + 1, self.limits.contexts)
        inputs: list[Array | None] = [None] * len(reference.graph.inputs)
        handle = next(self._context_ids)
        self._contexts[handle] = Context(reference.share(), reference.graph, graph, inputs)
        return handle

    def context(self, handle: int) -> Context:
        """Find a context. Raises: InvalidArgument if there is none of that handle."""
        context = self._contexts.get(handle)
        if context is None:
            raise InvalidArgument(f"context handle: got {handle}, {_known(self._contexts)}")
        return context

    def finalize_execution_context(self, handle: int) -> None:
        """Give a context's handle back."""
        context = self.context(handle)
        del self._contexts[handle]
        self._held_bytes -= context.held_bytes
        context.reference.release()

    # -- computing -------------------------------------------------------------------------------

    def set_input(self, handle: int, index: int, tensor: Tensor) -> None:
        """Copy a tensor into an input."""
        dims = fit(self.input_spec(handle, index), tensor.claim(), f"set_input {index}")
        self.fill_input(handle, index, dims, tensor.data)

    def fill_input(self, handle: int, index: int, dims: tuple[int, ...], data: memoryview) -> None:
        """Copy bytes into an input.

        dims: as `fit` gave them for these bytes.   data: of bytes, as windows into a memory are.
        """
        target = raw_bytes(self.input_buffer(handle, index, dims))
        if len(data) <= _QUICK_BYTES:
            target[:] = data
        else:
            np.copyto(np.frombuffer(target, np.uint8), np.frombuffer(data, np.uint8))
        self.bytes_in += len(data)

    def input_spec(self, handle: int, index: int) -> TensorSpec:
        """Say what an input wants. Raises: InvalidArgument for a wrong handle or index."""
        context = self._open_context(handle)
        specs = context.graph.inputs
        if index >= len(specs):
            raise InvalidArgument(f"input index: got {index}, wanted 0..{len(specs) - 1}")
        return specs[index]

    def input_buffer(self, handle: int, index: int, dims: tuple[int, ...]) -> Array:
        """Give the buffer of an input for someone to fill completely.

        dims: accepted by the input's spec.   Returns: C-contiguous, of the spec's storage dtype,
        owned by the context; valid until the next call for this input.
        """
        context = self._open_context(handle)
        spec = context.graph.inputs[index]
        present = context.inputs[index]
        if present is not None and present.shape == dims:
            return present
        context.inputs[index] = None
        self._hold(context, 0 if present is None else -present.nbytes)
        wanted_bytes = math.prod(dims) * spec.type.itemsize
        self._hold(context, wanted_bytes)
        try:
            fresh = np.empty(dims, spec.type.storage)
        except BaseException:  # no memory: it is not held either
            self._hold(context, -wanted_bytes)
            raise
        context.inputs[index] = fresh
        return fresh

    def compute(self, handle: int) -> None:
        """Compute all outputs from the inputs set so far; inputs stay for the next compute."""
        context = self._open_context(handle)
        inputs = []
        for array in context.inputs:
            if array is None:
                raise _missing(context)
            inputs.append(array)
        # Before the run: a guest that overlooks a failure must not fetch the previous answer.
        previous, context.outputs = context.outputs, None
        if previous is not None:
            self._hold(context, -_size_bytes(previous))
        outputs = self._executor.run(context.graph, inputs, self.ticket)
        self.computes += 1
        self._hold(context, _size_bytes(outputs))
        context.outputs = outputs

    def get_output(self, handle: int, index: int) -> Array:
        """Find a computed output; C-contiguous, borrowed until the next compute."""
        context = self.context(handle)
        count = len(context.graph.outputs)
        if index >= count:
            raise InvalidArgument(f"output index: got {index}, wanted 0..{count - 1}")
        if context.outputs is None:
            raise RuntimeFailure("get_output: nothing is computed yet; call compute first")
        output = context.outputs[index]
        self.bytes_out += output.nbytes
        return output

    # -- streams (WasmEdge): our models give all at once, which is a stream of one step ----------

    def compute_single(self, handle: int) -> None:
        """Compute the next step. Raises: EndOfSequence after the only one."""
        context = self._open_context(handle)
        if context.is_stream_over:
            raise EndOfSequence("compute_single: this model gives its whole output in one step")
        self.compute(handle)
        context.is_stream_over = True

    def get_output_single(self, handle: int, index: int) -> Array:
        """Find the last step's output; empty before the first step."""
        context = self.context(handle)
        if context.outputs is None:
            return np.empty(0, np.uint8)
        return self.get_output(handle, index)

    def fini_single(self, handle: int) -> None:
        """End the stream; the next `compute_single` begins a new one."""
        self.context(handle).is_stream_over = False

    def close(self) -> None:
        """Give everything back."""
        references = list(self._graphs.values())
        references += [context.reference for context in self._contexts.values()]
        self._graphs.clear()
        self._contexts.clear()
        self._held_bytes = 0
        self._names.clear()
        for reference in references:
            reference.release()

    # -- bookkeeping -----------------------------------------------------------------------------

    def _open_context(self, handle: int) -> Context:
        context = self._contexts.get(handle)
        if context is None:
            raise InvalidArgument(f"context handle: got {handle}, {_known(self._contexts)}")
        if context.graph_handle not in self._graphs:
            raise InvalidArgument(f"context {handle}: its graph is unloaded; only drain it")
        return context

    def _add_graph(self, reference: GraphReference) -> int:
        if self._keeper is not None:
            self._keeper.keep(reference)
        handle = next(self._graph_ids)
        self._graphs[handle] = reference
        return handle

    def _check_room_for_graph(self) -> None:
        if len(self._graphs) >= self.limits.graphs:
            raise Busy(
                f"graphs: {self.limits.graphs} are loaded, the app's limit; unload one"
            ).over("graphs", len(self._graphs) + 1, self.limits.graphs)

    def _hold(self, context: Context, more_bytes: int) -> None:
        """Count tensors that a context gets or loses. Raises: InvalidArgument over the limit."""
        held_bytes = self._held_bytes + more_bytes
        if more_bytes > 0 and held_bytes > self.limits.tensor_bytes:
            raise InvalidArgument(
                f"tensors: {self._held_bytes} bytes held and {more_bytes} more wanted, the app's "
                f"limit is {self.limits.tensor_bytes}"
            ).over("tensor_bytes", held_bytes, self.limits.tensor_bytes)
        self._held_bytes = held_bytes
        context.held_bytes += more_bytes


def _size_bytes(arrays: Sequence[Array]) -> int:
    size_bytes = 0
    for array in arrays:
        size_bytes += array.nbytes
    return size_bytes


def _missing(context: Context) -> InvalidArgument:
    """Say which inputs nobody has set."""
    missing = [
        f"{index} ({spec.name}: {spec})"
        for index, spec in enumerate(context.graph.inputs)
        if context.inputs[index] is None
    ]
    return InvalidArgument(f"compute: input {', '.join(missing)} is not set; set it first")


def _known(table: Mapping[int, object]) -> str:
    """Say which handles would have been right."""
    return f"wanted one of {sorted(table)[:8]}" if table else "none is open"
