"""An answer becomes the body of a response over REST: JSON, and behind it binary tensors."""

import json
from dataclasses import dataclass
from typing import Any

from appliance.oip.elements import raw_of
from appliance.oip.jsondata import data_of
from appliance.oip.messages import Buffer, InferAnswer, SharedSlice, Tensor
from appliance.oip.restrequest import Form


@dataclass(frozen=True, slots=True)
class RestResponse:
    """A body in parts, which are never joined; binary ones are views of the outputs.

    json_length: for the header Inference-Header-Content-Length; None if all of it is JSON.
    """

    parts: tuple[Buffer, ...]
    json_length: int | None

    @property
    def size_bytes(self) -> int:
        return sum(len(part) for part in self.parts)


def encode_answer(answer: InferAnswer, form: Form) -> RestResponse:
    """Write an answer in the form that was asked for.

    Raises: BadRequest if an output has no JSON form and is wanted as JSON.
    """
    head: dict[str, Any] = {"model_name": answer.model, "model_version": answer.version}
    if answer.id:
        head["id"] = answer.id
    if answer.parameters:
        head["parameters"] = dict(answer.parameters)
    outputs: list[str] = []
    raws: list[Buffer] = []
    for tensor in answer.outputs:
        said = {"name": tensor.name, "datatype": tensor.datatype.value, "shape": tensor.shape}
        if isinstance(tensor.values, SharedSlice):
            outputs.append(_json({**said, "parameters": _shared(tensor.values)}))
        elif form.is_binary_of(tensor.name):
            raws.append(raw_of(tensor))
            outputs.append(_json({**said, "parameters": {"binary_data_size": len(raws[-1])}}))
        else:
            outputs.append(_with_data(said, tensor))
    text = f'{_json(head)[:-1]},"outputs":[{",".join(outputs)}]}}'.encode()
    return RestResponse((text, *raws), len(text) if raws else None)


def _with_data(said: dict[str, Any], tensor: Tensor) -> str:
    return f'{_json(said)[:-1]},"data":{data_of(tensor)}}}'


def _shared(at: SharedSlice) -> dict[str, str | int]:
    said: dict[str, str | int] = {
        "shared_memory_region": at.region,
        "shared_memory_byte_size": at.byte_size,
    }
    return {**said, "shared_memory_offset": at.offset} if at.offset else said


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))
