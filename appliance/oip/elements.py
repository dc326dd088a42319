"""Tensors to and from raw bytes, as both transports and shared memory carry them.

Little-endian and row-major. An element of BYTES is its length (4 bytes) and as many bytes. BOOL is
one byte, 0 or 1. Nothing is copied but the elements of BYTES.

Source: Open Inference Protocol v2, "Binary Tensor Data Extension".
"""

import math
import struct
from collections.abc import Sequence

import numpy as np

from appliance.errors import BadRequest
from appliance.oip.datatypes import Datatype
from appliance.oip.messages import Buffer, SharedSlice, Tensor
from wasi_nn.tensor import MAX_RANK, raw_bytes

# What a request can hold many times over; numpy's own limit is 2^63 - 1. Empty dimensions count
# as 1, for numpy counts so, too.
_MAX_BYTES = 1 << 40
# Strings are pictures here, and a batch of them is far smaller; bounds a loop in Python.
MAX_STRINGS = 4096
_LENGTH = struct.Struct("<I")


def count_of(name: str, datatype: Datatype, shape: Sequence[int]) -> int:
    """Count the elements of a tensor, of one that can exist.

    Raises: BadRequest for a dimension below 0, too many of them, or more than memory could hold.
    """
    if len(shape) > MAX_RANK:
        raise BadRequest(f"tensor {name}: got {len(shape)} dimensions, wanted at most {MAX_RANK}")
    if any(dim < 0 for dim in shape):
        raise BadRequest(f"tensor {name}: got shape {shown(shape)}, wanted no dimension below 0")
    if math.prod(dim or 1 for dim in shape) > _MAX_BYTES // size_of(datatype):
        raise BadRequest(f"tensor {name}: got shape {shown(shape)}, too large for any data")
    return math.prod(shape)


def tensor_of(name: str, datatype: Datatype, shape: Sequence[int], raw: Buffer) -> Tensor:
    """Make a tensor of its raw bytes.

    raw: exactly the tensor's bytes; the tensor is a view of them, if it is no BYTES.
    Raises: BadRequest if sizes and shape disagree, or a BOOL is neither 0 nor 1.
    """
    count = count_of(name, datatype, shape)
    dims = tuple(shape)
    if datatype is Datatype.BYTES:
        return Tensor(name, datatype, dims, _split(name, raw, count))
    wanted = count * size_of(datatype)
    if len(raw) != wanted:
        raise BadRequest(
            f"tensor {name}: got {len(raw)} bytes, wanted {wanted} for {datatype.value} "
            f"{shown(shape)}"
        )
    if datatype is Datatype.BOOL and wanted and np.frombuffer(raw, np.uint8).max() > 1:
        raise BadRequest(f"tensor {name}: got a BOOL that is neither 0 nor 1")
    values = np.frombuffer(raw, datatype.tensor_type.storage).reshape(dims)
    return Tensor(name, datatype, dims, values)


def raw_of(tensor: Tensor) -> Buffer:
    """Give a tensor's raw bytes: a view of its elements, or for BYTES new bytes."""
    values = tensor.values
    assert not isinstance(values, SharedSlice), "what stands in shared memory is not sent"
    if isinstance(values, tuple):
        return b"".join(part for each in values for part in (_LENGTH.pack(len(each)), each))
    return raw_bytes(values)


def size_of(datatype: Datatype) -> int:
    """Bytes of an element; of BYTES the least, its length."""
    return _LENGTH.size if datatype is Datatype.BYTES else datatype.tensor_type.itemsize


def shown(shape: Sequence[int]) -> str:
    """Write a shape as requests do, shortened."""
    dims = [str(dim)[:24] for dim in shape[: MAX_RANK + 1]]
    return f"[{','.join(dims)}{',...' if len(shape) > len(dims) else ''}]"


def _split(name: str, raw: Buffer, count: int) -> tuple[bytes, ...]:
    if count > MAX_STRINGS:
        raise BadRequest(f"tensor {name}: got {count} strings, wanted at most {MAX_STRINGS}")
    view = memoryview(raw)
    elements = []
    at = 0
    for index in range(count):
        if at + _LENGTH.size > len(view):
            raise BadRequest(
                f"tensor {name}: {len(view)} bytes end within string {index}, wanted {count} "
                "strings, each after its length (4 bytes, little-endian)"
            )
        (length,) = _LENGTH.unpack_from(view, at)
        at += _LENGTH.size
        if length > len(view) - at:
            raise BadRequest(
                f"tensor {name}: string {index} says {length} bytes, {len(view) - at} are left"
            )
        elements.append(bytes(view[at : at + length]))
        at += length
    if at != len(view):
        raise BadRequest(f"tensor {name}: got {len(view)} bytes, wanted {at} for {count} strings")
    return tuple(elements)
