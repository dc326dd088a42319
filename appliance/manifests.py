"""The two files a user writes: app.toml (how a guest runs) and model.toml (what a model wants).

A manifest is checked whole before anything of it is used: unknown keys are refused with the
nearest known one, and every path in it is a plain relative name that stays inside its folder,
symlinks followed. Messages say file, key, got, wanted.
"""

import re
import tomllib
from enum import Enum
from typing import Annotated, Any, Self, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from appliance.errors import BadManifest
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
from appliance.settings import KIB, AppLimits, Table, explain
from wasi_nn.backend import Device, Encoding, Objective
from wasi_nn.tensor import Numbering, TensorType

APP_MANIFEST = "app.toml"
MODEL_MANIFEST = "model.toml"
# A real manifest has 1-4 KiB.
MAX_MANIFEST_BYTES = 64 * KIB

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,62}")
FRAME_PLACEHOLDER = "{frame}"

__all__ = [
    "APP_MANIFEST", "FRAME_PLACEHOLDER", "MODEL_MANIFEST", "AppInput", "AppManifest", "Color",
    "InputFormat", "InputSpec", "Instances", "Layout", "Mode", "ModelFiles", "ModelManifest",
    "NNOptions", "OutputKind", "OutputSpec", "Resize", "name_from", "parse_app_manifest",
    "parse_model_manifest",
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


def _check_name(name: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise ValueError("a name of 1..63 of a-z, 0-9 and -, not beginning with -")
    return name


def _check_version(version: str) -> str:
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


Name = Annotated[str, AfterValidator(_check_name)]
Version = Annotated[str, AfterValidator(_check_version)]
RelativePath = Annotated[str, AfterValidator(_check_path)]
Text = Annotated[str, AfterValidator(_check_no_nul)]
EnvName = Annotated[str, StringConstraints(pattern="^[^=\\x00]+$")]
Prose = Annotated[str, StringConstraints(max_length=1000)]
Sha256 = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]


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


class ModelManifest(Table):
    """A model.toml. `files` are in order of preference.

    tolerance: largest difference of an output between two encodings that still is the same model.
    """

    name: Name
    version: Version = "1"
    title: Prose = ""
    licence: Prose = ""
    origin: Prose = ""
    tolerance: float = Field(0.0, ge=0)
    inputs: tuple[InputSpec, ...] = ()
    outputs: tuple[OutputSpec, ...] = ()
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


class NNOptions(Table):
    """What a guest may ask WASI-NN for; None allows all that the box has."""

    encodings: frozenset[Encoding] | None = None
    devices: frozenset[Device] | None = None
    tensor_types: Numbering = Numbering.AUTO
    objective: Objective = Objective.THROUGHPUT


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
    limits: only what the file says counts; use `limits_over`.
    """

    name: Name
    mode: Mode = Mode.AUTO
    args: tuple[Text, ...] = Field((), max_length=256)
    env: dict[EnvName, Text] = Field(default_factory=dict)
    models: Annotated[
        dict[Annotated[str, Field(min_length=1)], Name] | None, BeforeValidator(_aliases)
    ] = None
    cameras: tuple[Name, ...] | None = None
    instances: Instances = Instances.SHARED
    limits: AppLimits = AppLimits()
    nn: NNOptions = NNOptions()
    input: AppInput = AppInput()

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


def parse_model_manifest(text: bytes) -> ModelManifest:
    """Read a model.toml. Raises: BadManifest."""
    return _parse(ModelManifest, text, MODEL_MANIFEST, {})


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
