"""Host functions for wasm guests, at the price of a C call.

wasmtime-py's `Linker.define_func` wraps every argument in objects (about 10 us for five i32);
`wasmtime_linker_define_func_unchecked` hands over the raw argument array (about 0.5 us). This file
and `streams` are the only ones that touch wasmtime's C bindings. It checks at import that the
installed wasmtime has the shape it expects, and otherwise serves everything by the public API:
slower, never wrong.

Guarantees:
1. A host function never raises into wasm. wasmtime-py keeps a pending exception in a process
   global, so it would surface in another guest's call (measured: 2-5 % of calls). Whatever happens
   becomes an errno.
2. Arguments are unsigned 32-bit integers, whichever path serves the call.
3. A host function learns from the thread whom it serves (`serving`), so one Linker serves all
   guests of an engine.
"""

import ctypes
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import wasmtime

from wasi_nn.memory import GuestMemory
from wasi_nn.serving import Guest, refuse, thread

log = logging.getLogger(__name__)

HostFunction = Callable[..., int | None]
Entry = Callable[..., int]

# One wasmtime_val_raw_t is a 16-byte union; an i32 is its first 4 bytes.
_WORDS_PER_VALUE = 4
_RAW = ctypes.POINTER(ctypes.c_uint32)
_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p, _RAW, ctypes.c_size_t
)
_NO_FINALIZER = ctypes.cast(0, ctypes.CFUNCTYPE(None, ctypes.c_void_p))


class FastPath:
    """Host functions, entries, memories and deadlines by wasmtime's C bindings."""

    def __init__(self) -> None:
        from wasmtime import _ffi as ffi

        self._ffi: Any = ffi
        self._define = ffi.wasmtime_linker_define_func_unchecked
        self._export_get = ffi.wasmtime_caller_export_get
        # The trampolines live as long as the process: linkers are few, and a freed trampoline
        # that wasm still calls is a crash.
        self._kept: list[Any] = []
        self._callback_type = ffi.wasmtime_func_unchecked_callback_t
        self._check(ffi)
        # Bound again with plain integers: half the price of the wrapper (0.23 us against 0.43).
        # PyDLL keeps Python's lock: who gives it away for nothing queues for it behind others.
        quick, library = ctypes.PyDLL(ffi.dll._name), ctypes.CDLL(ffi.dll._name)
        self._data_size = quick.wasmtime_memory_data_size
        self._data_size.restype = ctypes.c_size_t
        self._data_size.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        self._set_deadline = quick.wasmtime_context_set_epoch_deadline
        self._set_deadline.restype = None
        self._set_deadline.argtypes = [ctypes.c_void_p, ctypes.c_uint64]
        self._call = library.wasmtime_func_call_unchecked
        self._call.restype = ctypes.c_void_p
        self._call.argtypes = [
            ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p
        ]  # fmt: skip

    @staticmethod
    def _check(ffi: Any) -> None:
        """Refuse a wasmtime whose C API is not the one this file was written against."""
        wanted_value_bytes = 4 * _WORDS_PER_VALUE
        got = ctypes.sizeof(ffi.wasmtime_val_raw_t)
        if got != wanted_value_bytes:
            raise ImportError(f"wasmtime_val_raw_t: got {got} bytes, wanted {wanted_value_bytes}")
        callback = ffi.wasmtime_func_unchecked_callback_t
        shape = [callback._restype_, *callback._argtypes_]
        wanted = [
            ctypes.c_size_t, ctypes.c_void_p, ctypes.POINTER(ffi.wasmtime_caller_t),
            ctypes.POINTER(ffi.wasmtime_val_raw_t), ctypes.c_size_t,
        ]  # fmt: skip
        if shape != wanted:
            raise ImportError("wasmtime_func_unchecked_callback_t has another signature")

    def define(
        self, linker: wasmtime.Linker, module: str, name: str, ty: wasmtime.FuncType,
        function: HostFunction,
    ) -> None:  # fmt: skip
        # For no parameters a negative stop: ctypes makes one element of an empty slice with a step.
        stop = _WORDS_PER_VALUE * len(ty.params) or -_WORDS_PER_VALUE
        has_result = bool(ty.results)
        bind = self._bind
        ended = self._ended

        # This is the price of every host call, so it is written out: no helper, no tuple.
        def callback(_env: object, caller: int, raw: Any, _count: int) -> int:
            try:
                guest = thread.guest
                if guest is not None:
                    if guest.bound_memory is None:
                        bind(guest, caller)
                    guest.calls_at_ease -= 1
                    if guest.calls_at_ease < 0 and guest.on_many_calls():
                        return ended()
                errno = function(guest, *raw[0:stop:_WORDS_PER_VALUE]) or 0
                if has_result:
                    raw[0] = errno
            except BaseException as exc:
                errno = refuse(name, exc)
                if has_result:
                    raw[0] = errno
            return 0

        trampoline = _CALLBACK(callback)
        self._kept.append(trampoline)
        module_bytes, name_bytes = module.encode(), name.encode()
        error = self._define(
            linker.ptr(),
            ctypes.create_string_buffer(module_bytes), len(module_bytes),
            ctypes.create_string_buffer(name_bytes), len(name_bytes),
            ty.ptr(), ctypes.cast(trampoline, self._callback_type), None, _NO_FINALIZER,
        )  # fmt: skip
        if error:
            raise wasmtime.WasmtimeError._from_ptr(error)

    def entry(
        self, store: wasmtime.Store, function: wasmtime.Func, parameters: int, has_result: bool
    ) -> Entry:
        # Checked calls look the signature up every time, about 10 us; it is known here.
        ffi = self._ffi
        slots = max(parameters, 1)
        values = (ffi.wasmtime_val_raw_t * slots)()
        words = ctypes.cast(values, ctypes.POINTER(ctypes.c_int32))
        context = ctypes.cast(store._context(), ctypes.c_void_p).value
        raw_function, call_unchecked = function._func, self._call
        function_at, values_at = ctypes.addressof(raw_function), ctypes.addressof(values)
        trap = ctypes.c_void_p()
        trap_at = ctypes.addressof(trap)
        error_pointer: Any = ctypes.POINTER(ffi.wasmtime_error_t)
        trap_pointer: Any = ctypes.POINTER(ffi.wasm_trap_t)

        def call(*arguments: int, _keep: object = (raw_function, values)) -> int:
            for index, argument in enumerate(arguments):
                words[_WORDS_PER_VALUE * index] = argument
            error = call_unchecked(context, function_at, values_at, slots, trap_at)
            if error:
                raise wasmtime.WasmtimeError._from_ptr(ctypes.cast(error, error_pointer))
            if trap.value:
                raised: Any = ctypes.cast(trap.value, trap_pointer)
                trap.value = None
                raise wasmtime.Trap._from_ptr(raised)
            return words[0] if has_result else 0

        return call

    def _ended(self) -> int:
        """Make a trap, which wasmtime takes over, and free of Python's exceptions (guarantee 1)."""
        text = b"ended by the host"
        trap = self._ffi.wasmtime_trap_new(ctypes.create_string_buffer(text), len(text))
        return ctypes.cast(trap, ctypes.c_void_p).value or 0

    def _bind(self, guest: Guest, caller: int) -> None:
        """Find the memory of a guest that calls us from its start section."""
        item = self._ffi.wasmtime_extern_t()
        pointer = ctypes.cast(caller, ctypes.POINTER(self._ffi.wasmtime_caller_t))
        found = self._export_get(pointer, ctypes.create_string_buffer(b"memory"), 6, item)
        if found and item.kind == self._ffi.WASMTIME_EXTERN_MEMORY.value:
            bind_memory(guest, wasmtime.Memory._from_raw(item.of.memory))

    def memory_of(self, store: wasmtime.Store, memory: wasmtime.Memory) -> GuestMemory:
        context = ctypes.cast(store._context(), ctypes.c_void_p).value
        # The second function keeps `memory`, and with it what lies at the address.
        size_of = partial(self._data_size, context, ctypes.addressof(memory._memory))
        return GuestMemory(size_of, lambda: _view(store, memory))

    def deadline_of(self, store: wasmtime.Store) -> Callable[[int], object]:
        context = ctypes.cast(store._context(), ctypes.c_void_p).value
        return partial(self._set_deadline, context)


class PublicPath:
    """The same by wasmtime-py's public API."""

    def define(
        self, linker: wasmtime.Linker, module: str, name: str, ty: wasmtime.FuncType,
        function: HostFunction,
    ) -> None:  # fmt: skip
        has_result = bool(ty.results)

        def callback(caller: wasmtime.Caller, *arguments: int) -> int | None:
            try:
                guest = thread.guest
                if guest is not None:
                    if guest.bound_memory is None:
                        bind_memory(guest, caller.get("memory"))
                    guest.calls_at_ease -= 1
                    if guest.calls_at_ease < 0:
                        guest.on_many_calls()
                # The public API hands i32 over as signed.
                errno = function(guest, *[argument & 0xFFFFFFFF for argument in arguments]) or 0
                errno = int(errno) & 0xFFFFFFFF
            except BaseException as exc:
                errno = refuse(name, exc)
            if not has_result:
                return None
            return errno - (1 << 32) if errno > 0x7FFFFFFF else int(errno)

        linker.define_func(module, name, ty, callback, access_caller=True)

    def entry(
        self, store: wasmtime.Store, function: wasmtime.Func, parameters: int, has_result: bool
    ) -> Entry:
        del parameters, has_result  # the checked call finds out itself
        return lambda *arguments: cast(int, function(store, *arguments) or 0)

    def memory_of(self, store: wasmtime.Store, memory: wasmtime.Memory) -> GuestMemory:
        return GuestMemory(lambda: memory.data_len(store), lambda: _view(store, memory))

    def deadline_of(self, store: wasmtime.Store) -> Callable[[int], object]:
        return store.set_epoch_deadline


def _view(store: wasmtime.Store, memory: wasmtime.Memory) -> memoryview:
    """View all of a memory as writable bytes."""
    size = memory.data_len(store)
    if size == 0:
        return memoryview(bytearray())
    address = ctypes.addressof(memory.data_ptr(store).contents)
    return memoryview((ctypes.c_ubyte * size).from_address(address)).cast("B")


PUBLIC_PATH = PublicPath()


def fast_path() -> FastPath | None:
    """Make the fast path, or say in the log why this wasmtime does not allow it."""
    try:
        return FastPath()
    except (ImportError, AttributeError) as exc:
        log.warning("fast host calls off, wasmtime has another shape reason=%s", exc)
        return None


Path = FastPath | PublicPath
_path: Path = fast_path() or PUBLIC_PATH


def is_fast() -> bool:
    """Tell whether host calls take the fast path."""
    return isinstance(_path, FastPath)


@contextmanager
def using(path: Path) -> Iterator[None]:
    """Define host functions by this path inside the block; for tests and measurements."""
    global _path
    previous, _path = _path, path
    try:
        yield
    finally:
        _path = previous


Wrapper = Callable[[str, HostFunction], HostFunction]
_wrap: Wrapper = lambda name, function: function  # noqa: E731


@contextmanager
def wrapping(wrapper: Wrapper) -> Iterator[None]:
    """Define host functions as the wrapper makes them of name and function, inside the block."""
    global _wrap
    previous, _wrap = _wrap, wrapper
    try:
        yield
    finally:
        _wrap = previous


def define(
    linker: wasmtime.Linker, module: str, name: str, parameters: int, function: HostFunction,
    *, has_result: bool = True,
) -> None:  # fmt: skip
    """Offer a host function to guests.

    parameters: how many i32 it takes.   function: called with the Guest and as many unsigned
    integers; returns an errno (None counts as 0) and may raise anything.
    """
    i32 = wasmtime.ValType.i32
    ty = wasmtime.FuncType([i32() for _ in range(parameters)], [i32()] if has_result else [])
    _path.define(linker, module, name, ty, _wrap(f"{module}.{name}", function))


def memory_of(store: wasmtime.Store, memory: wasmtime.Memory) -> GuestMemory:
    """Make the bounds-checked memory of an instance."""
    return _path.memory_of(store, memory)


def deadline_of(store: wasmtime.Store) -> Callable[[int], object]:
    """Make what sets a store's deadline, in epochs from the engine's present one."""
    return _path.deadline_of(store)


def bind_memory(guest: Guest, memory: Any) -> None:
    """Let an instance's exported memory be its guest's, if it is one."""
    if isinstance(memory, wasmtime.Memory):
        guest.bound_memory = memory_of(guest.store, memory)


def entry(store: wasmtime.Store, function: wasmtime.Func) -> Entry:
    """Make a guest's exported function callable.

    function: takes i32 only and returns one i32 or nothing.
    Returns: called with integers of 32 bits, signed; gives the result, signed, or 0 for nothing.
    Raises when called: wasmtime.Trap, wasmtime.WasmtimeError (ExitTrap for an exit).
    Raises: TypeError for another signature.
    """
    ty = function.type(store)
    kinds = {str(kind) for kind in [*ty.params, *ty.results]}
    if kinds - {"i32"} or len(ty.results) > 1:
        raise TypeError(f"entry: got {ty.params} -> {ty.results}, wanted i32 only, one result")
    return _path.entry(store, function, len(ty.params), bool(ty.results))
