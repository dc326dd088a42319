"""The two files a user writes: app.toml (how a guest runs) and model.toml (what a model wants).

A manifest is checked whole before anything of it is used: unknown keys are refused with the
nearest known one, and every path in it is a plain relative name that stays inside its folder,
symlinks followed. Messages say file, key, got, wanted.
"""

import re
import tomllib
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from appliance.asks import Folders, NNOptions, WasiOptions
from appliance.errors import ApplianceError, BadManifest
from appliance.fields import EnvName, Name, Prose, RelativePath, Sha256, Text, Version
from appliance.files import read_bounded, sha256_of_file
from appliance.golden import AppSample
from appliance.preprocess import (
    Color,
    CropFraction,
    ImageType,
    InputSpec,
    Layout,
    Resize,
    SizeWH,
    Std,
    Triple,
)
from appliance.settings import KIB, MIB, AppLimits, Table
from appliance.tables import explain
from wasi_nn.backend import Encoding
from wasi_nn.tensor import TensorType

APP_MANIFEST = "app.toml"
MODEL_MANIFEST = "model.toml"
# A real manifest has 1-4 KiB; ImageNet's labels have 32 KiB, its 21k variant 500 KiB.
MAX_MANIFEST_BYTES = 64 * KIB
_MAX_LABELS_BYTES = 4 * MIB
_MAX_LABELS = 100_000
_MAX_LABEL_LENGTH = 256

FRAME_PLACEHOLDER = "{frame}"

__all__ = [
    "APP_MANIFEST", "FRAME_PLACEHOLDER", "MODEL_MANIFEST", "AppInput", "AppManifest", "Color",
    "InputFormat", "InputSpec", "Instances", "Layout", "Mode", "ModelFiles", "ModelManifest",
    "ModelPackage", "ModelSample", "NNOptions", "OutputKind", "OutputSpec", "Resize",
    "load_model_folder", "name_from", "parse_app_manifest", "parse_model_manifest",
]  # fmt: skip


class Mode(Enum):
    """How a guest is run (design, section 4)."""

    AUTO = "auto"
    COMMAND = "command"
    REACTOR = "reactor"
    STREAM = "stream"
    COMPONENT = "component"


class Instances(Enum):
    """Who shares a reactor's warm instances: all frames, or each source has one to itself.

    A guest that remembers earlier frames, to count or to follow, wants one for each camera.
    """

    SHARED = "shared"
    PER_CAMERA = "per-camera"


class InputFormat(Enum):
    """What a command or stream guest gets on stdin: the file as it came, RGB bytes, a tensor."""

    ENCODED = "encoded"
    RGB8 = "rgb8"
    TENSOR = "tensor"


class OutputKind(Enum):
    LOGITS = "logits"
    PROBABILITIES = "probabilities"


class OutputSpec(Table):
    """One output: `logits` need a softmax before they are scores, `probabilities` do not."""

    name: str = Field(min_length=1)
    kind: OutputKind
    labels: RelativePath | None = None


def _check_loadable(encoding: Encoding) -> Encoding:
    if encoding is Encoding.AUTODETECT:
        raise ValueError("the file's real encoding, such as onnx, openvino or tensorflowlite")
    return encoding


class ModelFiles(Table):
    """The weights in one encoding.

    paths: in WASI-NN's order, [xml, bin] for openvino.   sha256: one per path, or none at all.
    layout: of the image inputs; where it is not said, NHWC for tensorflowlite and NCHW else.
    """

    encoding: Annotated[Encoding, AfterValidator(_check_loadable)]
    paths: tuple[RelativePath, ...] = Field(min_length=1, max_length=8)
    sha256: tuple[Sha256, ...] = ()
    layout: Annotated[Layout | None, Field(validate_default=True)] = None

    @field_validator("layout")
    @classmethod
    def _usual_layout(cls, layout: Layout | None, info: Any) -> Layout:
        is_tflite = info.data.get("encoding") is Encoding.TENSORFLOWLITE
        return layout or (Layout.NHWC if is_tflite else Layout.NCHW)

    @field_validator("sha256")
    @classmethod
    def _one_each(cls, hashes: tuple[str, ...], info: Any) -> tuple[str, ...]:
        paths = info.data.get("paths", ())
        if hashes and paths and len(hashes) != len(paths):
            raise ValueError(f"one hash per path, {len(paths)}")
        return hashes

    @property
    def image_layout(self) -> Layout:
        assert self.layout is not None, "the validator has put the usual layout"
        return self.layout


class ModelSample(Table):
    """A picture that the model knows. label: what it must say first about it, if that is known."""

    picture: RelativePath
    label: str | None = Field(None, min_length=1)


class ModelManifest(Table):
    """A model.toml. `files` are in order of preference.

    tolerance: largest difference of an output between two encodings that still is the same model.
    sample: every encoding must know it.
    """

    name: Name
    version: Version = "1"
    title: Prose = ""
    licence: Prose = ""
    origin: Prose = ""
    tolerance: float = Field(0.0, ge=0)
    inputs: tuple[InputSpec, ...] = ()
    outputs: tuple[OutputSpec, ...] = ()
    sample: ModelSample | None = None
    files: tuple[ModelFiles, ...] = Field(min_length=1)

    @field_validator("files")
    @classmethod
    def _unique_encodings(cls, files: tuple[ModelFiles, ...]) -> tuple[ModelFiles, ...]:
        if len({f.encoding for f in files}) != len(files):
            raise ValueError("each encoding once")
        return files

    def files_for(self, encoding: Encoding) -> ModelFiles | None:
        """Find the weights in an encoding."""
        return next((f for f in self.files if f.encoding is encoding), None)


class AppInput(Table):
    """The `[input]` table: what a command or stream guest reads, and how a frame becomes it."""

    format: InputFormat = InputFormat.ENCODED
    size_wh: SizeWH | None = None
    type: ImageType = TensorType.F32
    layout: Layout = Layout.NCHW
    color: Color = Color.RGB
    resize: Resize = Resize.BILINEAR
    crop_fraction: CropFraction = 1.0
    mean: Triple = (0.0, 0.0, 0.0)
    std: Std = (1.0, 1.0, 1.0)

    @model_validator(mode="after")
    def _sized(self) -> Self:
        if self.format is InputFormat.TENSOR and self.size_wh is None:
            raise ValueError('size_wh with format = "tensor", such as size_wh = [224, 224]')
        return self

    def spec(self) -> InputSpec | None:
        """Give the preprocessing that was asked for; None if the frame keeps its size."""
        if self.size_wh is None:
            return None
        return InputSpec.model_validate(self.model_dump(exclude={"format", "layout"}))


def _aliases(value: object) -> object:
    # A list with anything but text is left to the check after this one, which says so.
    is_list = isinstance(value, list | tuple) and all(isinstance(v, str) for v in value)
    return {name: name for name in value} if is_list else value  # type: ignore[attr-defined]


class AppManifest(Table):
    """An app.toml.

    args: without argv[0]; `{frame}` in one stands for the frame's file.
    models: what the guest calls a model -> its name here; a list means the same name twice.
        None allows every model of the box.
    cameras: sources whose frames the app gets; None means all, () only what clients push. A
        camera that the operator gave a list of apps feeds those instead.
    env_from, folders, wasi: what it asks of the operator, see `asks`.
    limits: only what the file says counts; use `limits_over`.
    sample: a picture in the bundle that the app must know before it is let answer.
    """

    name: Name
    mode: Mode = Mode.AUTO
    args: tuple[Text, ...] = Field((), max_length=256)
    env: dict[EnvName, Text] = Field(default_factory=dict)
    env_from: tuple[EnvName, ...] = Field((), max_length=256)
    folders: Folders = Field(default_factory=dict)
    wasi: WasiOptions = WasiOptions()
    models: Annotated[
        dict[Annotated[str, Field(min_length=1)], Name] | None, BeforeValidator(_aliases)
    ] = None
    cameras: tuple[Name, ...] | None = None
    instances: Instances = Instances.SHARED
    limits: AppLimits = AppLimits()
    nn: NNOptions = NNOptions()
    input: AppInput = AppInput()
    sample: AppSample | None = None

    def limits_over(self, defaults: AppLimits) -> AppLimits:
        """Lay the file's `[limits]` over the box's defaults."""
        return self.limits.over(defaults)


Manifest = TypeVar("Manifest", AppManifest, ModelManifest)


def name_from(text: str) -> str:
    """Make a valid name of a file's or folder's name: "My Guest_v2.wasm" -> "my-guest-v2"."""
    stem = re.sub(r"\.(wasm|zip|tar|tar\.gz|tgz)$", "", text.lower())
    return re.sub(r"[^a-z0-9]+", "-", stem).strip("-")[:63].strip("-") or "unnamed"


def parse_app_manifest(text: bytes, *, default_name: str) -> AppManifest:
    """Read an app.toml; an empty one is valid.

    default_name: used if the file names none, made valid by `name_from`.
    Raises: BadManifest.
    """
    return _parse(AppManifest, text, APP_MANIFEST, {"name": name_from(default_name)})


def parse_model_manifest(text: bytes, *, default_name: str | None = None) -> ModelManifest:
    """Read a model.toml.

    default_name: used if the file names none, made valid by `name_from`.
    Raises: BadManifest.
    """
    defaults: dict[str, object] = {} if default_name is None else {"name": name_from(default_name)}
    return _parse(ModelManifest, text, MODEL_MANIFEST, defaults)


def _parse(
    model: type[Manifest], text: bytes, file_name: str, defaults: dict[str, object]
) -> Manifest:
    if len(text) > MAX_MANIFEST_BYTES:
        raise BadManifest(
            f"{file_name}: got {len(text)} bytes, wanted at most {MAX_MANIFEST_BYTES}"
        )
    try:
        # RecursionError: tomllib descends into nested brackets.
        values = tomllib.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError) as exc:
        raise BadManifest(f"{file_name}: not TOML: {exc}") from exc
    try:
        return model.model_validate({**defaults, **values})
    except ValidationError as exc:
        raise BadManifest(f"{file_name}: {explain(exc, model)}") from exc


@dataclass(frozen=True, slots=True)
class ModelPackage:
    """A model folder that was checked.

    labels: of the first output that names a file, in index order; () if none does.
    """

    manifest: ModelManifest
    folder: Path
    labels: tuple[str, ...]

    def paths(self, files: ModelFiles) -> tuple[Path, ...]:
        """Give the absolute paths of one encoding, in WASI-NN's order."""
        return tuple(self.folder / p for p in files.paths)


def load_model_folder(
    folder: Path, *, default_name: str | None = None, is_verified: bool = False
) -> ModelPackage:
    """Read and check a model folder; the weights themselves are not read.

    default_name: for a model.toml without a name, or a folder without one; then its own name else.
    is_verified: also compare every sha256 that the manifest states (reads all weights).
    Raises: BadManifest for anything missing, damaged, or outside the folder.
    """
    try:
        if (folder / MODEL_MANIFEST).is_file():
            path = _inside(folder, MODEL_MANIFEST)
            text = read_bounded(path, max_bytes=MAX_MANIFEST_BYTES)
            manifest = parse_model_manifest(text, default_name=default_name)
        else:
            manifest = _default_manifest(folder, default_name or folder.name)
        for files in manifest.files:
            _check_files(folder, files, is_verified)
        if manifest.sample is not None:
            _inside(folder, manifest.sample.picture)
        named = next((o.labels for o in manifest.outputs if o.labels is not None), None)
        labels = () if named is None else _read_labels(_inside(folder, named))
    except BadManifest:
        raise
    except ApplianceError as exc:  # from reading: missing, too big, not a regular file
        raise BadManifest(f"model {folder.name}: {exc}") from exc
    return ModelPackage(manifest, folder, labels)


def _default_manifest(folder: Path, name: str) -> ModelManifest:
    known = {
        Encoding.ONNX: ("model.onnx",),
        Encoding.OPENVINO: ("model.xml", "model.bin"),
        Encoding.TENSORFLOWLITE: ("model.tflite",),
    }
    found = [
        ModelFiles(encoding=encoding, paths=paths)
        for encoding, paths in known.items()
        if all((folder / p).is_file() for p in paths)
    ]
    if not found:
        raise BadManifest(
            f"model {folder.name}: no model.toml and no model.onnx, model.xml with model.bin, or"
            " model.tflite; add one of them"
        )
    return ModelManifest(name=name_from(name), files=tuple(found))


def _check_files(folder: Path, files: ModelFiles, is_verified: bool) -> None:
    for index, name in enumerate(files.paths):
        path = _inside(folder, name)
        if is_verified and files.sha256 and (got := sha256_of_file(path)) != files.sha256[index]:
            raise BadManifest(
                f"{MODEL_MANIFEST}: files sha256 of {name}: got {got}, wanted"
                f" {files.sha256[index]}; copy the file again"
            )


def _inside(folder: Path, name: str) -> Path:
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise BadManifest(f"{MODEL_MANIFEST}: path {name}: leaves the folder through a symlink")
    if not path.is_file():
        raise BadManifest(f"{MODEL_MANIFEST}: path {name}: no such file in the model's folder")
    return path


def _read_labels(path: Path) -> tuple[str, ...]:
    content = read_bounded(path, max_bytes=_MAX_LABELS_BYTES)
    try:
        # Only real line ends: str.splitlines would also split at U+2028 and move every index.
        lines = content.decode("utf-8-sig").replace("\r\n", "\n").rstrip("\n").split("\n")
    except UnicodeDecodeError as exc:
        raise BadManifest(f"{path.name}: not UTF-8 at byte {exc.start}") from exc
    labels = tuple(line.strip() for line in lines)
    if len(labels) > _MAX_LABELS:
        raise BadManifest(f"{path.name}: got {len(labels)} labels, wanted at most {_MAX_LABELS}")
    longest = max(map(len, labels))
    if longest > _MAX_LABEL_LENGTH:
        raise BadManifest(
            f"{path.name}: got a label of {longest} characters, wanted at most {_MAX_LABEL_LENGTH}"
        )
    return labels
