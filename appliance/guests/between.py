"""The module between a guest and the engine's WASI, and which files lie where.

The engine's functions look for the memory that their caller exports, and a function of ours
exports none. So a module of a few lines stands in between: it imports the guest's memory, exports
it again, and passes calls on.
"""

from collections.abc import Mapping

import wasmtime

from appliance.guests.quotas import FolderSpace
from appliance.guests.sleeping import MODULE

EIO, EFAULT = 29, 21
PASSED_ON = {
    "fd_allocate": "iII", "fd_close": "i", "fd_filestat_set_size": "iI", "fd_pwrite": "iiiIi",
    "fd_renumber": "ii", "fd_write": "iiii", "path_create_directory": "iii",
    "path_link": "iiiiiii", "path_open": "iiiiiIIii",
}  # fmt: skip
_NAMES = {"i": "i32", "I": "i64"}


def passing_on() -> str:
    """Write the module in between, as text."""
    imports, functions = [], []
    for name, signature in PASSED_ON.items():
        kinds = " ".join(_NAMES[kind] for kind in signature)
        arguments = " ".join(f"(local.get {index})" for index in range(len(signature)))
        imports.append(f'(import "" "{name}" (func ${name} (param {kinds}) (result i32)))')
        functions.append(
            f'(func (export "{name}") (param {kinds}) (result i32) (call ${name} {arguments}))'
        )
    memory = '(import "" "memory" (memory 0)) (export "memory" (memory 0))'
    return f"(module {' '.join(imports)} {memory} {' '.join(functions)})"


class Between:
    """The module in between, compiled for an engine, and the functions that it calls."""

    def __init__(self, engine: wasmtime.Engine) -> None:
        self._module = wasmtime.Module(engine, passing_on())
        self._linker = wasmtime.Linker(engine)
        self._linker.define_wasi()

    def functions(self, store: wasmtime.Store, memory: wasmtime.Memory) -> dict[str, wasmtime.Func]:
        """Give the engine's functions, for one guest."""
        own = [self._linker.get(store, MODULE, name) for name in PASSED_ON]
        exports = wasmtime.Instance(store, self._module, [*own, memory]).exports(store)
        return {name: exports[name] for name in PASSED_ON}  # type: ignore[misc]


class Files:
    """The open files of one instance: which of them lie in a folder with a limit.

    preopened: descriptor -> its folder's space.
    """

    def __init__(
        self, between: Between, store: wasmtime.Store, preopened: Mapping[int, FolderSpace]
    ) -> None:
        self._between = between
        self._store = store
        self._spaces = dict(preopened)
        self._functions: dict[str, wasmtime.Func] | None = None

    def space(self, descriptor: int) -> FolderSpace | None:
        """Find the space that a file or folder takes from."""
        return self._spaces.get(descriptor)

    def move(self, descriptor: int, target: int | None) -> None:
        """Note that a descriptor is closed (None), or another one now."""
        space = self._spaces.pop(descriptor, None)
        if target is not None:
            self._spaces.pop(target, None)
            self.note(target, space)

    def note(self, descriptor: int, space: FolderSpace | None) -> None:
        """Note what was opened."""
        if space is not None:
            self._spaces[descriptor] = space

    def call(self, caller: wasmtime.Caller, name: str, arguments: tuple[int, ...]) -> int:
        """Call the engine's function for the guest."""
        if self._functions is None:
            memory = caller.get("memory")
            if not isinstance(memory, wasmtime.Memory):
                return EFAULT
            self._functions = self._between.functions(self._store, memory)
        try:
            return int(self._functions[name](self._store, *arguments))
        except (wasmtime.Trap, wasmtime.WasmtimeError):
            # Its deadline, for one: the guest ends by itself when this returns.
            return EIO
