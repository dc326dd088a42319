"""A model is tried: every encoding loaded, compared with its model.toml, shown its sample.

`try_model` runs apart; `try_here` is the same in this process.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.errors import BadModel, Unavailable
from appliance.files import read_bounded
from appliance.manifests import ModelFiles, ModelPackage, ModelSample, load_model_folder
from appliance.models import named_model
from appliance.pictures import decode
from appliance.sampling import Subject, check_fit, look, refused
from appliance.trials.registries import backends_named, load_modestly
from wasi_nn.backend import Backend, Device, Encoding
from wasi_nn.catalogue import StaticCatalogue
from wasi_nn.devices import present
from wasi_nn.errors import NNError
from wasi_nn.executor import DirectExecutor, Ticket
from wasi_nn.registry import Registry

LOAD, SHOW = "load", "show"
_MAX_PICTURE_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ModelErrand:
    """What to try. folder: of the version, as it will be published."""

    name: str
    version: str
    folder: str
    backends: list[str]
    max_pixels: int


@dataclass(frozen=True, slots=True)
class ModelTrial:
    """A version that is good. loaded: encodings that were tried.   untried: without a runtime."""

    loaded: tuple[str, ...]
    untried: tuple[str, ...]


def stage_of(what: str, encoding: Encoding) -> str:
    """Name what is done to which encoding."""
    return f"{what} {encoding.value}"


def stages_of(package: ModelPackage, load_s: float, show_s: float) -> dict[str, float]:
    """List the stages of a trial in their order, with the seconds that each may take."""
    return {
        stage_of(what, files.encoding): seconds
        for files in package.manifest.files
        for what, seconds in ((LOAD, load_s), (SHOW, show_s))
    }


def try_model(asked: ModelErrand, on_stage: Callable[[str], None]) -> dict[str, Any]:
    """Do an errand. Returns: a `ModelTrial` as JSON.   Raises: BadModel, Unavailable."""
    package = load_model_folder(Path(asked.folder), default_name=asked.name)
    subject = Tried(asked.name, asked.version, package, asked.max_pixels)
    trial = try_here(subject, backends_named(asked.backends), on_stage)
    return {"loaded": list(trial.loaded), "untried": list(trial.untried)}


@dataclass(frozen=True, slots=True)
class Tried:
    """A version that is being tried. max_pixels: of its sample."""

    name: str
    version: str
    package: ModelPackage
    max_pixels: int


def try_here(
    tried: Tried, backends: Sequence[Backend], on_stage: Callable[[str], None] = lambda stage: None
) -> ModelTrial:
    """Load every encoding that can be loaded here, and show it the sample if there is one.

    Raises: BadModel naming the encoding and what is wrong; Unavailable, BadPicture.
    """
    name, version, package = tried.name, tried.version, tried.package
    catalogue = StaticCatalogue((named_model(name, version, package),))
    registry = Registry(backends, catalogue, load_modestly)
    every = [files.encoding for files in package.manifest.files]
    able = [files for files in package.manifest.files if _is_able(backends, files.encoding)]
    if not able:
        had = ", ".join(encoding.value for encoding in every)
        raise BadModel(
            f"model {name}:{version}: this box has no runtime for {had}; convert it to onnx, "
            "openvino or tensorflowlite"
        )
    for files in able:
        on_stage(stage_of(LOAD, files.encoding))
        _try_one(registry, tried, files, on_stage)
    loaded = tuple(files.encoding.value for files in able)
    return ModelTrial(loaded, tuple(e.value for e in every if e.value not in loaded))


def _is_able(backends: Sequence[Backend], encoding: Encoding) -> bool:
    return any(
        encoding in backend.encodings and Device.CPU in present(backend.probe())
        for backend in backends
    )


def _try_one(
    registry: Registry, tried: Tried, files: ModelFiles, on_stage: Callable[[str], None]
) -> None:
    name, package = tried.name, tried.package
    config = json.dumps({"encoding": files.encoding.value}).encode()
    try:
        reference = registry.load_named(name, config)
    except NNError as exc:
        error = refused(exc)
        if isinstance(error, Unavailable):
            raise error from exc
        raise BadModel(f"model {name}: {files.encoding.value} does not load: {exc}") from exc
    try:
        check_fit(package, files.encoding, reference.graph)
        if package.manifest.sample is not None:
            on_stage(stage_of(SHOW, files.encoding))
            subject = Subject(package, files.encoding, reference.graph)
            _check_sample(subject, package.manifest.sample, tried.max_pixels)
    finally:
        reference.release()


def _check_sample(subject: Subject, sample: ModelSample, max_pixels: int) -> None:
    """Raises: BadModel if the model does not say first what its sample is."""
    encoded = read_bounded(subject.package.folder / sample.picture, max_bytes=_MAX_PICTURE_BYTES)
    pixels, _ = decode(encoded, max_pixels=max_pixels)
    sight = look(pixels, subject, DirectExecutor(), Ticket(owner="upload"))
    said = sight.top[0].label if sight.top else None
    if sample.label is not None and said != sample.label:
        raise BadModel(
            f"{subject.encoding.value}: the sample {sample.picture} gave {said}, wanted "
            f"{sample.label}; is the preprocessing in model.toml right?"
        )
