"""The typed contents of an input: elements in the field of their kind instead of raw bytes.

Source: Triton's `grpc_service.proto`, InferTensorContents.
"""

import numpy as np

from appliance.api.rpc.descriptors import Proto
from appliance.errors import BadRequest
from appliance.oip.datatypes import Datatype
from appliance.oip.elements import MAX_STRINGS, count_of, shown
from appliance.oip.messages import Tensor

# FP16 and BF16 have no field: they go raw.
_FIELDS = {
    Datatype.BOOL: "bool_contents",
    Datatype.UINT8: "uint_contents",
    Datatype.UINT16: "uint_contents",
    Datatype.UINT32: "uint_contents",
    Datatype.UINT64: "uint64_contents",
    Datatype.INT8: "int_contents",
    Datatype.INT16: "int_contents",
    Datatype.INT32: "int_contents",
    Datatype.INT64: "int64_contents",
    Datatype.FP32: "fp32_contents",
    Datatype.FP64: "fp64_contents",
    Datatype.BYTES: "bytes_contents",
}


def tensor_of_contents(
    name: str, datatype: Datatype, shape: tuple[int, ...], contents: Proto
) -> Tensor:
    """Make an input of its InferTensorContents.

    Raises: BadRequest if they are in the wrong field, too many, too few, or out of range.
    """
    count = count_of(name, datatype, shape)
    field = _field_of(name, datatype, contents)
    elements = getattr(contents, field)
    if len(elements) != count:
        raise BadRequest(
            f"tensor {name}: got {len(elements)} elements in {field}, wanted {count} for"
            f" {datatype.value} {shown(shape)}"
        )
    if datatype is Datatype.BYTES:
        if count > MAX_STRINGS:
            raise BadRequest(f"tensor {name}: got {count} strings, wanted at most {MAX_STRINGS}")
        return Tensor(name, datatype, shape, tuple(elements))
    storage = datatype.tensor_type.storage
    if field in ("int_contents", "uint_contents") and count:
        bounds = np.iinfo(storage)
        least, most = min(elements), max(elements)
        if least < bounds.min or most > bounds.max:
            raise BadRequest(
                f"tensor {name}: got elements from {least} to {most}, wanted {bounds.min} to"
                f" {bounds.max} for {datatype.value}"
            )
    values = np.fromiter(elements, storage, count).reshape(shape)
    return Tensor(name, datatype, shape, values)


def _field_of(name: str, datatype: Datatype, contents: Proto) -> str:
    if datatype not in _FIELDS:
        raise BadRequest(
            f"tensor {name}: {datatype.value} has no typed contents; send raw_input_contents"
        )
    field = _FIELDS[datatype]
    others = [found.name for found, _ in contents.ListFields() if found.name != field]
    if others:
        raise BadRequest(
            f"tensor {name}: got {', '.join(others)}, wanted {field} for {datatype.value}"
        )
    return field
