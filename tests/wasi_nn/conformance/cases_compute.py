"""Cases of contexts, `compute` and `get_output`."""

import numpy as np

from tests.wasi_nn.conformance.dialects import ALL, EPHEMERAL, ML
from tests.wasi_nn.conformance.nets import EVERY, REAL
from tests.wasi_nn.conformance.table import Rig, case, cases_of

ONES = [[1, 1, 1, 1]]
U32_MAX = 0xFFFFFFFF
NO_HANDLES = (0, 1, 9999, 0x80000000, U32_MAX)


@case("5.2 (8)")
def init_unknown_graph(rig: Rig) -> None:
    """A graph handle that was never given is refused, also the one that comes next."""
    for graph in NO_HANDLES:
        rig.init(graph, errno=1)


@case("5.2 (9)", ALL, EVERY)
def init_counts_from_zero(rig: Rig) -> None:
    """Contexts count from 0 over all graphs."""
    rig.equal("of the first graph", 0, rig.init(rig.load()))
    rig.equal("of the second graph", 1, rig.init(rig.load("two")))
    rig.equal("another of the first", 2, rig.init(0))


@case("5.4")
def init_out_pointer_outside(rig: Rig) -> None:
    """A handle that cannot be stored is refused before the context is made."""
    graph = rig.load()
    for out in rig.outside():
        rig.call("init_execution_context", graph, out, errno=1)
    rig.equal("context", 0, rig.init(graph))


@case("1.5")
def init_more_than_the_limit(rig: Rig) -> None:
    """A guest that has all the contexts it may have is told to try later: busy."""
    graph = rig.load()
    for _ in range(rig.session.limits.contexts):
        rig.init(graph)
    rig.init(graph, errno=4)


@case("5.2 (10), (22)")
def unknown_context(rig: Rig) -> None:
    """A context handle that was never given is refused by every function."""
    rig.load()
    tensor, buffer, size = rig.f32(ONES), rig.room(16), rig.room(4)
    for context in NO_HANDLES:
        rig.call("set_input", context, 0, tensor, errno=1)
        rig.call("compute", context, errno=1)
        rig.fetch(context, 0, buffer, 16, size, errno=1)


@case("5.2 (10)", ALL, EVERY)
def set_input_index_out_of_range(rig: Rig) -> None:
    """An input that the model has not is refused."""
    context = rig.context()
    for index in (1, 256, 0x80000000, U32_MAX):
        rig.set_input(context, index, ONES, errno=1)


@case("5.2 (10)", ALL, EVERY)
def set_input_twice(rig: Rig) -> None:
    """The last tensor wins."""
    context = rig.context()
    rig.set_input(context, 0, ONES)
    rig.set_input(context, 0, [[2, 3, 4, 5]])
    rig.call("compute", context)

    rig.gives(context, 0, [[5, 7, 9, 11]])


@case("5.4", ALL, EVERY)
def set_input_copies(rig: Rig) -> None:
    """The guest may overwrite tensor, dims and data before `compute`."""
    context = rig.context()
    start = rig.room(0)
    tensor = rig.f32([[1, 2, 3, 4]])
    rig.call("set_input", context, 0, tensor)
    rig.write(start, b"\xff" * (tensor + 20 - start))
    rig.call("compute", context)

    rig.gives(context, 0, [[3, 5, 7, 9]])


@case("5.4", ALL, EVERY)
def inputs_in_either_order(rig: Rig) -> None:
    """A model of two inputs takes them in any order, and gives its outputs in its own."""
    right, left = np.full((2, 3), 5), np.full((2, 3), 2)
    graph = rig.load("two")
    for order in ((0, 1), (1, 0)):
        context = rig.init(graph)
        for index in order:
            rig.set_input(context, index, (right, left)[index])
        rig.call("compute", context)
        rig.gives(context, 0, right + left)
        rig.gives(context, 1, right - left)


@case("5.2 (11), 1.5", ALL, EVERY)
def compute_without_input(rig: Rig) -> None:
    """An input that was never set is named and refused, with 1 (WasmEdge: 5, 1 or 3)."""
    context = rig.context()
    rig.call("compute", context, errno=1)
    other = rig.context("two")
    rig.set_input(other, 1, np.zeros((2, 3)))
    rig.call("compute", other, errno=1)


@case("5.4, 1.6", ALL, EVERY)
def compute_twice(rig: Rig) -> None:
    """A second compute replaces the outputs (WasmEdge's torch gives the first again)."""
    context = rig.computed(ONES)
    rig.gives(context, 0, [[3, 3, 3, 3]])
    rig.set_input(context, 0, [[2, 2, 2, 2]])
    rig.gives(context, 0, [[3, 3, 3, 3]])
    rig.call("compute", context)
    rig.gives(context, 0, [[5, 5, 5, 5]])


@case("1.6", ALL, EVERY)
def compute_again_with_the_same_input(rig: Rig) -> None:
    """Inputs stay set for the next compute."""
    context = rig.computed(ONES)
    rig.call("compute", context)
    rig.gives(context, 0, [[3, 3, 3, 3]])


@case("1.5")
def compute_fails(rig: Rig) -> None:
    """A failed compute leaves nothing to fetch, the outputs of the one before neither."""
    context = rig.computed(ONES, "fails")
    rig.set_input(context, 0, [[13, 0, 0, 0]])
    rig.call("compute", context, errno=5)
    rig.fetch(context, 0, rig.room(16), 16, rig.room(4), errno=5)
    rig.set_input(context, 0, ONES)
    rig.call("compute", context)
    rig.gives(context, 0, [[1, 1, 1, 1]])


@case("1.6", ALL, EVERY)
def contexts_do_not_meet(rig: Rig) -> None:
    """Two contexts of one graph have their own inputs and outputs."""
    graph = rig.load()
    first, second = rig.init(graph), rig.init(graph)
    rig.set_input(first, 0, ONES)
    rig.set_input(second, 0, [[2, 2, 2, 2], [4, 4, 4, 4]])
    rig.call("compute", first)
    rig.call("compute", second)

    rig.gives(first, 0, [[3, 3, 3, 3]])
    rig.gives(second, 0, [[5, 5, 5, 5], [9, 9, 9, 9]])


@case("1.5", ALL, EVERY)
def output_before_compute(rig: Rig) -> None:
    """Nothing computed, nothing to fetch: 5 (as wasmtime and WAMR; WasmEdge gives zeros)."""
    context = rig.context()
    rig.fetch(context, 0, rig.room(16), 16, rig.room(4), errno=5)


@case("5.2 (12)", EPHEMERAL, EVERY)
def output_size_pointer_outside(rig: Rig) -> None:
    """A size that cannot be stored is refused and nothing is written."""
    context, buffer = rig.computed(ONES), rig.room(16)
    for pointer in rig.outside():
        rig.call("get_output", context, 0, buffer, 16, pointer, errno=1)


@case("5.2 (12)", (ML,), EVERY)
def legacy_output_size_pointer_outside(rig: Rig) -> None:
    """The legacy size is read and written; it has to be in memory."""
    context, buffer = rig.computed(ONES), rig.room(16)
    for pointer in rig.outside():
        rig.call("get_output", context, 0, buffer, pointer, errno=1)


@case("5.2 (12), 5.4")
def output_buffer_outside(rig: Rig) -> None:
    """A buffer that is not all in memory is refused, even where the output would fit."""
    context, size = rig.computed(ONES), rig.room(4)
    for pointer in rig.outside(16):
        rig.fetch(context, 0, pointer, 16, size, errno=1)
    for pointer, capacity in ((0, U32_MAX), (0x80000000, 0x80000000), (64, U32_MAX - 63)):
        rig.fetch(context, 0, pointer, capacity, size, errno=1)


@case("5.2 (12)", ALL, EVERY)
def output_index_out_of_range(rig: Rig) -> None:
    """An output that the model has not is refused."""
    context = rig.computed(ONES)
    for index in (1, 256, 0x80000000, U32_MAX):
        rig.fetch(context, index, rig.room(16), 16, rig.room(4), errno=1)


@case("5.2 (13)", ALL, EVERY)
def output_exact_size(rig: Rig) -> None:
    """A buffer of exactly the size is filled, the size is told."""
    rig.gives(rig.computed([[1, 2, 3, 4]]), 0, [[3, 5, 7, 9]])


@case("5.2 (13)", ALL, EVERY)
def output_larger_buffer(rig: Rig) -> None:
    """Behind the output the buffer stays as it was."""
    context = rig.computed([[1, 2, 3, 4]])
    buffer, size = rig.room(64), rig.room(4)
    rig.fetch(context, 0, buffer, 64, size)

    rig.equal("size", 16 // rig.unit, rig.u32(size))
    rig.equal("rest", b"\xa5" * 48, rig.read(buffer + 16, 48))


@case("5.2 (14)", ALL, EVERY)
def output_too_small_by_one(rig: Rig) -> None:
    """One unit too few: 7, the size that would fit, and no byte of the buffer written."""
    context = rig.computed(ONES)
    buffer, size = rig.room(32), rig.room(4)
    rig.fetch(context, 0, buffer, 16 - rig.unit, size, errno=7)

    rig.equal("size", 16 // rig.unit, rig.u32(size))
    rig.equal("buffer", b"\xa5" * 32, rig.read(buffer, 32))


@case("5.2 (14)", ALL, EVERY)
def output_size_probe(rig: Rig) -> None:
    """A capacity of 0 asks for the size; the buffer may then be anywhere in memory."""
    context, size = rig.computed(ONES), rig.room(4)
    for buffer in (0, rig.size):
        rig.fetch(context, 0, buffer, 0, size, errno=7)
        rig.equal("size", 16 // rig.unit, rig.u32(size))
    rig.fetch(context, 0, U32_MAX, 0, size, errno=1)


@case("5.4")
def output_size_in_the_buffer(rig: Rig) -> None:
    """A size pointer inside the buffer is written last, over the output."""
    context, buffer = rig.computed([[1, 2, 3, 4]]), rig.room(16)
    rig.fetch(context, 0, buffer, 16, buffer + 4)

    wanted = np.array([3, 5, 7, 9], np.float32)
    wanted.view(np.uint32)[1] = 16 // rig.unit
    rig.equal("buffer", wanted.tobytes(), rig.read(buffer, 16))


@case("1.6", ALL, EVERY)
def output_twice(rig: Rig) -> None:
    """An output may be fetched as often as one likes."""
    context = rig.computed(ONES)
    rig.gives(context, 0, [[3, 3, 3, 3]])
    rig.gives(context, 0, [[3, 3, 3, 3]])


@case("5.4", ALL, EVERY)
def output_of_no_rows(rig: Rig) -> None:
    """A batch of no rows computes to an output of no bytes."""
    context = rig.computed(np.zeros((0, 4)))
    rig.equal("output", b"", rig.output(context, 0, 0))


@case("5.1, 1.6", ALL, REAL)
def output_of_a_batch(rig: Rig) -> None:
    """A free batch takes as many rows as are given, another number each time."""
    context = rig.context()
    for rows in (3, 1, 2):
        values = np.arange(rows * 4).reshape(rows, 4)
        rig.set_input(context, 0, values)
        rig.call("compute", context)
        rig.gives(context, 0, 2 * values + 1)


CASES = cases_of(globals())
