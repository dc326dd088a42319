"""What keys of the manifests hold: names, versions, paths, text.

A validator raises ValueError with what is wanted; `settings.explain` makes the sentence of it.
"""

import re
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,62}")


def check_name(name: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise ValueError("a name of 1..63 of a-z, 0-9 and -, not beginning with -")
    return name


def check_version(version: str) -> str:
    if _VERSION.fullmatch(version) is None:
        raise ValueError("a version of 1..63 letters, digits and ._+-, beginning with one of them")
    return version


def _check_path(path: str) -> str:
    parts = path.split("/")
    if not path.isprintable() or "\\" in path or any(p in {"", ".", ".."} for p in parts):
        raise ValueError('a plain relative path inside the folder, such as "weights/model.onnx"')
    return path


def _check_no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("text without NUL")
    return text


Name = Annotated[str, AfterValidator(check_name)]
Version = Annotated[str, AfterValidator(check_version)]
RelativePath = Annotated[str, AfterValidator(_check_path)]
Text = Annotated[str, AfterValidator(_check_no_nul)]
EnvName = Annotated[str, StringConstraints(pattern="^[^=\\x00]+$")]
Prose = Annotated[str, StringConstraints(max_length=1000)]
Sha256 = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
