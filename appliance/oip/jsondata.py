"""Tensors as JSON: the `data` of an input or output, flat or nested, row-major.

Strict: BOOL is true or false, integers are written as such and lie in the type's range, floats are
finite and lie in the type's range, BYTES are texts. FP16 and BF16 have no JSON form.
"""

import itertools
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from appliance.errors import BadRequest
from appliance.oip.datatypes import Datatype
from appliance.oip.elements import MAX_STRINGS, count_of, shown
from appliance.oip.jsontext import encoded, kind_of
from appliance.oip.messages import SharedSlice, Tensor
from wasi_nn.tensor import Array

_KINDS: dict[Datatype, tuple[frozenset[type], str]] = {
    Datatype.BOOL: (frozenset({bool}), "true or false"),
    Datatype.FP32: (frozenset({int, float}), "numbers"),
    Datatype.FP64: (frozenset({int, float}), "numbers"),
    Datatype.BYTES: (frozenset({str}), "texts"),
}
_INTEGERS = (frozenset({int}), "integers")
_NOT_JSON = (Datatype.FP16, Datatype.BF16)


def tensor_from(name: str, datatype: Datatype, shape: Sequence[int], data: object) -> Tensor:
    """Make a tensor of its JSON.

    Raises: BadRequest for another number of elements or another nesting than the shape says, or
    elements of another type or beyond its range.
    """
    if datatype in _NOT_JSON:
        raise BadRequest(
            f"tensor {name}: {datatype.value} has no JSON form; send it as binary data"
        )
    count = count_of(name, datatype, shape)
    dims = tuple(shape)
    flat = _flat(name, data, dims)
    if len(flat) != count:
        raise BadRequest(
            f"tensor {name}: got {len(flat)} elements, wanted {count} for {shown(dims)}"
        )
    kinds, wanted = _KINDS.get(datatype, _INTEGERS)
    others = set(map(type, flat)) - kinds
    if others:
        wrong = next(each for each in flat if type(each) in others)
        raise BadRequest(
            f"tensor {name}: got {kind_of(wrong)}, wanted {wanted} for {datatype.value}"
        )
    if datatype is Datatype.BYTES:
        if count > MAX_STRINGS:
            raise BadRequest(f"tensor {name}: got {count} texts, wanted at most {MAX_STRINGS}")
        return Tensor(name, datatype, dims, tuple(encoded(each, f"tensor {name}") for each in flat))
    return Tensor(name, datatype, dims, _array(name, datatype, flat).reshape(dims))


def data_of(tensor: Tensor) -> str:
    """Write a tensor's elements as a flat JSON list.

    Raises: BadRequest if JSON cannot hold them: the client can ask for binary data.
    """
    values = tensor.values
    assert not isinstance(values, SharedSlice), "what stands in shared memory is not sent"
    if isinstance(values, tuple):
        try:
            return json.dumps([element.decode() for element in values])
        except UnicodeDecodeError as exc:
            raise _not_json(tensor, "bytes that are no UTF-8") from exc
    if tensor.datatype in _NOT_JSON:
        raise _not_json(tensor, tensor.datatype.value)
    try:
        return json.dumps(values.reshape(-1).tolist(), allow_nan=False, separators=(",", ":"))
    except ValueError as exc:
        raise _not_json(tensor, "NaN or infinity") from exc


def _not_json(tensor: Tensor, what: str) -> BadRequest:
    return BadRequest(
        f"output {tensor.name}: holds {what}, which JSON cannot; ask for it with binary_data"
    )


def _flat(name: str, data: object, dims: tuple[int, ...]) -> list[Any]:
    """Unwrap a list that is nested as the shape says, or is flat already."""
    if not isinstance(data, list):
        raise BadRequest(f"tensor {name}: data is {kind_of(data)}, wanted a list")
    if not any(isinstance(each, list) for each in data):
        return data
    level = [data]
    for depth, dim in enumerate(dims):
        if set(map(len, level)) - {dim}:
            break
        level = list(itertools.chain.from_iterable(level))
        is_last = depth == len(dims) - 1
        lists = sum(isinstance(each, list) for each in level)
        if is_last and not lists:
            return level
        if is_last or lists != len(level):
            break
    raise BadRequest(f"tensor {name}: data is nested otherwise than its shape {shown(dims)}")


def _array(name: str, datatype: Datatype, flat: list[Any]) -> Array:
    storage = datatype.tensor_type.storage
    if storage.kind in "iu" and flat:
        bounds = np.iinfo(storage)
        if min(flat) < bounds.min or max(flat) > bounds.max:
            raise BadRequest(
                f"tensor {name}: an element is out of {datatype.value}'s range "
                f"{bounds.min}..{bounds.max}"
            )
    if storage.kind != "f":
        return np.array(flat, storage)
    try:
        wide: NDArray[np.float64] = np.array(flat, np.float64)
    except OverflowError:  # an integer of 400 digits
        wide = np.array([math.inf])
    with np.errstate(over="ignore"):
        narrow: Array = wide.astype(storage)
    if not np.isfinite(narrow).all():
        raise BadRequest(f"tensor {name}: an element is out of {datatype.value}'s range")
    return narrow
