"""What every TOML file of ours shares: strict tables, sizes such as "64MiB", and our sentences."""

import difflib
import re
from typing import Annotated, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

KIB, MIB, GIB = 1024, 1024**2, 1024**3
_MAX_SHOWN = 60
_UNITS = {"": 1, "B": 1, "KiB": KIB, "MiB": MIB, "GiB": GIB}


def _parse_size(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(\d{1,15})\s*([A-Za-z]*)", value.strip())
    if match is None or match[2] not in _UNITS:
        raise ValueError('a size such as "64MiB" or 67108864 (units B, KiB, MiB, GiB)')
    return int(match[1]) * _UNITS[match[2]]


SizeBytes = Annotated[int, BeforeValidator(_parse_size), Field(gt=0)]


class Table(BaseModel):
    """A table of a TOML file: frozen, unknown keys and numbers that are none refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Say pydantic's first finding as "key: got ..., wanted ...", for any of our TOML files.

    Convention: a validator of ours raises ValueError with what is wanted, and nothing else.
    """
    finding = error.errors(include_url=False)[0]
    path = finding["loc"]
    key = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path).lstrip(".")
    if finding["type"] == "extra_forbidden":
        close = difflib.get_close_matches(str(path[-1]), known := _keys_at(model, path[:-1]), n=1)
        hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
        return f"{key}: unknown key, {hint}"
    if finding["type"] == "missing":
        return f"{key}: missing, wanted a value"
    wanted = finding["msg"].removeprefix("Value error, ").replace("Input should be ", "")
    # A message is printed and logged.
    # Variables may be secrets, and tables of the policy hold variables.
    is_secret = "token" in str(path[-1]) or (
        path[0] == "policy" and ("env" in path or isinstance(finding["input"], dict))
    )
    got = "another value" if is_secret else repr(finding["input"])
    shown = got if len(got) <= _MAX_SHOWN else got[: _MAX_SHOWN - 3] + "..."
    return f"{key}: got {shown}, wanted {wanted}"


def _keys_at(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """List the keys that the table at a path may have."""
    for part in path:
        field = model.model_fields.get(str(part))
        # Positions in a list and the names pydantic gives to union members are no fields.
        if field is not None and (inner := _model_in(field)) is not None:
            model = inner
    return [f.alias or name for name, f in model.model_fields.items()]


def _model_in(field: FieldInfo) -> type[BaseModel] | None:
    candidates = (field.annotation, *get_args(field.annotation))
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
