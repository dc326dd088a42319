"""What every TOML file of ours shares: strict tables, and sizes such as "64MiB"."""

import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

KIB, MIB, GIB = 1024, 1024**2, 1024**3
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
