"""Named models: what stands behind `load_by_name`.

A guest names a model; a `Catalogue` of the embedder's says which files that is. A guest can never
name a path (WAMR takes the name for one, an open hole there).
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from wasi_nn.backend import Buffer, Device, Encoding
from wasi_nn.errors import InvalidArgument, InvalidEncoding, NotFound

_TARGETS = {"cpu": Device.CPU, "gpu": Device.GPU, "npu": Device.NPU, "tpu": Device.NPU}


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One form of a model.

    read: gives the parts in WASI-NN's order.   digest: names the content, if that is known
    without reading it.   layout: of picture inputs, "NCHW" or "NHWC", if known.
    """

    encoding: Encoding
    read: Callable[[], Sequence[Buffer]]
    digest: str | None = None
    layout: str | None = None


@dataclass(frozen=True, slots=True)
class NamedModel:
    """A model under its name.

    files: its forms, the preferred one first.   package: the embedder's own description.
    """

    name: str
    version: str
    files: tuple[ModelFile, ...]
    device: Device = Device.CPU
    package: Any = field(default=None, compare=False)


class Catalogue(Protocol):
    """Finds models by the names that guests use."""

    def find(self, name: str) -> NamedModel:
        """Resolve `name` or `name:version`. Raises: NotFound naming what there is."""
        ...


class StaticCatalogue:
    """A fixed list of models."""

    def __init__(self, models: Sequence[NamedModel] = ()) -> None:
        self._models = {model.name: model for model in models}

    def find(self, name: str) -> NamedModel:
        """See `Catalogue.find`."""
        model = self._models.get(name)
        if model is None:
            known = ", ".join(sorted(self._models)) or "none"
            raise NotFound(f"model {name}: not found; models here: {known}")
        return model


def parse_preload(text: str) -> NamedModel:
    """Read WasmEdge's `NAME:ENCODING:TARGET:PATH[:PATH...]`.

    Returns: a model that reads its files when first loaded.
    Raises: InvalidArgument naming the wrong part; NotFound for a missing file.
    """
    parts = text.split(":")
    if len(parts) < 4 or not parts[0]:
        raise InvalidArgument(f"preload: got {text}, wanted NAME:ENCODING:TARGET:PATH[:PATH...]")
    name, encoding_name, target, *paths = parts
    try:
        encoding = Encoding(encoding_name.lower())
    except ValueError:
        wanted = ", ".join(e.value for e in Encoding)
        raise InvalidArgument(
            f"preload {name}: got encoding {encoding_name}, wanted {wanted}"
        ) from None
    device = Device.CPU if target.lower() == "auto" else _TARGETS.get(target.lower())
    if device is None:
        raise InvalidArgument(f"preload {name}: got target {target}, wanted cpu, gpu, tpu or auto")
    sources = [Path(path) for path in paths]
    for source in sources:
        if not source.is_file():
            raise NotFound(f"preload {name}: no file at {source}")
    file = ModelFile(encoding, lambda: [source.read_bytes() for source in sources])
    return NamedModel(name, "1", (file,), device)


@dataclass(frozen=True, slots=True)
class LoadConfig:
    """What a guest overrides of a named model's own choice; None leaves it."""

    device: Device | None = None
    backend: str | None = None
    encoding: Encoding | None = None
    num_threads: int | None = None


# Chosen, not measured: a thread count above this is a mistake on an edge box.
MAX_THREADS = 64


def parse_config(config: bytes) -> LoadConfig:
    """Read the JSON of `load_by_name_with_config`; empty means nothing is overridden.

    Keys that are not ours are ignored: guests written for other backends send dozens of theirs.
    Raises: InvalidEncoding if it is no JSON object, InvalidArgument for a wrong value.
    """
    text = config.strip(b"\0 \t\r\n")
    if not text:
        return LoadConfig()
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise InvalidEncoding("load_by_name: the config is no JSON") from exc
    if not isinstance(values, dict):
        raise InvalidEncoding(f"load_by_name: got a {type(values).__name__}, wanted an object")
    return LoadConfig(
        device=_choice(values, "device", _TARGETS),
        backend=_text(values, "backend"),
        encoding=_choice(values, "encoding", {e.value: e for e in Encoding}),
        num_threads=_threads(values.get("num_threads")),
    )


T = TypeVar("T")


def _text(values: dict[str, Any], key: str) -> str | None:
    value = values.get(key)
    if value is None or isinstance(value, str):
        return value
    raise InvalidArgument(f"load_by_name: config {key} is {value!r:.40}, wanted a name")


def _choice(values: dict[str, Any], key: str, choices: dict[str, T]) -> T | None:
    value = values.get(key)
    if value is None:
        return None
    chosen = choices.get(value.lower()) if isinstance(value, str) else None
    if chosen is None:
        raise InvalidArgument(
            f"load_by_name: config {key} is {value!r:.40}, wanted one of {', '.join(choices)}"
        )
    return chosen


def _threads(value: Any) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_THREADS:
        raise InvalidArgument(
            f"load_by_name: config num_threads is {value!r:.40}, wanted 1..{MAX_THREADS}"
        )
    return value
