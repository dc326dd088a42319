"""Draw what a hostile guest does: sequences that are often valid, and wrong in one place.

A sequence is drawn while it is done, since handles depend on what went well. What was done is
kept, so that a sequence that shows a fault can be done again and be made shorter.
"""

import math
import struct
from collections.abc import Iterator
from random import Random

import numpy as np

from tests.wasi_nn.conformance.nets import Net
from tests.wasi_nn.fuzz.values import U32, number, spoil
from tests.wasi_nn.fuzz.world import Call, Grow, Poke, Step, World
from wasi_nn.tensor import TYPE_NUMBERS, Numbering, raw_type

# Below lie the records, here begins the room for models and answers.
_ROOM = 0x8000
_MODELS_AT = 0x9000
_SCRATCH = 0x7000
_WEIGHTS = {
    "load": 5, "load_by_name": 4, "load_by_name_with_config": 4, "init_execution_context": 6,
    "set_input": 14, "compute": 10, "get_output": 14, "get_output_single": 5, "compute_single": 5,
    "fini_single": 2, "unload": 2, "finalize_execution_context": 2,
}  # fmt: skip
_NUMBERS = {kind: at for at, kind in enumerate(TYPE_NUMBERS[Numbering.WITX])}
_CONFIGS = (
    b"", b"{}", b'{"num_threads": 1}', b'{"num_threads": 2}', b'{"device": "gpu"}', b"[1]",
    b'{"n-gpu-layers": 35}', b'{"encoding": "onnx"}', b'{"backend": "fake"}', b"\xff{",
)  # fmt: skip


class Sequence:
    """Draws steps for one world.

    is_mild: leave models whole, so that a crash is not the parser's of a vendor.
    """

    def __init__(self, random: Random, world: World, net: Net, *, is_mild: bool) -> None:
        self._random = random
        self._world = world
        self._net = net
        self._is_mild = is_mild
        self._layout = bytearray(_ROOM)
        self._at = 16
        self._names: list[tuple[int, int]] = []
        self._configs: list[tuple[int, int]] = []
        self._tensors: list[int] = []
        self._arrays: list[tuple[int, int]] = []
        self._pokes: list[Poke] = []
        self._lay_out()

    # -- what lies in memory ---------------------------------------------------------------------

    def _place(self, content: bytes) -> int:
        at = self._at + self._random.choice((0, 0, 0, 1, 2))
        self._layout[at : at + len(content)] = content
        self._at = (at + len(content) + 4) & ~3
        assert self._at < _ROOM, "the records fit below the room"
        return at

    def _lay_out(self) -> None:
        models = [m for m in self._net.models.items() if sum(map(len, m[1])) < 4096]
        self._random.shuffle(models)
        at = _MODELS_AT
        for name, parts in models[:12]:
            self._names.append((self._place(name.encode()), len(name)))
            lists = b""
            for part in parts:
                self._pokes.append(Poke(at, part))
                lists += struct.pack("<II", at, len(part))
                at += len(part) + 16
            array = self._place(lists)
            record = struct.pack("<II", array, len(parts))
            is_legacy = self._world.dialect.is_legacy
            self._arrays.append((self._place(record) if is_legacy else array, len(parts)))
        for name in (b"nothing", b"sc\0ale", b"\xff\xfe", b"scale\0"):
            self._names.append((self._place(name), len(name)))
        for config in _CONFIGS:
            self._configs.append((self._place(config), len(config)))
        for dims, kind, dtype in (
            ([1, 4], 1, "f4"), ([3, 4], 1, "f4"), ([2, 3], 1, "f4"), ([4], 1, "f4"), ([1], 1, "f4"),
            ([1, 4], self._world.dialect.u8, "u1"), ([1, 4], self._world.dialect.i32, "i4"),
            ([0, 4], 1, "f4"), ([1, 4], 0, "f2"), ([1, 4], 2, "f8"), ([1, 4], 5, "i8"),
            ([2, 2, 2, 2], 1, "f4"), ([], 1, "f4"), ([100, 4], 1, "f4"),
        ):  # fmt: skip
            self._tensors.append(self._tensor(dims, kind, np.ones(dims or [1], dtype).tobytes()))
        self._tensors.append(self._tensor([1], self._world.dialect.u8, b"text"))

    def _tensor(self, dims: list[int], kind: int, data: bytes) -> int:
        dims_at = self._place(struct.pack(f"<{len(dims)}I", *dims))
        data_at = self._place(data)
        padding = self._random.randbytes(3)
        if self._world.dialect.is_legacy:
            dims_at = self._place(struct.pack("<II", dims_at, len(dims)))
            return self._place(struct.pack("<IB3sI", dims_at, kind, padding, data_at))
        return self._place(
            struct.pack("<IIB3sII", dims_at, len(dims), kind, padding, data_at, len(data))
        )

    def start(self) -> list[Step]:
        """Give the steps that fill the memory."""
        noise = self._random.randbytes(64) * (self._world.size // 64)
        return [Poke(0, noise), Poke(0, bytes(self._layout)), *self._pokes]

    # -- what is done ----------------------------------------------------------------------------

    def steps(self, calls: int) -> Iterator[Step]:
        """Draw until so many calls are drawn; each has to be done before the next is drawn."""
        yield from self.start()
        while calls > 0:
            kind = self._random.random()
            if kind < 0.04:
                yield Poke(0, bytes(self._layout))
                yield from self._pokes
            elif kind < 0.10:
                yield self._poke()
            elif kind < 0.105:
                yield Grow(self._random.choice((0, 1, 1, 2, 4000, 0x7FFFFFFF)))
            elif kind < 0.20:
                for step in self._computation():
                    calls -= isinstance(step, Call)
                    yield step
            else:
                calls -= 1
                yield self._call()

    def _poke(self) -> Poke:
        random, size = self._random, self._world.size
        if random.random() < 0.7:
            at = random.randrange(0, self._at)
            length = min(random.choice((4, 8, 20, 64)), self._at - at)
            return Poke(at, spoil(random, bytes(self._layout[at : at + length]), size))
        if self._pokes and not self._is_mild:
            poke = random.choice(self._pokes)
            return Poke(poke.at, spoil(random, poke.content, size))
        at = random.randrange(_ROOM)
        return Poke(at, random.randbytes(min(16, _ROOM - at)))

    def _computation(self) -> Iterator[Step]:
        """Draw a computation that goes well, but for a wrong argument here and there."""
        random = self._random
        handle = self._handle(self._world.contexts)
        context = self._world.context(handle)
        if context is None:
            return
        for index, spec in enumerate(context.graph.inputs):
            kind = _NUMBERS.get(raw_type(spec.type), 0)
            dims = [random.randint(0, 3) if dim is None else dim for dim in spec.shape]
            data = random.randbytes(math.prod(dims) * spec.type.itemsize)
            kept, self._at = self._at, _SCRATCH
            tensor = self._tensor(dims, kind, data)
            length, self._at = self._at - _SCRATCH, kept
            yield Poke(_SCRATCH, bytes(self._layout[_SCRATCH : _SCRATCH + length]))
            yield self._call("set_input", [handle, index, tensor])
        yield self._call("compute", [handle])
        index = random.randrange(len(context.graph.outputs))
        outputs = context.outputs or [np.empty(16, np.uint8)]
        size = outputs[min(index, len(outputs) - 1)].nbytes
        capacity = max(0, size + random.choice((-4, -1, 0, 0, 0, 1, 4)))
        out, size_at = self._out(), _SCRATCH
        if self._world.dialect.is_legacy:
            yield Poke(size_at, struct.pack("<I", capacity // random.choice((1, 4))))
            yield self._call("get_output", [handle, index, out, size_at])
        else:
            yield self._call("get_output", [handle, index, out, capacity, size_at])

    def _call(self, name: str = "", arguments: list[int] | None = None) -> Call:
        """Draw a call; given ones are left as they are, most of the time."""
        if arguments is not None and self._random.random() < 0.9:
            return Call(name, tuple(arguments))
        if not name:
            names = list(self._world.dialect.functions)
            (name,) = self._random.choices(names, [_WEIGHTS[name] for name in names])
        arguments = arguments or self._sensible(name)
        kind = self._random.random()
        if kind < 0.3:
            at = self._random.randrange(len(arguments))
            arguments[at] = number(self._random, self._world.size)
        elif kind < 0.4:
            arguments = [number(self._random, self._world.size) for _ in arguments]
        return Call(name, tuple(arguments))

    def _handle(self, given: int) -> int:
        # Mostly a recent one: older ones are finalized, or of graphs that are unloaded.
        recent = self._random.randint(max(0, given - 4), given)
        return self._random.choice((recent, recent, self._random.randint(0, given)))

    def _out(self) -> int:
        choice = self._random.random()
        if choice < 0.9:
            return _ROOM + self._random.randrange(_MODELS_AT - _ROOM - 64)
        return number(self._random, self._world.size)

    def _sensible(self, name: str) -> list[int]:
        """Draw arguments that would go well if the rest went well."""
        random, out = self._random, self._out()
        context = self._handle(self._world.contexts)
        match name:
            case "load":
                array, count = random.choice(self._arrays)
                middle = [] if self._world.dialect.is_legacy else [count]
                encoding = random.choice((self._net.number,) * 8 + (5, 6, random.randrange(16)))
                target = random.choice((0,) * 12 + (1, 2, 3))
                return [array, *middle, encoding, target, out]
            case "load_by_name":
                return [*random.choice(self._names), out]
            case "load_by_name_with_config":
                return [*random.choice(self._names), *random.choice(self._configs), out]
            case "init_execution_context":
                return [self._handle(self._world.graphs), out]
            case "set_input":
                return [context, random.choice((0, 0, 0, 1, 2)), random.choice(self._tensors)]
            case "get_output" | "get_output_single":
                capacity = random.choice((0, 1, 4, 8, 15, 16, 17, 24, 32, 48, 1600, U32))
                index = random.choice((0, 0, 0, 1, 2))
                overlap = (out + random.randrange(32)) & U32
                size_at = random.choice((overlap, self._out(), self._out()))
                if self._world.dialect.is_legacy:
                    return [context, index, out, size_at]
                return [context, index, out, capacity, size_at]
            case "unload":
                return [self._handle(self._world.graphs)]
            case _:
                return [context]
