"""Host functions: what wasm gets to see, by the fast path and by the public one alike."""

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import wasmtime

from tests.wasi_nn.conformance.driver import paths
from wasi_nn import hostcall
from wasi_nn.errors import InvalidArgument, MissingMemory, NNError
from wasi_nn.registry import Registry
from wasi_nn.serving import Guest
from wasi_nn.session import Session

U32 = 0xFFFFFFFF


@pytest.fixture(params=paths().values(), ids=paths().keys())
def path(request: pytest.FixtureRequest) -> Iterator[hostcall.Path]:
    """Both ways in which a host function can be served."""
    with hostcall.using(request.param):
        yield request.param


@dataclass
class Bench:
    """One guest that imports one host function and calls it with what it is called with."""

    guest: Guest
    call: Callable[..., int]
    told: list[tuple[str, NNError]]

    def run(self, *arguments: int) -> int:
        """Call the host from wasm. Returns: what wasm got, unsigned."""
        with self.guest:
            return self.call(*[a - (1 << 32) if a > 0x7FFFFFFF else a for a in arguments]) & U32


def bench(
    function: hostcall.HostFunction,
    arity: int = 0,
    *,
    memory: str = '(memory (export "memory") 1)',
    on_error: Callable[[str, NNError], None] | None = None,
    has_result: bool = True,
) -> Bench:
    """Make a guest on an engine of its own."""
    engine = wasmtime.Engine()
    linker = wasmtime.Linker(engine)
    hostcall.define(linker, "test", "it", arity, function, has_result=has_result)
    ty = f"(param{' i32' * arity})" + (" (result i32)" if has_result else "")
    pushes = " ".join(f"local.get {index}" for index in range(arity))
    wat = f"""(module (import "test" "it" (func $it {ty})) {memory}
        (func (export "run") {ty} {pushes} call $it))"""
    store = wasmtime.Store(engine)
    told: list[tuple[str, NNError]] = []
    listener = on_error or (lambda name, error: told.append((name, error)))
    guest = Guest(store, Session(Registry([])), listener)
    module = wasmtime.Module(engine, wasmtime.wat2wasm(wat))
    exports = linker.instantiate(store, module).exports(store)
    run = exports["run"]
    assert isinstance(run, wasmtime.Func)
    return Bench(guest, hostcall.entry(store, run), told)


def raiser(exc: BaseException) -> hostcall.HostFunction:
    """Make a host function that fails."""

    def fail(_guest: Guest, *_arguments: int) -> int:
        raise exc

    return fail


@pytest.mark.parametrize(
    "arguments",
    [(), (0,), (1, 2, 3, 4, 5), (0x7FFFFFFF, 0x80000000, U32), tuple(range(10))],
    ids=lambda arguments: f"{len(arguments)}-arguments",
)
def test_arguments_are_unsigned(path: hostcall.Path, arguments: tuple[int, ...]) -> None:
    """A host function gets every i32 as the number from 0 to 2^32 - 1 that it stands for."""
    got: list[tuple[int, ...]] = []
    bench(lambda _guest, *rest: got.append(rest), len(arguments)).run(*arguments)

    assert [arguments] == got


@pytest.mark.parametrize(
    ("result", "seen"),
    [(None, 0), (0, 0), (7, 7), (0x7FFFFFFF, 0x7FFFFFFF), (0x80000000, 0x80000000), (U32, U32),
     (-1, U32), (True, 1)],
    ids=str,
)  # fmt: skip
def test_results(path: hostcall.Path, result: int | None, seen: int) -> None:
    """Wasm gets the low 32 bits of the result; None is success."""
    assert seen == bench(lambda _guest: result).run()


def test_no_result(path: hostcall.Path) -> None:
    """A function without a result gives none, whatever happens in it."""
    assert bench(lambda _guest: 5, has_result=False).run() == 0
    assert bench(raiser(InvalidArgument("no")), has_result=False).run() == 0


def test_our_errors_become_errnos(path: hostcall.Path) -> None:
    """A WASI-NN error is its errno to the guest, and its text to the listener."""
    error = InvalidArgument("the index is wrong")
    made = bench(raiser(error))

    assert made.run() == 1
    assert [("it", error)] == made.told


@pytest.mark.parametrize(
    "function",
    [raiser(ValueError("broken")), lambda _guest: "broken", lambda _guest, _more: 0,
     raiser(RecursionError("broken")), raiser(MemoryError("broken"))],
    ids=["raises", "returns-text", "wrong-arity", "recursion", "memory"],
)  # fmt: skip
def test_surprises_become_runtime_errors(
    path: hostcall.Path, function: hostcall.HostFunction, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever goes wrong in a host function is errno 5 for the guest and is logged."""
    assert bench(function).run() == 5
    assert "host function failed name=it" in caplog.text


def test_nothing_surfaces_in_another_call(path: hostcall.Path) -> None:
    """After a failure the next call of any guest is what it is."""
    broken, sound = bench(raiser(ValueError("broken"))), bench(lambda _guest: 42)

    assert [5, 42] * 10 == [each.run() for _ in range(10) for each in (broken, sound)]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_interrupts_wait_for_the_guest(path: hostcall.Path, kind: type[BaseException]) -> None:
    """Ctrl-C in a host function is an errno for the guest and is raised when the guest is out."""
    made = bench(raiser(kind("now")))
    seen: list[int] = []

    def call_twice() -> None:
        with made.guest:
            seen.append(made.call())
            seen.append(made.call())

    with pytest.raises(kind, match="now"):
        call_twice()
    assert [5, 5] == seen
    assert made.guest.interrupt is None


def test_a_failing_listener_is_not_the_guests_matter(
    path: hostcall.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A listener that raises changes nothing for the guest."""

    def listen(name: str, error: NNError) -> None:
        raise ValueError("the listener is broken")

    assert bench(raiser(InvalidArgument("no")), on_error=listen).run() == 1
    assert "listener for failed calls failed" in caplog.text


def test_an_interrupted_listener(path: hostcall.Path) -> None:
    """Ctrl-C in a listener waits for the guest, too."""

    def listen(name: str, error: NNError) -> None:
        raise KeyboardInterrupt("now")

    made = bench(raiser(InvalidArgument("no")), on_error=listen)
    with pytest.raises(KeyboardInterrupt, match="now"):
        made.run()


def test_outside_a_running_guest(path: hostcall.Path, caplog: pytest.LogCaptureFixture) -> None:
    """A call that nobody announced is refused: the host does not guess whose it is."""
    made = bench(lambda guest: guest.session.computes)

    assert made.call() == 5
    assert "outside a running guest" in caplog.text


def test_memory_is_found(path: hostcall.Path) -> None:
    """A guest's first call finds its memory, as a start section needs it."""
    made = bench(lambda guest, pointer: guest.memory.write_u32(pointer, 7, "it"), 1)

    assert made.run(65532) == 0
    assert made.run(65533) == 1
    assert made.guest.memory.size_bytes == 65536


@pytest.mark.parametrize(
    "memory",
    ["", "(memory 1)", '(func (export "memory"))', '(global (export "memory") i32 (i32.const 1))'],
    ids=["none", "not-exported", "function", "global"],
)
def test_no_memory(path: hostcall.Path, memory: str) -> None:
    """Without an exported memory every use of it is errno 3."""
    made = bench(lambda guest: guest.memory.size_bytes, memory=memory)

    assert made.run() == 3
    assert isinstance(made.told[0][1], MissingMemory)


def test_memory_that_grows(path: hostcall.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows are cut from the memory as it is at the call."""

    def grow(guest: Guest) -> int:
        guest.memory.write_u32(0, 1, "it")
        memory = exports["memory"]
        assert isinstance(memory, wasmtime.Memory)
        memory.grow(guest.store, 40)
        guest.memory.write_u32(40 * 65536, 2, "it")
        return guest.memory.size_bytes // 65536

    made = bench(grow)
    exports = {"memory": exported_memory(made, monkeypatch)}
    assert made.run() == 41


def exported_memory(made: Bench, monkeypatch: pytest.MonkeyPatch) -> wasmtime.Memory:
    """Find the memory by a call that binds it."""
    found: list[wasmtime.Memory] = []
    bind = hostcall.bind_memory

    def catch(guest: Guest, memory: Any) -> None:
        found.append(memory)
        bind(guest, memory)

    monkeypatch.setattr(hostcall, "bind_memory", catch)
    made.run()
    return found[0]


def test_close_ends_windows(path: hostcall.Path) -> None:
    """After close the memory is gone; a late look at it is refused and not a crash."""
    made = bench(lambda guest: guest.memory.size_bytes and 0)
    made.run()
    memory = made.guest.memory
    made.guest.close()

    assert memory.size_bytes == 0
    with pytest.raises(InvalidArgument, match="memory of 0 bytes"):
        memory.window(0, 1, "it")
    with pytest.raises(MissingMemory, match="exports no memory"):
        made.guest.memory  # noqa: B018


def test_nested_guests(path: hostcall.Path) -> None:
    """A guest whose host function runs another guest is itself again afterwards."""
    order: list[Guest] = []
    inner = bench(lambda guest: order.append(guest))

    def outer_function(guest: Guest) -> None:
        order.append(guest)
        inner.run()
        order.append(guest)

    outer = bench(outer_function)
    outer.run()

    assert [outer.guest, inner.guest, outer.guest] == order


def test_threads_serve_their_own_guest(path: hostcall.Path) -> None:
    """With guests on many threads at once each call is served for the guest of its thread."""
    barrier = threading.Barrier(4)
    wrong: list[Guest] = []
    benches: list[Bench] = []

    def check(guest: Guest, number: int) -> int:
        if guest is not benches[number].guest:
            wrong.append(guest)
        if number % 2:
            raise InvalidArgument("odd guests fail every time")
        return number

    benches.extend(bench(check, 1) for _ in range(4))
    answers: dict[int, set[int]] = {}

    def work(number: int) -> None:
        barrier.wait()
        answers[number] = {benches[number].run(number) for _ in range(300)}

    threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [] == wrong
    assert {0: {0}, 1: {1}, 2: {2}, 3: {1}} == answers


def test_entry_raises_traps(path: hostcall.Path) -> None:
    """A trap of the guest comes out of the entry as such."""
    store = wasmtime.Store()
    wat = '(module (func (export "run") unreachable))'
    instance = wasmtime.Instance(store, wasmtime.Module(store.engine, wasmtime.wat2wasm(wat)), [])
    run = instance.exports(store)["run"]
    assert isinstance(run, wasmtime.Func)

    with pytest.raises(wasmtime.Trap, match="unreachable"):
        hostcall.entry(store, run)()


@pytest.mark.parametrize("ty", ["(param i64)", "(result f32) f32.const 0", "(param externref)"])
def test_entry_refuses_other_signatures(path: hostcall.Path, ty: str) -> None:
    """Only functions of i32 are made callable."""
    store = wasmtime.Store()
    wat = f'(module (func (export "run") {ty}))'
    instance = wasmtime.Instance(store, wasmtime.Module(store.engine, wasmtime.wat2wasm(wat)), [])
    run = instance.exports(store)["run"]
    assert isinstance(run, wasmtime.Func)

    with pytest.raises(TypeError, match="wanted i32 only"):
        hostcall.entry(store, run)


def test_fast_path_is_used_here() -> None:
    """With the wasmtime that the lock pins host calls are fast."""
    assert hostcall.is_fast()


def test_another_wasmtime_falls_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A wasmtime of another shape is served by the public path, and the log says why."""
    monkeypatch.setattr(hostcall, "_WORDS_PER_VALUE", 2)
    with caplog.at_level(logging.WARNING):
        assert hostcall.fast_path() is None
    assert "got 16 bytes, wanted 8" in caplog.text
