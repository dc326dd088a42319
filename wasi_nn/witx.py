"""The core-module ABI `wasi_ephemeral_nn`: decode, call the session, encode.

One host for every guest that imports this module: crate `wasi-nn` 0.1 to 0.6, `as-wasi-nn`,
WasmEdge's crate and C guests with WAMR's header. They agree on functions and records; they differ
in numbers, and those are told apart here (encodings) and in `tensor.type_of` (element types).

Records, little-endian, wasm32:
    graph_builder   8 bytes   pointer u32 @0, length u32 @4
    tensor         20 bytes   dims pointer u32 @0, dims count u32 @4, type u8 @8 (bytes 9-11 are
                              whatever the guest's compiler left there), data pointer u32 @12,
                              data length u32 @16

Rule: out-pointers are checked before anything happens and written last, on success only. The one
exception is WasmEdge's: a `too_large` answer tells the size that would fit.

Source: WebAssembly/wasi-nn `wasi-nn.witx`; extensions from WasmEdge `wasinnmodule.cpp`.
"""

import struct
from collections.abc import Callable
from functools import lru_cache, partial

import wasmtime

from wasi_nn.backend import Device, Encoding
from wasi_nn.errors import InvalidArgument, InvalidEncoding, UnsupportedOperation
from wasi_nn.hostcall import define
from wasi_nn.serving import Guest
from wasi_nn.tensor import (
    MAX_RANK,
    Claim,
    Numbering,
    TensorSpec,
    TensorType,
    fit,
    raw_bytes,
    raw_type,
    type_of,
    types_of,
)

MODULE = "wasi_ephemeral_nn"

_TENSOR = struct.Struct("<IIB3xII")
assert _TENSOR.size == 20, "the witx tensor record is 20 bytes"

# 5 is autodetect for witx and WasmEdge but ggml for WAMR, 6 the other way round. We run no ggml,
# so both mean: look at the bytes.
_ENCODINGS = (
    Encoding.OPENVINO, Encoding.ONNX, Encoding.TENSORFLOW, Encoding.PYTORCH,
    Encoding.TENSORFLOWLITE, Encoding.AUTODETECT, Encoding.AUTODETECT,
)  # fmt: skip
# WasmEdge's numbers for runtimes that this host does not have.
_FOREIGN = {
    7: "neural-speed", 8: "burn", 9: "whisper", 10: "mlx", 11: "piper", 12: "chattts",
    13: "openvino-genai", 14: "bitnet",
}  # fmt: skip
_TARGETS = (Device.CPU, Device.GPU, Device.NPU)

# Chosen: far above any real list, far below what would take long to walk.
_MAX_BUILDERS = 1024
_MAX_NAME_BYTES = 1024
_MAX_CONFIG_BYTES = 64 * 1024
# Chosen: a few for each guest of a full box.
_KEPT_PLACES = 512


def encoding_of(number: int) -> Encoding:
    """Read a guest's encoding number.

    Raises: InvalidEncoding for no encoding, UnsupportedOperation for one we have no runtime for.
    """
    if number < len(_ENCODINGS):
        return _ENCODINGS[number]
    if number in _FOREIGN:
        raise UnsupportedOperation(f"encoding {number} ({_FOREIGN[number]}): not on this host")
    raise InvalidEncoding(f"encoding: got {number}, wanted 0..6")


def device_of(number: int) -> Device:
    """Read a guest's execution target. Raises: InvalidArgument; 3 (auto) is none in `load`."""
    if number < len(_TARGETS):
        return _TARGETS[number]
    raise InvalidArgument(f"execution target: got {number}, wanted 0 (cpu), 1 (gpu) or 2 (tpu)")


@lru_cache(maxsize=_KEPT_PLACES)
def place(
    spec: TensorSpec, index: int, numbering: Numbering, number: int, dims: tuple[int, ...],
    size_bytes: int,
) -> tuple[int, ...]:  # fmt: skip
    """Decide the dimensions under which a guest's bytes go into an input.

    Kept, for a guest says the same about every frame.
    index: the input's.   number, dims, size_bytes: of the tensor record.
    Raises: InvalidArgument naming got and wanted.
    """
    claimed = claim(dims, number, size_bytes, numbering, spec.type)
    return fit(spec, claimed, f"set_input {index}")


def claim(
    dims: tuple[int, ...], number: int, size_bytes: int, numbering: Numbering, wanted: TensorType
) -> Claim:
    """Understand what a guest says about its bytes.

    Guests that mean "just these bytes" send dims [1]; they get the number of elements there is.
    Then the size cannot tell what the type byte means (four bytes of text look like one i32), so
    it means the input's type if it can.
    """
    elements = 1
    for dim in dims:
        elements *= dim
    element = type_of(number, elements=elements, size_bytes=size_bytes, numbering=numbering)
    if dims == (1,):
        meant = raw_type(wanted)
        if meant in types_of(number, numbering):
            element = meant
        if size_bytes % element.itemsize == 0:
            dims = (size_bytes // element.itemsize,)
    return Claim(element, dims, size_bytes)


def load(
    guest: Guest, builders: int, count: int, encoding: int, target: int, graph_out: int
) -> None:
    memory = guest.memory
    memory.window(graph_out, 4, "graph out-pointer")
    if count > _MAX_BUILDERS:
        raise InvalidArgument(f"load: got {count} builders, wanted at most {_MAX_BUILDERS}")
    parts = memory.read_lists(builders, count, "builder")
    handle = guest.session.load(parts, encoding_of(encoding), device_of(target))
    memory.write_u32(graph_out, handle, "graph out-pointer")


def load_by_name(guest: Guest, name: int, name_len: int, graph_out: int) -> None:
    load_by_name_with_config(guest, name, name_len, 0, 0, graph_out)


def load_by_name_with_config(
    guest: Guest, name: int, name_len: int, config: int, config_len: int, graph_out: int
) -> None:
    memory = guest.memory
    memory.window(graph_out, 4, "graph out-pointer")
    name_window = memory.window(name, name_len, "model name")
    config_window = memory.window(config, config_len, "config")
    if len(name_window) > _MAX_NAME_BYTES:
        raise InvalidArgument(f"model name: got {name_len} bytes, wanted <= {_MAX_NAME_BYTES}")
    if len(config_window) > _MAX_CONFIG_BYTES:
        raise InvalidArgument(f"config: got {config_len} bytes, wanted <= {_MAX_CONFIG_BYTES}")
    text = memory.read_text(name, name_len, "model name")
    handle = guest.session.load_by_name(text, bytes(config_window))
    memory.write_u32(graph_out, handle, "graph out-pointer")


def init_execution_context(guest: Guest, graph: int, context_out: int) -> None:
    guest.memory.window(context_out, 4, "context out-pointer")
    handle = guest.session.init_execution_context(graph)
    guest.memory.write_u32(context_out, handle, "context out-pointer")


def set_input(guest: Guest, context: int, index: int, tensor: int) -> None:
    session = guest.session
    memory = guest.memory
    spec = session.input_spec(context, index)
    record = memory.window(tensor, _TENSOR.size, "tensor")
    dims_pointer, rank, number, data_pointer, size_bytes = _TENSOR.unpack_from(record)
    if rank > MAX_RANK:
        raise InvalidArgument(f"tensor rank: got {rank}, wanted at most {MAX_RANK}")
    said = memory.read_u32s(dims_pointer, rank, "tensor dims")
    data = memory.window(data_pointer, size_bytes, "tensor data")
    dims = place(spec, index, session.policy.numbering, number, said, size_bytes)
    session.fill_input(context, index, dims, data)


def compute(guest: Guest, context: int) -> None:
    guest.session.compute(context)


def get_output(
    guest: Guest, context: int, index: int, buffer: int, buffer_len: int, size_out: int
) -> None:
    output = guest.session.get_output(context, index)
    guest.memory.answer(raw_bytes(output), buffer, buffer_len, size_out, "get_output")


def get_output_single(
    guest: Guest, context: int, index: int, buffer: int, buffer_len: int, size_out: int
) -> None:
    output = guest.session.get_output_single(context, index)
    guest.memory.answer(raw_bytes(output), buffer, buffer_len, size_out, "get_output")


def _by_handle(method: str, guest: Guest, handle: int) -> None:
    getattr(guest.session, method)(handle)


# Name, number of i32 parameters, function: the twelve of WasmEdge's host. The first six are W3C
# WASI-NN; `load_by_name` came with 0.5.
FUNCTIONS: tuple[tuple[str, int, Callable[..., None]], ...] = (
    ("load", 5, load),
    ("load_by_name", 3, load_by_name),
    ("init_execution_context", 2, init_execution_context),
    ("set_input", 3, set_input),
    ("compute", 1, compute),
    ("get_output", 5, get_output),
    ("load_by_name_with_config", 5, load_by_name_with_config),
    ("get_output_single", 5, get_output_single),
    ("compute_single", 1, partial(_by_handle, "compute_single")),
    ("fini_single", 1, partial(_by_handle, "fini_single")),
    ("unload", 1, partial(_by_handle, "unload")),
    ("finalize_execution_context", 1, partial(_by_handle, "finalize_execution_context")),
)


def add_to_linker(linker: wasmtime.Linker) -> None:
    """Offer `wasi_ephemeral_nn` to every guest this linker instantiates."""
    for name, parameters, function in FUNCTIONS:
        define(linker, MODULE, name, parameters, function)
