"""The legacy core-module ABI `wasi_nn` of WAMR, before its release 2.4.

The same calls as `witx` with other records and two shorter signatures:
    load          (builders: pointer to {buf u32 @0, count u32 @4}, encoding, target, out)
    get_output    (context, index, buffer, in-out size)
    tensor        12 bytes: pointer to {dims u32 @0, rank u32 @4} u32 @0, type u8 @4, data u32 @8

Three oddities are part of the contract, because guests are written against them:
1. The tensor has no data length: WAMR takes 4 bytes an element whatever the type. We take the
   model's own element size, which is the same for its float models and right for the others.
2. With TensorFlow Lite models WAMR counts the output size in floats, both ways ("bug-to-bug
   compatibility" in its source). Which a guest means cannot be seen, so it follows the model, as
   in WAMR: floats for tensorflowlite, bytes for everything else.
3. With quantised TensorFlow Lite models the guest's side is floats: inputs of type f32 are
   quantised, outputs always dequantised. An input of another type is taken as raw integers.

Source: WAMR `core/iwasm/libraries/wasi-nn/src/wasi_nn.c`, `wasi_nn_tensorflowlite.cpp`.
"""

import struct

import numpy as np
import wasmtime

from wasi_nn.backend import Encoding
from wasi_nn.errors import InvalidArgument, TooLarge
from wasi_nn.hostcall import define
from wasi_nn.serving import Guest
from wasi_nn.tensor import MAX_RANK, TYPE_NUMBERS, Numbering, Tensor, TensorType, raw_bytes
from wasi_nn.witx import compute, init_execution_context, load_by_name
from wasi_nn.witx import load as load_builders

MODULE = "wasi_nn"

_TENSOR = struct.Struct("<IB3xI")
assert _TENSOR.size == 12, "WAMR's legacy tensor record is 12 bytes"
_FLOAT_BYTES = 4
_F32 = TYPE_NUMBERS[Numbering.WITX_OLD].index(TensorType.F32)


def load(guest: Guest, builders: int, encoding: int, target: int, graph_out: int) -> None:
    start, count = guest.memory.read_u32s(builders, 2, "builder array")
    load_builders(guest, start, count, encoding, target, graph_out)


def set_input(guest: Guest, context: int, index: int, tensor: int) -> None:
    memory = guest.memory
    record = memory.window(tensor, _TENSOR.size, "tensor")
    dims_struct, number, data_pointer = _TENSOR.unpack_from(record)
    dims_pointer, rank = memory.read_u32s(dims_struct, 2, "tensor dims record")
    if rank > MAX_RANK:
        raise InvalidArgument(f"tensor rank: got {rank}, wanted at most {MAX_RANK}")
    dims = memory.read_u32s(dims_pointer, rank, "tensor dims")
    spec = guest.session.input_spec(context, index)
    quantization = spec.quantization if number == _F32 else None
    size_bytes = _FLOAT_BYTES if quantization else spec.type.itemsize
    for dim in dims:
        size_bytes *= dim
    data = memory.window(data_pointer, size_bytes, "tensor data")
    if quantization:
        reals = np.frombuffer(data, np.float32)
        data = raw_bytes(quantization.quantise(reals, spec.type))
    guest.session.set_input(context, index, Tensor(spec.type, dims, data))


def get_output(guest: Guest, context: int, index: int, buffer: int, size_inout: int) -> None:
    memory = guest.memory
    (capacity,) = memory.read_u32s(size_inout, 1, "size in-out pointer")
    output = guest.session.get_output(context, index)
    reference = guest.session.context(context).reference
    quantization = reference.graph.outputs[index].quantization
    if quantization:
        output = quantization.dequantise(output)
    unit = _FLOAT_BYTES if reference.encoding is Encoding.TENSORFLOWLITE else 1
    size_bytes = output.nbytes
    # Rounded up, so that a u8 output of 965 bytes is told as the 242 floats it takes.
    size = -(-size_bytes // unit)
    target = memory.window(buffer, capacity * unit, "output buffer")
    if size > capacity:
        memory.write_u32(size_inout, size, "size in-out pointer")
        raise TooLarge(
            f"get_output: got room for {capacity}, wanted {size} units of {unit} bytes",
            required_bytes=size_bytes,
        )
    if size_bytes:
        target[:size_bytes] = raw_bytes(output)
    memory.write_u32(size_inout, size, "size in-out pointer")


def add_to_linker(linker: wasmtime.Linker) -> None:
    """Offer the legacy `wasi_nn` to every guest this linker instantiates."""
    define(linker, MODULE, "load", 4, load)
    define(linker, MODULE, "load_by_name", 3, load_by_name)
    define(linker, MODULE, "init_execution_context", 2, init_execution_context)
    define(linker, MODULE, "set_input", 3, set_input)
    define(linker, MODULE, "compute", 1, compute)
    define(linker, MODULE, "get_output", 4, get_output)
