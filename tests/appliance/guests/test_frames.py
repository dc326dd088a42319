"""The `appliance` import module, called by a real guest on the test's behalf.

The guest's on_frame looks into its memory: which function at 0, arguments from 4 on.
"""

import json
import logging
import struct
from collections.abc import Iterator

import numpy as np
import pytest
import wasmtime

from appliance.guests.instance import Instance, Output
from appliance.manifests import InputSpec
from appliance.preprocess import Layout, to_tensor
from appliance.records import Frame
from tests.appliance import watguests as guests
from tests.appliance.workshop import Workshop, put_model
from wasi_nn.errors import Errno

FUNCTIONS = {
    "frame_info": 2, "frame_read": 5, "frame_to_tensor": 6, "frame_set_input": 3,
    "output_info": 3, "label": 6, "emit": 2, "log": 3,
}  # fmt: skip
BUFFER, OUT, MARK = 4096, 2048, 0xAA
SPEC = InputSpec(size_wh=(4, 2), mean=(1, 2, 3), std=(4, 5, 6))
TENSOR_BYTES = 4 * 2 * 3 * 4


def caller() -> bytes:
    """Make the guest that calls what its memory says."""
    imports, branches = "", ""
    for number, (name, arity) in enumerate(FUNCTIONS.items()):
        imports += (
            f'(import "appliance" "{name}" (func ${name} (param {"i32 " * arity}) (result i32)))'
        )
        loads = " ".join(f"(i32.load (i32.const {4 * i + 4}))" for i in range(arity))
        branches += (
            f"(if (i32.eq (i32.load (i32.const 0)) (i32.const {number}))"
            f" (then (return (call ${name} {loads}))))"
        )
    return guests.wasm(
        f'(module {imports} (memory (export "memory") 1) (func (export "appliance_on_frame")'
        f" (param i32) (result i32) {branches} (i32.const -1)))"
    )


class Caller:
    """A guest that calls one function at a time."""

    def __init__(self, workshop: Workshop, frame: Frame, manifest: str = "") -> None:
        self.program = workshop.program(caller(), manifest)
        output = Output(lambda _: None, lambda _: None)
        self.instance = Instance(self.program, wasmtime.WasiConfig(), output)
        self.guest = self.instance.guest
        self.handle = self.guest.show(frame)

    def call(self, name: str, *arguments: int) -> int:
        """Fill buffer and out-pointers with marks, call, and return the errno."""
        words = [list(FUNCTIONS).index(name), *(a & 0xFFFFFFFF for a in arguments)]
        self.poke(0, struct.pack(f"<{len(words)}I", *words))
        return self.instance.call(self.handle)

    def mark(self) -> None:
        self.poke(OUT, bytes([MARK]) * 64)
        self.poke(BUFFER, bytes([MARK]) * 8192)

    def poke(self, pointer: int, content: bytes) -> None:
        self.guest.memory.window(pointer, len(content), "test")[:] = content

    def peek(self, pointer: int, length: int) -> bytes:
        return bytes(self.guest.memory.window(pointer, length, "test"))

    def written(self) -> int:
        (count,) = self.guest.memory.read_u32s(OUT, 1, "test")
        return count

    def context(self, name: str = "tiny") -> int:
        session = self.guest.session
        return session.init_execution_context(session.load_by_name(name, b""))


@pytest.fixture
def host(workshop: Workshop, frame: Frame) -> Iterator[Caller]:
    put_model(workshop.models)
    made = Caller(workshop, frame)
    made.mark()
    yield made
    made.instance.close()


def test_frame_info_is_24_bytes(host: Caller, frame: Frame) -> None:
    """Width, height, sequence and capture time, little-endian."""
    assert 0 == host.call("frame_info", host.handle, OUT)

    *rest, captured_ns = struct.unpack("<IIQQ", host.peek(OUT, 24))
    assert [8, 6, 7] == rest
    # A double of today's nanoseconds is exact to 256.
    assert abs(captured_ns - 1_700_000_000_250_000_000) <= 256
    assert bytes([MARK]) * 8 == host.peek(OUT + 24, 8)


@pytest.mark.parametrize(
    ("offset", "length", "count"),
    [
        pytest.param(0, 144, 144, id="all"),
        pytest.param(24, 24, 24, id="a row"),
        pytest.param(140, 100, 4, id="the end"),
        pytest.param(144, 100, 0, id="behind the end"),
        pytest.param(0, 0, 0, id="nothing"),
    ],
)
def test_frame_read_gives_rgb_bytes(
    host: Caller, frame: Frame, offset: int, length: int, count: int
) -> None:
    """As many as there are, and how many; the rest of the buffer is left alone."""
    assert 0 == host.call("frame_read", host.handle, offset, BUFFER, length, OUT)

    assert count == host.written()
    expected = frame.pixels.tobytes()[offset : offset + count]
    assert expected + bytes([MARK]) * 8 == host.peek(BUFFER, count + 8)


def test_frame_to_tensor_is_preprocess_byte_for_byte(host: Caller, frame: Frame) -> None:
    """As the model's manifest says, at any alignment."""
    context = host.context()
    expected = to_tensor(frame.pixels, SPEC, Layout.NCHW).tobytes()
    for buffer in (BUFFER, BUFFER + 1):
        host.mark()
        assert 0 == host.call("frame_to_tensor", host.handle, context, 0, buffer, 200, OUT)
        assert (TENSOR_BYTES, expected) == (host.written(), host.peek(buffer, TENSOR_BYTES))
        assert bytes([MARK]) * 8 == host.peek(buffer + TENSOR_BYTES, 8)


def test_frame_set_input_is_the_same_without_a_copy(host: Caller, frame: Frame) -> None:
    """What the model computes on is what frame_to_tensor would have written."""
    context = host.context()
    assert 0 == host.call("frame_set_input", host.handle, context, 0)
    host.guest.session.compute(context)

    output = host.guest.session.get_output(context, 0)
    np.testing.assert_array_equal(to_tensor(frame.pixels, SPEC, Layout.NCHW), output)


def test_output_info_is_16_bytes(host: Caller) -> None:
    """f32 is 1, logits are 1; size and labels as the manifest says, before and after compute."""
    context = host.context()
    assert 0 == host.call("output_info", context, 0, OUT)

    assert (1, 1, TENSOR_BYTES, 3) == struct.unpack("<IIII", host.peek(OUT, 16))
    assert bytes([MARK]) * 8 == host.peek(OUT + 16, 8)


def test_label_is_utf8_without_an_end(host: Caller) -> None:
    """Bytes are counted, not characters."""
    assert 0 == host.call("label", host.context(), 0, 1, BUFFER, 100, OUT)

    text = "übung".encode()
    assert len(text) == host.written()
    assert text + bytes([MARK]) == host.peek(BUFFER, len(text) + 1)


@pytest.mark.parametrize(
    ("name", "arguments", "required"),
    [
        pytest.param("frame_to_tensor", (0, BUFFER, 95, OUT), TENSOR_BYTES, id="tensor"),
        pytest.param("label", (0, 1, BUFFER, 5, OUT), 6, id="label"),
    ],
)
def test_a_small_buffer_gets_the_size_and_nothing_else(
    host: Caller, name: str, arguments: tuple[int, ...], required: int
) -> None:
    """Errno 7, `written` tells what would fit, the buffer is left alone."""
    context = host.context()
    first = (host.handle, context) if name == "frame_to_tensor" else (context,)

    assert Errno.TOO_LARGE == host.call(name, *first, *arguments)
    assert required == host.written()
    assert bytes([MARK]) * 200 == host.peek(BUFFER, 200)


# Stand for what is only known when the guest runs.
CONTEXT, HANDLE = -1001, -1002
END = 65536


@pytest.mark.parametrize(
    ("name", "arguments", "errno"),
    [
        pytest.param("frame_info", (99, OUT), 1, id="info: handle"),
        pytest.param("frame_info", (HANDLE, END - 23), 1, id="info: memory"),
        pytest.param("frame_read", (99, 0, BUFFER, 9, OUT), 1, id="read: handle"),
        pytest.param("frame_read", (HANDLE, 145, BUFFER, 9, OUT), 1, id="read: offset"),
        pytest.param("frame_read", (HANDLE, 0, END - 8, 9, OUT), 1, id="read: buffer"),
        pytest.param("frame_read", (HANDLE, 0, BUFFER, -1, OUT), 1, id="read: length"),
        pytest.param("frame_read", (HANDLE, 0, BUFFER, 9, END - 3), 1, id="read: written"),
        pytest.param("frame_to_tensor", (99, CONTEXT, 0, BUFFER, 99, OUT), 1, id="tensor: handle"),
        pytest.param("frame_to_tensor", (HANDLE, 99, 0, BUFFER, 99, OUT), 1, id="tensor: context"),
        pytest.param("frame_to_tensor", (HANDLE, CONTEXT, 1, BUFFER, 99, OUT), 1, id="input"),
        pytest.param("frame_to_tensor", (HANDLE, CONTEXT, 0, -8, 99, OUT), 1, id="tensor: buffer"),
        pytest.param("frame_set_input", (99, CONTEXT, 0), 1, id="set: handle"),
        pytest.param("frame_set_input", (HANDLE, 99, 0), 1, id="set: context"),
        pytest.param("frame_set_input", (HANDLE, CONTEXT, 1), 1, id="set: input"),
        pytest.param("output_info", (99, 0, OUT), 1, id="output: context"),
        pytest.param("output_info", (CONTEXT, 1, OUT), 1, id="output: index"),
        pytest.param("output_info", (CONTEXT, 0, END - 15), 1, id="output: memory"),
        pytest.param("label", (99, 0, 0, BUFFER, 99, OUT), 1, id="label: context"),
        pytest.param("label", (CONTEXT, 0, 3, BUFFER, 99, OUT), 8, id="label: index"),
        pytest.param("label", (CONTEXT, 0, 0, BUFFER, 99, -2), 1, id="label: written"),
        pytest.param("emit", (END - 1, 2), 1, id="emit: memory"),
        pytest.param("log", (4, BUFFER, 2), 1, id="log: level"),
        pytest.param("log", (0, END, 1), 1, id="log: memory"),
    ],
)
def test_a_wrong_claim_is_an_errno_and_writes_nothing(
    host: Caller, name: str, arguments: tuple[int, ...], errno: int
) -> None:
    """Handles, indices and pointers are checked before the first byte is written."""
    known = {CONTEXT: host.context(), HANDLE: host.handle}
    before = host.peek(1024, END - 1024)

    assert errno == host.call(name, *(known.get(a, a) for a in arguments))
    assert before == host.peek(1024, END - 1024)
    assert name in host.guest.last_error


def test_a_handle_is_dead_when_its_frame_is(host: Caller, frame: Frame) -> None:
    """Guests that keep one get an errno, never another frame."""
    old = host.handle
    host.guest.hide()
    assert 1 == host.call("frame_info", old, OUT)

    new = host.guest.show(frame)
    assert 1 == host.call("frame_info", old, OUT)
    assert 0 == host.call("frame_info", new, OUT)


@pytest.mark.parametrize(
    ("text", "errno"),
    [
        pytest.param(b'{"label": "a"}', 0, id="object"),
        pytest.param(b"{}", 0, id="empty object"),
        pytest.param(b" {}\n", 0, id="white space"),
        pytest.param(b"", 1, id="nothing"),
        pytest.param(b"[]", 1, id="list"),
        pytest.param(b"{", 1, id="half"),
        pytest.param(b'{"a": Infinity}', 1, id="infinity"),
        pytest.param(b'{"a": "\xff"}', 1, id="no UTF-8"),
        pytest.param(b'{"a":' * 70 + b"1" + b"}" * 70, 1, id="deep"),
    ],
)
def test_emit_takes_json_objects(host: Caller, text: bytes, errno: int) -> None:
    """What is taken is kept as it is; what is not is remembered as refused."""
    host.poke(BUFFER, text)
    assert errno == host.call("emit", BUFFER, len(text))

    assert bool(errno) is bool(host.guest.refused)
    assert (() if errno else (text,)) == host.guest.hide()


def test_emit_is_bounded_per_frame(workshop: Workshop, frame: Frame) -> None:
    """The sum counts, and the next frame begins at nothing."""
    host = Caller(workshop, frame, "[limits]\noutput_bytes = 20")
    text = json.dumps({"a": "12"}).encode()
    host.poke(BUFFER, text)
    first, second = (host.call("emit", BUFFER, len(text)) for _ in range(2))
    host.handle = host.guest.show(frame)
    third = host.call("emit", BUFFER, len(text))
    host.instance.close()

    assert (0, Errno.TOO_LARGE, 0) == (first, second, third)


def test_log_goes_to_the_journal(host: Caller) -> None:
    """Level and text, a line each."""
    host.poke(BUFFER, b"one\ntwo")
    for level in range(4):
        assert 0 == host.call("log", level, BUFFER, 3 if level else 7)

    names = [logging.getLevelName(10 * (n + 1)).lower() for n in (0, 0, 1, 2, 3)]
    assert list(zip(names, ["one", "two", "one", "one", "one"], strict=True)) == [
        (line.level, line.text) for line in host.program.journal.tail()
    ]


def test_a_guests_own_model_follows_the_apps_input(workshop: Workshop, frame: Frame) -> None:
    """[input] says how a frame becomes the input of a model without model.toml."""
    put_model(workshop.models).joinpath("model.toml").unlink()
    host = Caller(workshop, frame, '[input]\nsize_wh = [4, 2]\nlayout = "NCHW"')
    context = host.context()

    assert 0 == host.call("frame_to_tensor", host.handle, context, 0, BUFFER, 200, OUT)
    plain = to_tensor(frame.pixels, InputSpec(size_wh=(4, 2)), Layout.NCHW)
    assert plain.tobytes() == host.peek(BUFFER, TENSOR_BYTES)
    host.instance.close()


@pytest.mark.parametrize(
    ("manifest", "errno", "words"),
    [
        pytest.param("", 6, "nothing says how a frame becomes", id="nothing said"),
        pytest.param("[input]\nsize_wh = [5, 2]", 1, "correct size_wh", id="another size"),
    ],
)
def test_what_cannot_become_an_input_is_explained(
    workshop: Workshop, frame: Frame, manifest: str, errno: int, words: str
) -> None:
    """The sentence names both sides and where to correct them."""
    put_model(workshop.models).joinpath("model.toml").unlink()
    host = Caller(workshop, frame, manifest)

    assert errno == host.call("frame_set_input", host.handle, host.context(), 0)
    assert words in host.guest.last_error
    host.instance.close()
