"""The body of an inference over REST becomes a request.

JSON, or JSON and behind it the tensors' bytes, in the order of the inputs that have a
`binary_data_size`; the header Inference-Header-Content-Length tells the JSON's length. A length of
0 means that there is no JSON: the body is the only input's bytes.

Tensors in the binary part are views of the body.

Source: Open Inference Protocol v2, REST and "Binary Tensor Data Extension"; raw binary requests and
shared memory parameters are Triton's.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from appliance.errors import BadRequest
from appliance.oip.datatypes import Datatype
from appliance.oip.elements import tensor_of
from appliance.oip.jsondata import tensor_from
from appliance.oip.jsontext import (
    bool_of,
    integer_of,
    objects_of,
    parameters_of,
    parse_object,
    text_of,
)
from appliance.oip.messages import (
    Buffer,
    InferRequest,
    Parameter,
    SharedSlice,
    Tensor,
    WantedOutput,
)
from wasi_nn.tensor import MAX_RANK

HEADER = "Inference-Header-Content-Length"

_LENGTH = re.compile(r"[0-9]{1,10}")
_MOST = 2**63 - 1
_MAX_PRIORITY = 2**32 - 1
# What we understand; the rest is kept as the request's own parameters.
_KNOWN = frozenset({"priority", "timeout", "binary_data_output"})
_SHARED = ("shared_memory_region", "shared_memory_offset", "shared_memory_byte_size")


@dataclass(frozen=True, slots=True)
class Form:
    """How the outputs are to be sent: is_binary unless `outputs` says otherwise by name."""

    is_binary: bool = False
    outputs: Mapping[str, bool] = field(default_factory=dict)

    def is_binary_of(self, output: str) -> bool:
        """Tell for one output."""
        return self.outputs.get(output, self.is_binary)


@dataclass(frozen=True, slots=True)
class RestRequest:
    """A request and the form of its answer."""

    request: InferRequest
    form: Form


def decode_request(
    body: Buffer, header_length: str | None, *, model: str, version: str = ""
) -> RestRequest:
    """Read the body of an inference.

    body: unpacked.   header_length: the header's value, None if it is absent.
    Raises: BadRequest, TooBig.
    """
    view = memoryview(body)
    if header_length is None:
        return _decode(view, view[:0], model, version, has_binary=False)
    length = json_length(header_length)
    if length > len(view):
        raise BadRequest(f"{HEADER}: got {length}, the whole body has {len(view)} bytes")
    if not length:
        return RestRequest(InferRequest(model, (), version, raw=view), Form(is_binary=True))
    return _decode(view[:length], view[length:], model, version, has_binary=True)


def json_length(header_length: str) -> int:
    """Read the header's value. Raises: BadRequest."""
    text = header_length.strip()
    if _LENGTH.fullmatch(text) is None:
        raise BadRequest(f"{HEADER}: got {header_length[:80]!a}, wanted the length of the JSON")
    return int(text)


def _decode(
    json: memoryview, binary: memoryview, model: str, version: str, *, has_binary: bool
) -> RestRequest:
    said = parse_object(json, "inference request")
    parameters = parameters_of(said, "request")
    cursor = _Cursor(binary, has_binary=has_binary)
    inputs = tuple(_input(each, cursor) for each in objects_of(said.get("inputs"), "inputs"))
    cursor.finish()
    outputs, binaries = _outputs(said.get("outputs", []))
    is_binary = bool_of(parameters.get("binary_data_output", False), "parameter binary_data_output")
    request = InferRequest(
        model=model,
        inputs=inputs,
        version=version,
        id=text_of(said.get("id", ""), "id"),
        outputs=outputs,
        priority=integer_of(parameters.get("priority", 0), "parameter priority", 0, _MAX_PRIORITY),
        timeout_us=integer_of(parameters.get("timeout", 0), "parameter timeout", 0, _MOST),
        parameters={key: value for key, value in parameters.items() if key not in _KNOWN},
    )
    return RestRequest(request, Form(is_binary, binaries))


class _Cursor:
    """Hands the binary part out, tensor by tensor."""

    def __init__(self, binary: memoryview, *, has_binary: bool) -> None:
        self._binary = binary
        self._has_binary = has_binary
        self._at = 0

    def take(self, size: int, name: str) -> memoryview:
        """Raises: BadRequest if there is not so much."""
        if not self._has_binary:
            raise BadRequest(f"input {name}: binary_data_size without the header {HEADER}")
        left = len(self._binary) - self._at
        if size > left:
            raise BadRequest(f"input {name}: binary_data_size is {size}, {left} bytes are left")
        taken = self._binary[self._at : self._at + size]
        self._at += size
        return taken

    def finish(self) -> None:
        """Raises: BadRequest if something is left."""
        left = len(self._binary) - self._at
        if left:
            raise BadRequest(
                f"body: {left} bytes are left behind the tensors; the sum of all binary_data_size "
                f"is {self._at}"
            )


def _input(said: dict[str, Any], cursor: _Cursor) -> Tensor:
    name = text_of(said.get("name"), "input's name")
    what = f"input {name[:80]}"
    datatype = _datatype(said.get("datatype"), what)
    shape = _shape(said.get("shape"), what)
    parameters = parameters_of(said, what)
    shared = _shared(parameters, what)
    size = parameters.get("binary_data_size")
    given = [
        form
        for form, is_there in (
            ("data", "data" in said),
            ("binary_data_size", size is not None),
            ("shared_memory_region", shared is not None),
        )
        if is_there
    ]
    if len(given) != 1:
        raise BadRequest(
            f"{what}: got {' and '.join(given) or 'no elements'}, wanted one of data, "
            "binary_data_size and shared_memory_region"
        )
    if shared is not None:
        return Tensor(name, datatype, shape, shared)
    if size is None:
        return tensor_from(name, datatype, shape, said["data"])
    taken = cursor.take(integer_of(size, f"{what} binary_data_size", 0, _MOST), name[:80])
    return tensor_of(name, datatype, shape, taken)


def _outputs(said: object) -> tuple[tuple[WantedOutput, ...], dict[str, bool]]:
    outputs, binaries = [], {}
    for each in objects_of(said, "outputs"):
        name = text_of(each.get("name"), "output's name")
        what = f"output {name[:80]}"
        parameters = parameters_of(each, what)
        if "binary_data" in parameters:
            binaries[name] = bool_of(parameters["binary_data"], f"{what} binary_data")
        classes = integer_of(
            parameters.get("classification", 0), f"{what} classification", 0, _MOST
        )
        outputs.append(WantedOutput(name, classes, _shared(parameters, what)))
    return tuple(outputs), binaries


def _datatype(value: object, what: str) -> Datatype:
    try:
        return Datatype(value)
    except ValueError:
        got = value[:24] if isinstance(value, str) else value
        wanted = ", ".join(each.value for each in Datatype)
        raise BadRequest(f"{what}: got datatype {got!a:.40}, wanted one of {wanted}") from None


def _shape(value: object, what: str) -> tuple[int, ...]:
    if not isinstance(value, list) or len(value) > MAX_RANK:
        raise BadRequest(f"{what}: wanted a shape, a list of at most {MAX_RANK} integers")
    return tuple(integer_of(dim, f"{what} shape", 0, _MOST) for dim in value)


def _shared(parameters: Mapping[str, Parameter], what: str) -> SharedSlice | None:
    region, offset, size = (parameters.get(key) for key in _SHARED)
    if region is None:
        return None
    return SharedSlice(
        text_of(region, f"{what} shared_memory_region"),
        integer_of(0 if offset is None else offset, f"{what} shared_memory_offset", 0, _MOST),
        integer_of(size, f"{what} shared_memory_byte_size", 0, _MOST),
    )
