"""JSON that a client sent, read without harm: bounded, strict, and every part of a known type."""

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from appliance.errors import BadRequest, TooBig
from appliance.oip.messages import Buffer, Parameter

# Parsing holds the interpreter: 8 MiB of numbers are 0.2 s here. Tensors belong into the binary
# part of a request.
MAX_JSON_BYTES = 8 * 1024 * 1024
# Of an id, a tensor's name, a text parameter.
MAX_TEXT_BYTES = 1024
# Of a request's inputs, outputs and parameters; no model we know has a tenth of it.
MAX_ENTRIES = 256
_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1


def parse_object(text: Buffer, what: str) -> dict[str, Any]:
    """Read a JSON object.

    what: names it in messages.
    Raises: TooBig; BadRequest if it is no JSON in UTF-8, no object, has NaN or Infinity in it, or
    nests deeper than the parser descends (1000 levels, where it stops by itself).
    """
    if len(text) > MAX_JSON_BYTES:
        raise TooBig(
            f"{what}: got {len(text)} bytes of JSON, wanted at most {MAX_JSON_BYTES}; send tensors "
            "as binary data (Inference-Header-Content-Length)"
        )
    try:
        value = json.loads(str(text, "utf-8"), parse_constant=_refuse)
    except RecursionError as exc:
        raise BadRequest(f"{what}: got JSON that is nested too deeply") from exc
    except ValueError as exc:
        raise BadRequest(f"{what}: not JSON: {exc}") from exc
    if not isinstance(value, dict):
        raise BadRequest(f"{what}: got a JSON {kind_of(value)}, wanted an object")
    return value


def text_of(value: object, what: str) -> str:
    """Take a text that can be shown and sent back. Raises: BadRequest."""
    if not isinstance(value, str):
        raise BadRequest(f"{what}: got {kind_of(value)}, wanted text")
    if len(value) > MAX_TEXT_BYTES or len(encoded(value, what)) > MAX_TEXT_BYTES:
        raise BadRequest(f"{what}: got over {MAX_TEXT_BYTES} bytes, wanted at most that")
    return value


def encoded(text: str, what: str) -> bytes:
    """Write a text as UTF-8. Raises: BadRequest for half a surrogate pair, which JSON can say."""
    try:
        return text.encode()
    except UnicodeEncodeError as exc:
        raise BadRequest(f"{what}: half a surrogate pair, wanted Unicode text") from exc


def integer_of(value: object, what: str, low: int, high: int) -> int:
    """Take an integer of a range, bounds inclusive. Raises: BadRequest."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadRequest(f"{what}: got {kind_of(value)}, wanted an integer")
    if not low <= value <= high:
        raise BadRequest(f"{what}: got {_short(value)}, wanted {low}..{high}")
    return value


def bool_of(value: object, what: str) -> bool:
    """Take true or false. Raises: BadRequest."""
    if not isinstance(value, bool):
        raise BadRequest(f"{what}: got {kind_of(value)}, wanted true or false")
    return value


def objects_of(value: object, what: str) -> list[dict[str, Any]]:
    """Take a list of objects. Raises: BadRequest."""
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise BadRequest(f"{what}: wanted a list of objects")
    if len(value) > MAX_ENTRIES:
        raise BadRequest(f"{what}: got {len(value)}, wanted at most {MAX_ENTRIES}")
    return value


def parameters_of(owner: Mapping[str, Any], what: str) -> dict[str, Parameter]:
    """Take the `parameters` of a request or tensor. Raises: BadRequest."""
    value = owner.get("parameters", {})
    if not isinstance(value, dict):
        raise BadRequest(f"{what} parameters: got {kind_of(value)}, wanted an object")
    if len(value) > MAX_ENTRIES:
        raise BadRequest(f"{what} parameters: got {len(value)}, wanted at most {MAX_ENTRIES}")
    return {
        text_of(key, f"{what} parameter's name"): _parameter(each, f"{what} parameter {key[:80]!a}")
        for key, each in value.items()
    }


def kind_of(value: object) -> str:
    """Name the JSON type of a value."""
    if value is None:
        return "null"
    kinds = {bool: "true or false", int: "an integer", float: "a number", str: "text",
             list: "a list"}  # fmt: skip
    return kinds.get(type(value), "an object")


def _parameter(value: object, what: str) -> Parameter:
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return integer_of(value, what, _INT_MIN, _INT_MAX)
    if isinstance(value, float):
        # 1e999 is JSON, and Python reads it as infinity.
        if value in (float("inf"), float("-inf")):
            raise BadRequest(f"{what}: got a number beyond float64")
        return value
    return text_of(value, what)


def _short(value: int) -> str:
    return str(value) if abs(value) < 10**24 else "an integer of over 24 digits"


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
