"""Cases of `load`: which models are taken, and what is said to the others."""

import struct

from tests.wasi_nn.conformance.dialects import ALL, ML
from tests.wasi_nn.conformance.nets import EVERY, REAL
from tests.wasi_nn.conformance.table import Rig, case, cases_of

GPU, TPU, AUTO = 1, 2, 3
U32_MAX = 0xFFFFFFFF


@case("5.2 (1)", ALL, EVERY)
def load_meaningless_bytes(rig: Rig) -> None:
    """Bytes of no format are an invalid encoding (WasmEdge: OpenVINO 5, others 1)."""
    rig.load(parts=[b"meaningless binary"] * len(rig.net.models["scale"]), errno=2)


@case("5.2 (1)", ALL, REAL)
def load_truncated_model(rig: Rig) -> None:
    """A model that is cut off is a runtime failure."""
    head, *rest = rig.net.models["scale"]
    rig.load(parts=[head[: len(head) * 2 // 3], *rest], errno=5)


@case("5.2 (2), 5.4")
def load_out_pointer_outside(rig: Rig) -> None:
    """A handle that cannot be stored is refused before anything is loaded."""
    parts = rig.net.models["scale"]
    array = rig.builders(parts)
    for out in rig.outside():
        rig.load_call(array, len(parts), rig.net.number, 0, out, errno=1)
    rig.equal("graphs loaded", 0, rig.registry.statistics().loads)


@case("5.2 (3), 5.4")
def load_builder_array_outside(rig: Rig) -> None:
    """An array of builders outside memory is refused."""
    for array in rig.outside(8):
        rig.load_call(array, 1, rig.net.number, 0, rig.room(4), errno=1)


@case("5.2 (4), 5.4", ALL, ("fake", "openvino"))
def load_builder_data_outside(rig: Rig) -> None:
    """A builder whose bytes are outside memory is refused, the first and the last alike."""
    parts = rig.net.models["scale"]
    good = [(rig.put(part), len(part)) for part in parts]
    for at in range(len(parts)):
        for pointer in rig.outside(len(parts[at]) or 4):
            lists = [*good]
            lists[at] = (pointer, len(parts[at]) or 4)
            array = rig.put(b"".join(struct.pack("<II", *pair) for pair in lists))
            rig.load_call(array, len(parts), rig.net.number, 0, rig.room(4), errno=1)


@case("5.4")
def load_builder_length_overflows(rig: Rig) -> None:
    """A pointer and a length whose sum passes 2^32 are refused, not wrapped."""
    for pointer, length in (
        (16, U32_MAX),
        (U32_MAX, 1),
        (0x80000000, 0x80000000),
        (8, U32_MAX - 7),
    ):
        array = rig.put(struct.pack("<II", pointer, length))
        rig.load_call(array, 1, rig.net.number, 0, rig.room(4), errno=1)


@case("5.4")
def load_count_of_builders_overflows(rig: Rig) -> None:
    """A count of builders that no memory can hold is refused before it is walked."""
    array = rig.builders(rig.net.models["scale"])
    for count in (0x20000000, 0x20000001, 0x7FFFFFFF, 0x80000000, U32_MAX):
        rig.load_call(array, count, rig.net.number, 0, rig.room(4), errno=1)


@case("5.2 (5)", ALL, EVERY)
def load_wrong_number_of_builders(rig: Rig) -> None:
    """Every encoding has its number of parts; WasmEdge's test gives OpenVINO four."""
    parts = list(rig.net.models["scale"])
    rig.load(parts=[*parts, parts[0]], errno=1)
    rig.load(parts=[parts[0]] * 4, errno=1)


@case("5.4", ALL, EVERY)
def load_zero_builders(rig: Rig) -> None:
    """No builders are refused, wherever the array is said to be (WasmEdge 1, wasmtime 5)."""
    rig.load(parts=[], errno=1)
    rig.load_call(0, 0, rig.net.number, 0, rig.room(4), errno=1)
    rig.load_call(U32_MAX, 0, rig.net.number, 0, rig.room(4), errno=1)


@case("5.4")
def load_zero_builders_of_foreign_encoding(rig: Rig) -> None:
    """ChatTTS guests load nothing with encoding 12; the answer names what is missing: 6."""
    rig.load(parts=[], encoding=12, errno=6)


@case("5.4")
def load_empty_builder(rig: Rig) -> None:
    """A builder of no bytes is no model; its pointer may be the very end of memory."""
    for pointer in (0, rig.size):
        array = rig.put(struct.pack("<II", pointer, 0))
        rig.load_call(array, 1, rig.net.number, 0, rig.room(4), errno=2)


@case("1.5", ALL, REAL)
def load_encoding_without_backend(rig: Rig) -> None:
    """TensorFlow and PyTorch are encodings, but no backend here loads them."""
    for encoding in (2, 3):
        rig.load(parts=[b"a script"], encoding=encoding, errno=6)


@case("1.5, 5.4")
def load_unknown_encoding(rig: Rig) -> None:
    """A number beyond the list is an invalid encoding; none is cut to its low byte."""
    for encoding in (15, 99, 255, 256, 256 + rig.net.number, 0x80000001, U32_MAX):
        rig.load(encoding=encoding, errno=2)


@case("1.4")
def load_foreign_encoding(rig: Rig) -> None:
    """WasmEdge's further runtimes are known by number and are not here."""
    for encoding in range(7, 15):
        rig.load(encoding=encoding, errno=6)


@case("5.4", ALL, REAL)
def load_autodetect(rig: Rig) -> None:
    """Both 5 and 6 look at the bytes: one is autodetect for witx, the other for WAMR."""
    for handle, encoding in enumerate((5, 6)):
        rig.equal("graph", handle, rig.load(encoding=encoding))
        rig.gives_twice_plus_one(handle)


@case("1.4", ALL, REAL)
def load_autodetect_ggml(rig: Rig) -> None:
    """WAMR's ggml guests send 5, WasmEdge's 6: a language model has no backend here."""
    for encoding in (5, 6):
        rig.load(parts=[b"GGUF" + bytes(60)], encoding=encoding, errno=6)


@case("5.2 (6)", ALL, EVERY)
def load_target_auto(rig: Rig) -> None:
    """Target 3 (auto) is none in `load`, nor is any larger number."""
    for target in (AUTO, 4, 256, 0x80000000, U32_MAX):
        rig.load(target=target, errno=1)


@case("1.5")
def load_target_absent(rig: Rig) -> None:
    """A device that the box has not is refused; nothing falls back unasked (WasmEdge: 1)."""
    rig.load(target=GPU, errno=6)
    rig.load(target=TPU, errno=6)


@case("5.2 (7)", ALL, EVERY)
def load_counts_from_zero(rig: Rig) -> None:
    """The first graph is 0, the next 1, also of the same model."""
    rig.equal("first graph", 0, rig.load())
    rig.equal("second graph", 1, rig.load())
    rig.equal("loads done by the backend", 1, rig.registry.statistics().loads)


@case("1.6")
def load_after_failure_counts_on(rig: Rig) -> None:
    """A failed load takes no handle."""
    rig.load(parts=[b"meaningless"], errno=2)
    rig.equal("graph", 0, rig.load())


@case("5.4")
def load_out_pointer_in_the_model(rig: Rig) -> None:
    """The handle may be stored over the model: the bytes were copied before."""
    parts = rig.net.models["scale"]
    array = rig.builders(parts)
    place = rig.u32(array)
    rig.load_call(array, len(parts), rig.net.number, 0, place)

    rig.equal("graph", 0, rig.u32(place))
    rig.gives_twice_plus_one(0)


@case("5.4", ALL, EVERY)
def load_copies_the_model(rig: Rig) -> None:
    """The guest may overwrite the model as soon as `load` returns."""
    parts = rig.net.models["scale"]
    array = rig.builders(parts)
    out = rig.room(4)
    rig.load_call(array, len(parts), rig.net.number, 0, out)
    rig.write(rig.u32(array), bytes(len(parts[0])))

    rig.gives_twice_plus_one(rig.u32(out))


@case("1.6")
def load_unaligned(rig: Rig) -> None:
    """Nothing has to be aligned (as in WasmEdge and WAMR; wasmtime traps)."""
    content = rig.net.models["scale"][0]
    model = rig.put(content, odd=1)
    array = rig.put(struct.pack("<II", model, len(content)), odd=3)
    out = rig.room(4, odd=1)
    rig.load_call(array, 1, rig.net.number, 0, out)

    rig.gives_twice_plus_one(rig.u32(out))


@case("1.5")
def load_more_than_the_limit(rig: Rig) -> None:
    """The ninth graph is one too many for an app that may have eight: busy."""
    for _ in range(rig.session.limits.graphs):
        rig.load()
    rig.load(errno=4)


@case("1.3", (ML,))
def legacy_builder_record_outside(rig: Rig) -> None:
    """WAMR's record of the builder array has to be in memory, whole."""
    for record in rig.outside(8):
        rig.call("load", record, rig.net.number, 0, rig.room(4), errno=1)


CASES = cases_of(globals())
