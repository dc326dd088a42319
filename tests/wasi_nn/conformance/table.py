"""What a conformance case is: who is asked what, and what it has to answer."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.wasi_nn.conformance.dialects import ALL, ML, Dialect
from tests.wasi_nn.conformance.driver import Driver
from tests.wasi_nn.conformance.nets import FAKE, Net
from wasi_nn import hostcall
from wasi_nn.executor import Executor
from wasi_nn.policy import Policy, SessionLimits
from wasi_nn.registry import Registry
from wasi_nn.session import Session

F32 = 1
PAGE = 65536
# Whatever a compiler leaves behind the type byte; real guests send such bytes.
PADDING = b"\x03\x10\x7f"
_FIRST = 64


@dataclass(frozen=True)
class Answer:
    """One thing that a case asked: an errno, or a value."""

    what: str
    expected: Any
    got: Any
    is_errno: bool = False

    @property
    def is_right(self) -> bool:
        return bool(self.expected == self.got)


@dataclass(frozen=True)
class Case:
    """One rule of the ABI.

    source: whose test or finding it mirrors, by the section of reference/wasi_nn.md.
    does: what is asked and wanted, in a sentence.   nets: names of the backends to ask.
    play: asks.
    """

    id: str
    source: str
    does: str
    dialects: tuple[Dialect, ...]
    nets: tuple[str, ...]
    play: Callable[["Rig"], None] = field(repr=False)


def case(
    source: str, dialects: Sequence[Dialect] = ALL, nets: Sequence[str] = FAKE
) -> Callable[[Callable[["Rig"], None]], Case]:
    """Make a case of a function that plays it; its docstring is the rule."""

    def made(play: Callable[["Rig"], None]) -> Case:
        assert play.__doc__, f"{play.__name__} says what it wants"
        name = play.__name__.replace("_", "-")
        return Case(name, source, play.__doc__, tuple(dialects), tuple(nets), play)

    return made


def cases_of(names: dict[str, object]) -> tuple[Case, ...]:
    """Collect the cases of a module."""
    return tuple(value for value in names.values() if isinstance(value, Case))


class Rig:
    """A guest of one dialect on a host with one backend, and what it was answered.

    Pointers it gives are 4-aligned places of their own in the guest's memory.
    """

    def __init__(
        self, dialect: Dialect, net: Net, path: hostcall.Path, *,
        registry: Registry | None = None, executor: Executor | None = None,
        limits: SessionLimits | None = None, policy: Policy | None = None, wat: str = "",
    ) -> None:  # fmt: skip
        self.dialect, self.net, self.path = dialect, net, path
        self.registry = registry or Registry([net.make()], net.catalogue())
        self.session = Session(self.registry, executor, limits, policy)
        unit = net.unit if dialect.is_legacy else 1
        self.unit = unit
        self.driver = Driver(dialect, self.session, unit=unit, path=path, wat=wat)
        self.answers: list[Answer] = []
        self._free = _FIRST
        if self.driver.memory is not None and not wat:
            self.driver.view()[:] = 0xA5

    def another(self, **options: Any) -> "Rig":
        """Make a second guest; it shares the first one's registry unless told otherwise."""
        options = {"registry": self.registry, **options}
        rig = Rig(options.pop("dialect", self.dialect), self.net, self.path, **options)
        rig.answers = self.answers
        return rig

    # -- memory ----------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """Bytes of the guest's memory now."""
        return len(self.driver.view())

    def room(self, length: int, *, odd: int = 0) -> int:
        """Take a place of `length` bytes; `odd` moves it off its alignment."""
        pointer = self._free + odd
        self._free = (pointer + length + 16) // 16 * 16 + 16
        if self._free > self.size:
            self.driver.grow((self._free - self.size) // PAGE + 1)
        return pointer

    def put(self, content: bytes, *, odd: int = 0) -> int:
        """Place bytes."""
        pointer = self.room(len(content), odd=odd)
        self.write(pointer, content)
        return pointer

    def write(self, pointer: int, content: bytes) -> None:
        """Write as the guest itself would."""
        self.driver.view()[pointer : pointer + len(content)] = np.frombuffer(content, np.uint8)

    def read(self, pointer: int, length: int) -> bytes:
        return self.driver.view()[pointer : pointer + length].tobytes()

    def u32(self, pointer: int) -> int:
        return int.from_bytes(self.read(pointer, 4), "little")

    def outside(self, length: int = 4) -> list[int]:
        """List pointers at which not all of `length` bytes are in memory."""
        return [self.size - length + 1, self.size, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF]

    # -- asking ----------------------------------------------------------------------------------

    def call(self, function: str, *arguments: int, errno: int = 0) -> int:
        """Call; the answer has to be `errno`."""
        got = self.driver.call(function, *arguments)
        note = ""
        if got != errno and self.driver.errors:
            note = f" ({self.driver.errors[-1]})"
        self.answers.append(Answer(f"{function}{note}", errno, got, is_errno=True))
        return got

    def equal(self, what: str, expected: object, got: object) -> None:
        """Note a value that has to be equal."""
        self.answers.append(Answer(what, expected, got))

    # -- loading ---------------------------------------------------------------------------------

    def builders(self, parts: Sequence[bytes]) -> int:
        """Place a model's parts and the array that lists them."""
        places = [(self.put(part), len(part)) for part in parts]
        return self.put(b"".join(struct.pack("<II", *place) for place in places))

    def load_call(
        self, builders: int, count: int, encoding: int, target: int, out: int, *, errno: int = 0
    ) -> None:
        """Call `load`, in the legacy dialect by way of its record."""
        if self.dialect is ML:
            record = self.put(struct.pack("<II", builders, count))
            self.call("load", record, encoding, target, out, errno=errno)
        else:
            self.call("load", builders, count, encoding, target, out, errno=errno)

    def load(
        self, model: str = "scale", *, parts: Sequence[bytes] | None = None,
        encoding: int | None = None, target: int = 0, errno: int = 0,
    ) -> int:  # fmt: skip
        """Load a model from its bytes. Returns: the handle, or what stands in its place."""
        parts = self.net.models[model] if parts is None else parts
        number = self.net.number if encoding is None else encoding
        out = self.room(4)
        self.load_call(self.builders(parts), len(parts), number, target, out, errno=errno)
        return self.u32(out)

    def name(self, name: bytes, *, errno: int = 0) -> int:
        """Load by name. Returns: the handle."""
        out = self.room(4)
        self.call("load_by_name", self.put(name), len(name), out, errno=errno)
        return self.u32(out)

    def init(self, graph: int, *, errno: int = 0) -> int:
        """Make a context. Returns: its handle."""
        out = self.room(4)
        self.call("init_execution_context", graph, out, errno=errno)
        return self.u32(out)

    def context(self, model: str = "scale") -> int:
        """Load a model and make a context of it."""
        return self.init(self.load(model))

    # -- tensors ---------------------------------------------------------------------------------

    def record(
        self, dims: int, rank: int, number: int, data: int, size: int, *, odd: int = 0
    ) -> int:
        """Place a tensor record of anything."""
        if self.dialect is ML:
            dims_record = self.put(struct.pack("<II", dims, rank))
            return self.put(struct.pack("<IB3sI", dims_record, number, PADDING, data), odd=odd)
        content = struct.pack("<IIB3sII", dims, rank, number, PADDING, data, size)
        return self.put(content, odd=odd)

    def tensor(self, dims: Sequence[int], number: int, data: bytes, *, odd: int = 0) -> int:
        """Place a tensor and its record."""
        place = self.put(struct.pack(f"<{len(dims)}I", *dims), odd=odd)
        data_place = self.put(data, odd=odd)
        return self.record(place, len(dims), number, data_place, len(data), odd=odd)

    def f32(self, values: Any) -> int:
        """Place a tensor of floats."""
        array = np.asarray(values, np.float32)
        return self.tensor(array.shape, F32, array.tobytes())

    def set_input(self, context: int, index: int, values: Any, *, errno: int = 0) -> None:
        """Set an input to floats."""
        self.call("set_input", context, index, self.f32(values), errno=errno)

    def computed(self, values: Any, model: str = "scale") -> int:
        """Make a context that has computed."""
        context = self.context(model)
        self.set_input(context, 0, values)
        self.call("compute", context)
        return context

    def fetch(
        self, context: int, index: int, buffer: int, size: int, size_place: int, *,
        errno: int = 0, function: str = "get_output",
    ) -> None:  # fmt: skip
        """Call `get_output` with a capacity in bytes (legacy: rounded down to its units)."""
        if self.dialect is ML:
            self.write(size_place, struct.pack("<I", size // self.unit))
            self.call(function, context, index, buffer, size_place, errno=errno)
        else:
            self.call(function, context, index, buffer, size, size_place, errno=errno)

    def output(self, context: int, index: int, size: int, function: str = "get_output") -> bytes:
        """Fetch an output that has exactly this size."""
        buffer, size_place = self.room(size), self.room(4)
        self.fetch(context, index, buffer, size, size_place, function=function)
        self.equal("size", size // self.unit, self.u32(size_place))
        return self.read(buffer, size)

    def gives(self, context: int, index: int, values: Any) -> None:
        """Require an output of floats."""
        wanted = np.asarray(values, np.float32)
        got = np.frombuffer(self.output(context, index, wanted.nbytes), np.float32)
        self.equal(f"output {index}", wanted.ravel().tolist(), got.tolist())

    def gives_twice_plus_one(self, graph: int) -> None:
        """Require that a loaded `scale` computes."""
        context = self.init(graph)
        self.set_input(context, 0, [[1, 2, 3, 4]])
        self.call("compute", context)
        self.gives(context, 0, [[3, 5, 7, 9]])
