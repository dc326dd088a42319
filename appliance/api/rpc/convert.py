"""Requests and answers of an inference: between protobuf's messages and the box's own.

Rules:
1. What a client sent is checked here as strictly as over HTTP; what comes out is valid.
2. Raw inputs are viewed, not copied. Answers carry raw contents, always: clients read no others.
"""

from collections.abc import Iterator, Mapping

from appliance.api.rpc.contents import tensor_of_contents
from appliance.api.rpc.descriptors import INFERENCE, Proto
from appliance.errors import BadRequest
from appliance.oip.datatypes import Datatype
from appliance.oip.elements import count_of, raw_of, tensor_of
from appliance.oip.messages import (
    InferAnswer,
    InferRequest,
    Parameter,
    SharedSlice,
    Tensor,
    WantedOutput,
)

_NAMES = ", ".join(datatype.value for datatype in Datatype)
# What says that a tensor's bytes are in shared memory, not in the message.
_REGION = "shared_memory_region"
_OFFSET = "shared_memory_offset"
_BYTE_SIZE = "shared_memory_byte_size"
_MAX_INT64 = 2**63 - 1


def request_of(message: Proto) -> InferRequest:
    """Read a ModelInferRequest.

    Raises: BadRequest naming what is wrong.
    """
    parameters = _parameters(message.parameters)
    return InferRequest(
        model=message.model_name,
        inputs=tuple(_inputs(message)),
        version=message.model_version,
        id=message.id,
        outputs=tuple(map(_wanted, message.outputs)),
        priority=_whole(parameters, "priority"),
        timeout_us=_whole(parameters, "timeout"),
        parameters=parameters,
    )


def response_of(answer: InferAnswer) -> Proto:
    """Write a ModelInferResponse."""
    message = INFERENCE["ModelInferResponse"](
        model_name=answer.model, model_version=answer.version, id=answer.id
    )
    for name, value in answer.parameters.items():
        set_parameter(message.parameters[name], value)
    for output in answer.outputs:
        written = message.outputs.add(
            name=output.name, datatype=output.datatype.value, shape=output.shape
        )
        if isinstance(output.values, SharedSlice):
            set_parameter(written.parameters[_REGION], output.values.region)
            set_parameter(written.parameters[_BYTE_SIZE], output.values.byte_size)
            set_parameter(written.parameters[_OFFSET], output.values.offset)
        else:
            message.raw_output_contents.append(bytes(raw_of(output)))
    return message


def set_parameter(message: Proto, value: Parameter) -> None:
    """Write an InferParameter."""
    # A bool is an int to Python, not to the protocol.
    if isinstance(value, bool):
        message.bool_param = value
    elif isinstance(value, str):
        message.string_param = value
    elif isinstance(value, float):
        message.double_param = value
    elif value > _MAX_INT64:
        message.uint64_param = value
    else:
        message.int64_param = value


def _inputs(message: Proto) -> Iterator[Tensor]:
    raws = iter(message.raw_input_contents)
    slices = [_slice_of(described) for described in message.inputs]
    if message.raw_input_contents and len(message.raw_input_contents) != slices.count(None):
        raise BadRequest(
            f"raw_input_contents: got {len(message.raw_input_contents)}, wanted"
            f" {slices.count(None)}, one for each input that is not in shared memory"
        )
    for described, slice in zip(message.inputs, slices, strict=True):
        name, shape = described.name, tuple(described.shape)
        datatype = _datatype_of(described)
        has_contents = described.HasField("contents")
        if has_contents and (slice is not None or message.raw_input_contents):
            raise BadRequest(
                f"tensor {name}: got typed contents beside "
                f"{'shared memory' if slice is not None else 'raw_input_contents'}, wanted one"
            )
        if slice is not None:
            count_of(name, datatype, shape)
            yield Tensor(name, datatype, shape, slice)
        elif message.raw_input_contents:
            yield tensor_of(name, datatype, shape, next(raws))
        else:
            yield tensor_of_contents(name, datatype, shape, described.contents)


def _datatype_of(described: Proto) -> Datatype:
    try:
        return Datatype(described.datatype)
    except ValueError as exc:
        raise BadRequest(
            f"tensor {described.name}: got datatype {described.datatype[:80]!r}, wanted one of"
            f" {_NAMES}"
        ) from exc


def _wanted(described: Proto) -> WantedOutput:
    parameters = _parameters(described.parameters)
    return WantedOutput(described.name, _whole(parameters, "classification"), _slice_of(described))


def _slice_of(described: Proto) -> SharedSlice | None:
    parameters = _parameters(described.parameters)
    region = parameters.get(_REGION)
    if region is None:
        return None
    if not isinstance(region, str):
        raise BadRequest(f"parameter {_REGION}: got {region!r}, wanted a name")
    return SharedSlice(region, _whole(parameters, _OFFSET), _whole(parameters, _BYTE_SIZE))


def _parameters(sent: Mapping[str, Proto]) -> dict[str, Parameter]:
    found: dict[str, Parameter] = {}
    for name, value in sent.items():
        choice = value.WhichOneof("parameter_choice")
        if choice is None:
            raise BadRequest(f"parameter {name[:80]}: got no value")
        found[name] = getattr(value, choice)
    return found


def _whole(parameters: Mapping[str, Parameter], name: str) -> int:
    value = parameters.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_INT64:
        raise BadRequest(f"parameter {name}: got {str(value)[:80]}, wanted a whole number from 0")
    return value
