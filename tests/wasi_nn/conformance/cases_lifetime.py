"""Cases of WasmEdge's extensions (streams, `unload`), of memory that grows, and of threads."""

import threading
from collections.abc import Sequence

from tests.wasi_nn.conformance.dialects import ALL, MAX_PAGES, PAGES, WE, driver_wat
from tests.wasi_nn.conformance.nets import EVERY
from tests.wasi_nn.conformance.table import PAGE, Rig, case, cases_of
from wasi_nn.backend import Graph
from wasi_nn.executor import DirectExecutor, Ticket
from wasi_nn.tensor import Array

ONES = [[1, 1, 1, 1]]
END_OF_SEQUENCE = 100


@case("5.2 (15)", (WE,), EVERY)
def stream_before_the_first_step(rig: Rig) -> None:
    """A fresh context gives an output of no bytes."""
    rig.equal("output", b"", rig.output(rig.context(), 0, 0, "get_output_single"))


@case("1.6", (WE,), EVERY)
def stream_of_one_step(rig: Rig) -> None:
    """A model that is no generator gives all in one step, then the end; `fini_single` rewinds."""
    context = rig.context()
    rig.set_input(context, 0, ONES)
    for _ in range(2):
        rig.call("compute_single", context)
        rig.equal("step", 16, len(rig.output(context, 0, 16, "get_output_single")))
        rig.call("compute_single", context, errno=END_OF_SEQUENCE)
        rig.call("compute_single", context, errno=END_OF_SEQUENCE)
        rig.call("fini_single", context)


@case("1.6", (WE,))
def stream_misused(rig: Rig) -> None:
    """Unknown handles, missing inputs, small buffers: as the functions of one step."""
    context, buffer, size = rig.context(), rig.room(16), rig.room(4)
    rig.call("compute_single", context, errno=1)
    rig.set_input(context, 0, ONES)
    rig.call("compute_single", context)
    rig.call("get_output_single", context, 0, buffer, 15, size, errno=7)
    rig.call("get_output_single", context, 1, buffer, 16, size, errno=1)
    for function in ("compute_single", "fini_single"):
        rig.call(function, 9999, errno=1)
    rig.call("get_output_single", 9999, 0, buffer, 16, size, errno=1)


@case("5.2 (16), 1.6", (WE,), EVERY)
def unload_leaves_contexts_to_drain(rig: Rig) -> None:
    """After `unload` a context gives what it computed, and takes and computes no more."""
    graph = rig.load()
    first, second = rig.init(graph), rig.init(graph)
    rig.set_input(first, 0, ONES)
    rig.call("compute", first)
    rig.call("unload", graph)
    rig.call("unload", graph, errno=1)
    rig.init(graph, errno=1)
    rig.set_input(first, 0, ONES, errno=1)
    rig.call("compute", first, errno=1)
    rig.call("compute_single", first, errno=1)
    rig.gives(first, 0, [[3, 3, 3, 3]])
    rig.output(first, 0, 16, "get_output_single")
    rig.call("fini_single", first)
    for context in (first, second):
        rig.call("finalize_execution_context", context)
        rig.call("finalize_execution_context", context, errno=1)
    rig.equal("graphs left", 0, len(rig.registry.statistics().graphs))


@case("5.2 (17)", (WE,))
def unload_gives_no_handle_twice(rig: Rig) -> None:
    """Graphs and contexts that come later have fresh handles."""
    rig.equal("graph", 0, rig.load())
    rig.equal("context", 0, rig.init(0))
    rig.call("finalize_execution_context", 0)
    rig.call("unload", 0)
    rig.equal("graph", 1, rig.load())
    rig.equal("context", 1, rig.init(1))


@case("1.6", (WE,))
def unload_makes_room(rig: Rig) -> None:
    """A guest that unloads may load on for ever."""
    for handle in range(3 * rig.session.limits.graphs):
        rig.equal("graph", handle, rig.load())
        rig.call("unload", handle)


@case("5.2 (22)", (WE,))
def unload_unknown(rig: Rig) -> None:
    """Handles that were never given are refused."""
    for handle in (0, 9999, 0x80000000, 0xFFFFFFFF):
        rig.call("unload", handle, errno=1)
        rig.call("finalize_execution_context", handle, errno=1)


@case("5.2 (18)", (WE,))
def hammering_dead_handles(rig: Rig) -> None:
    """A guest that hammers dead handles on its own thread does not disturb one that computes."""
    other = rig.another()
    dead = other.context()
    other.call("finalize_execution_context", dead)
    other.call("unload", 0)
    wrong: list[int] = []

    def hammer() -> None:
        for _ in range(200):
            for function, handle in (("compute", dead), ("unload", 0), ("fini_single", dead)):
                wrong.extend({other.driver.call(function, handle)} - {1})

    thread = threading.Thread(target=hammer, name="hammer")
    thread.start()
    context = rig.context()
    for number in range(100):
        rig.set_input(context, 0, [[number] * 4])
        rig.call("compute", context)
        rig.gives(context, 0, [[2 * number + 1] * 4])
    thread.join()
    rig.equal("answers to the hammer other than 1", [], wrong)


@case("5.4", ALL, EVERY)
def memory_grown_between_calls(rig: Rig) -> None:
    """Memory may move when it grows; the next call finds it, and its new part is inside."""
    context = rig.context()
    last = rig.size
    rig.driver.grow(MAX_PAGES // 2)
    rig.equal("bytes of memory", (PAGES + MAX_PAGES // 2) * PAGE, rig.size)
    tensor = rig.f32(ONES)
    rig.write(last, rig.read(tensor, 20))
    rig.call("set_input", context, 0, last)
    rig.call("compute", context)
    rig.fetch(context, 0, rig.size - 16, 16, last)
    rig.equal("output", b"\0\0\x40\x40" * 4, rig.read(rig.size - 16, 16))


class GrowingExecutor:
    """Grow the guest's memory while its compute is under way, as a second thread of it might."""

    def __init__(self) -> None:
        self.rig: Rig | None = None

    def run(self, graph: Graph, inputs: Sequence[Array], ticket: Ticket) -> list[Array]:
        if self.rig is not None:
            memory = self.rig.driver.memory
            assert memory is not None, "the driver exports one"
            memory.grow(self.rig.driver.store, MAX_PAGES // 2)
        return DirectExecutor().run(graph, inputs, ticket)


@case("5.4")
def memory_grown_during_a_call(rig: Rig) -> None:
    """Memory that grows while a call is under way is found by the rest of it and by the next."""
    executor = GrowingExecutor()
    grown = rig.another(executor=executor)
    context = grown.context()
    grown.set_input(context, 0, ONES)
    executor.rig = grown
    grown.call("compute", context)
    grown.equal("bytes of memory", (PAGES + MAX_PAGES // 2) * PAGE, grown.size)
    grown.gives(context, 0, [[3, 3, 3, 3]])


def start_wat(rig: Rig) -> str:
    """Write a guest that loads `scale` by name in its start section; errnos go to 32 and 36."""
    body = """
      i32.const 32 (call $load_by_name (i32.const 0) (i32.const 5) (i32.const 40)) i32.store
      i32.const 36 (call $init_execution_context (i32.const 0) (i32.const 44)) i32.store"""
    memory = f'(memory (export "memory") {PAGES} {MAX_PAGES}) (data (i32.const 0) "scale")'
    return driver_wat(rig.dialect, memory=memory, start=body)


@case("5.4", ALL, EVERY)
def calls_from_a_start_section(rig: Rig) -> None:
    """A guest may call before anyone outside has seen its memory."""
    early = rig.another(wat=start_wat(rig))
    for place, what in ((32, "load_by_name"), (36, "init"), (40, "graph"), (44, "context")):
        rig.equal(what, 0, early.u32(place))
    early.set_input(0, 0, ONES)
    early.call("compute", 0)
    early.gives(0, 0, [[3, 3, 3, 3]])


@case("1.4")
def guest_without_memory(rig: Rig) -> None:
    """A guest that exports no memory is told so: 3 (WasmEdge traps). Nothing else needs one."""
    bare = rig.another(wat=driver_wat(rig.dialect, memory="(memory 1)"))
    for function, arity in rig.dialect.functions.items():
        needs_no_memory = arity == 1
        first_unknown = function.startswith("get_output") and not rig.dialect.is_legacy
        errno = 1 if needs_no_memory or first_unknown else 3
        bare.call(function, *[0] * arity, errno=errno)


CASES = cases_of(globals())
