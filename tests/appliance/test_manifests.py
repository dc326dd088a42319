import hashlib
from pathlib import Path

import pytest

from appliance.errors import BadManifest
from appliance.manifests import (
    AppManifest,
    Color,
    InputFormat,
    InputSpec,
    Layout,
    Mode,
    ModelManifest,
    OutputKind,
    Resize,
    load_model_folder,
    name_from,
    parse_app_manifest,
    parse_model_manifest,
)
from appliance.settings import MIB, AppLimits
from wasi_nn.backend import Device, Encoding
from wasi_nn.tensor import Numbering, TensorType

SHIPPED = Path(__file__).resolve().parents[2] / "models" / "efficientnet-lite0" / "1"
FILES = '[[files]]\nencoding = "onnx"\npaths = ["model.onnx"]\n'
APP = """
name = "door-cat"
mode = "command"
args = ["model.onnx", "{frame}"]
models = {classifier = "efficientnet-lite0"}
cameras = ["door"]
[env]
RUST_LOG = "info"
[limits]
memory_bytes = "64MiB"
fuel = 1000
[nn]
encodings = ["onnx", "openvino"]
devices = ["cpu"]
tensor_types = "witx-old"
[input]
format = "tensor"
size_wh = [320, 240]
color = "bgr"
layout = "NHWC"
type = "u8"
"""


def parse_app(text: str) -> AppManifest:
    return parse_app_manifest(text.encode(), default_name="guest.wasm")


def parse_model(text: str) -> ModelManifest:
    return parse_model_manifest(text.encode())


def test_an_empty_app_manifest_is_valid() -> None:
    """Zero configuration: the file's name, any model, every camera."""
    manifest = parse_app("")

    assert (manifest.name, manifest.mode, manifest.args) == ("guest", Mode.AUTO, ())
    assert (manifest.models, manifest.cameras) == (None, None)
    assert manifest.input.format is InputFormat.ENCODED
    assert manifest.input.spec() is None


def test_an_app_manifest_says_everything() -> None:
    """Each key of app.toml arrives where it is used."""
    manifest = parse_app(APP)

    assert (manifest.name, manifest.mode) == ("door-cat", Mode.COMMAND)
    assert manifest.args == ("model.onnx", "{frame}")
    assert manifest.env == {"RUST_LOG": "info"}
    assert manifest.models == {"classifier": "efficientnet-lite0"}
    assert manifest.cameras == ("door",)
    assert manifest.nn.encodings == frozenset({Encoding.ONNX, Encoding.OPENVINO})
    assert manifest.nn.devices == frozenset({Device.CPU})
    assert manifest.nn.tensor_types is Numbering.WITX_OLD
    assert manifest.input.layout is Layout.NHWC
    assert manifest.input.spec() == InputSpec(
        size_wh=(320, 240), color=Color.BGR, type=TensorType.U8
    )


def test_an_apps_limits_lie_over_the_boxs() -> None:
    """What the file does not say is the box's default."""
    limits = parse_app(APP).limits_over(AppLimits(handles=3))

    assert (limits.memory_bytes, limits.fuel, limits.handles) == (64 * MIB, 1000, 3)


def test_a_list_of_models_keeps_their_names() -> None:
    """models = [...] is short for a table of the same name twice; [] allows none."""
    assert parse_app('models = ["a", "b"]').models == {"a": "a", "b": "b"}
    assert parse_app("models = []").models == {}


@pytest.mark.parametrize(
    ("toml", "sentence"),
    [
        pytest.param("nam = 'x'", r"^app\.toml: nam: unknown key, did you mean name\?$", id="typo"),
        pytest.param(
            "[limits]\nmemory = 5", r"limits\.memory: .* did you mean memory_bytes\?$", id="nested"
        ),
        pytest.param("[nn]\nzz = 1", r"nn\.zz: unknown key, known are encodings", id="stranger"),
        pytest.param('name = "A b"', "^app.toml: name: got 'A b', wanted a name of 1", id="name"),
        pytest.param("name = 5", "name: got 5, wanted a valid string", id="name type"),
        pytest.param('mode = "cmd"', "mode: got 'cmd', wanted 'auto', 'command'", id="mode"),
        pytest.param('args = ["a\\u0000"]', r"args\[0\]: .* wanted text without NUL", id="NUL"),
        pytest.param('env = {"A=B" = "x"}', "env", id="variable"),
        pytest.param("models = [1]", "models: got ", id="models"),
        pytest.param('models = ["../x"]', r"models\.\.\./x: .* wanted a name", id="model name"),
        pytest.param('limits = {memory_bytes = "5GiB"}', "wanted less than or equal", id="wasm32"),
        pytest.param("limits = {deadline_s = 0}", "wanted greater than 0", id="deadline"),
        pytest.param('nn = {encodings = ["tf"]}', "wanted 'openvino', 'onnx'", id="encoding"),
        pytest.param('input = {format = "tensor"}', "input: .* size_wh", id="no size"),
        pytest.param("input = {size_wh = [0, 1]}", r"input\.size_wh\[0\]: got 0", id="size"),
        pytest.param("input = {std = [1, 0, 1]}", "wanted three numbers other than 0", id="std"),
        pytest.param("input = {std = [1, 1]}", "input.std: got", id="two numbers"),
        pytest.param('input = {type = "bf16"}', "wanted a type that a picture", id="type"),
        pytest.param("name =\n", r"^app\.toml: not TOML: .*line 1", id="no TOML"),
        pytest.param("x = " + "[" * 5000, r"^app\.toml: not TOML", id="deep"),
        pytest.param("#" * 70_000, r"^app\.toml: got 70000 bytes, wanted at most", id="long"),
    ],
)
def test_a_bad_app_manifest_is_one_sentence(toml: str, sentence: str) -> None:
    """File, key, got, wanted."""
    with pytest.raises(BadManifest, match=sentence):
        parse_app(toml)


def test_bytes_that_are_no_text_are_told() -> None:
    """A manifest is UTF-8."""
    with pytest.raises(BadManifest, match=r"^app\.toml: not TOML: 'utf-8' codec"):
        parse_app_manifest(b"\xff", default_name="x")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("My Guest_v2.wasm", "my-guest-v2"),
        ("bundle.tar.gz", "bundle"),
        ("___", "unnamed"),
        ("Katze-ß.zip", "katze"),
        ("x" * 100, "x" * 63),
    ],
)
def test_any_file_name_makes_a_valid_name(text: str, name: str) -> None:
    """What a user drops needs no renaming."""
    assert name_from(text) == name
    assert parse_app_manifest(b"", default_name=text).name == name


def test_the_shipped_model_is_read() -> None:
    """The model.toml that scripts/convert-models writes is the format."""
    package = load_model_folder(SHIPPED)
    manifest = package.manifest

    assert (manifest.name, manifest.version, manifest.tolerance) == (
        "efficientnet-lite0", "1", 0.02,
    )  # fmt: skip
    assert manifest.inputs == (
        InputSpec(
            name="image", size_wh=(224, 224), resize=Resize.BICUBIC, crop_fraction=0.875,
            mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0),
        ),
    )  # fmt: skip
    assert manifest.outputs[0].kind is OutputKind.LOGITS
    assert [f.encoding.value for f in manifest.files] == ["onnx", "openvino", "tensorflowlite"]
    assert len(package.labels) == 1000
    openvino = manifest.files_for(Encoding.OPENVINO)
    assert openvino is not None
    assert package.paths(openvino) == (SHIPPED / "model.xml", SHIPPED / "model.bin")
    assert manifest.files_for(Encoding.GGML) is None


@pytest.mark.parametrize(
    ("encoding", "layout"), [("onnx", Layout.NCHW), ("tensorflowlite", Layout.NHWC)]
)
def test_the_usual_layout_follows_the_encoding(encoding: str, layout: Layout) -> None:
    """TensorFlow Lite models are channels last; others channels first, unless they say so."""
    toml = f'name = "m"\n[[files]]\nencoding = "{encoding}"\npaths = ["f"]\n'

    assert parse_model(toml).files[0].image_layout is layout
    assert parse_model(toml + 'layout = "NHWC"').files[0].image_layout is Layout.NHWC


@pytest.mark.parametrize(
    ("toml", "sentence"),
    [
        pytest.param(FILES, r"^model\.toml: name: missing, wanted a value$", id="no name"),
        pytest.param('name = "m"', "files: missing", id="no files"),
        pytest.param('name = "m"\nfiles = []', "files: got", id="empty files"),
        pytest.param(f'name = "m"\n{FILES}{FILES}', "files: .* wanted each encoding once", id="2"),
        pytest.param(f'name = "m"\nversion = ".."\n{FILES}', "version: got '..'", id="version"),
        pytest.param(
            f'name = "m"\n{FILES}sha = 1', r"files\[0\]\.sha: .* did you mean sha256", id="typo"
        ),
        pytest.param(
            f'name = "m"\n{FILES}sha256 = ["{"0" * 64}", "{"0" * 64}"]',
            r"files\[0\]\.sha256: .* wanted one hash per path, 1",
            id="hashes",
        ),
        pytest.param(f'name = "m"\n{FILES}sha256 = ["x"]', r"sha256\[0\]", id="hash"),
        pytest.param(
            'name = "m"\n[[files]]\nencoding = "autodetect"\npaths = ["x"]',
            "wanted the file's real encoding",
            id="autodetect",
        ),
        pytest.param(
            f'name = "m"\n{FILES}[[inputs]]\nsize_wh = [9000, 9]', r"inputs\[0\]\.size_wh", id="big"
        ),
        pytest.param(
            f'name = "m"\n{FILES}[[outputs]]\nname = "o"\nkind = "x"', r"outputs\[0\]\.kind", id="o"
        ),
    ],
)
def test_a_bad_model_manifest_is_one_sentence(toml: str, sentence: str) -> None:
    """File, key, got, wanted."""
    with pytest.raises(BadManifest, match=sentence):
        parse_model(toml)


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a//b", ".", "", "a\\\\b", "a/../b", "a/"])
def test_a_path_is_plain_and_relative(path: str) -> None:
    """Nothing in a manifest leads out of the folder."""
    with pytest.raises(BadManifest, match=r"files\[0\]\.paths\[0\]: .* wanted a plain relative"):
        parse_model(f'name = "m"\n[[files]]\nencoding = "onnx"\npaths = ["{path}"]')


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "My Model"
    made.mkdir()
    (made / "model.onnx").write_bytes(b"weights")
    return made


def write_model(folder: Path, *, labels: bytes = b"cat\ndog\n", more: str = "") -> None:
    outputs = '[[outputs]]\nname = "o"\nkind = "probabilities"\nlabels = "labels.txt"\n'
    (folder / "model.toml").write_text(f'name = "m"\n{outputs}{FILES}{more}')
    (folder / "labels.txt").write_bytes(labels)


def test_a_folder_without_manifest_is_recognised(folder: Path) -> None:
    """Known file names are enough; nothing is known of inputs and outputs then."""
    (folder / "model.tflite").write_bytes(b"")
    (folder / "model.xml").write_bytes(b"")
    package = load_model_folder(folder)

    assert package.manifest.name == "my-model"
    assert load_model_folder(folder, default_name="other").manifest.name == "other"
    assert [f.encoding for f in package.manifest.files] == [
        Encoding.ONNX, Encoding.TENSORFLOWLITE,
    ]  # fmt: skip
    assert (package.manifest.inputs, package.labels) == ((), ())


def test_an_empty_folder_is_no_model(tmp_path: Path) -> None:
    """The sentence says what could be added."""
    with pytest.raises(BadManifest, match=r"no model\.toml and no model\.onnx"):
        load_model_folder(tmp_path)


@pytest.mark.parametrize(
    ("content", "labels"),
    [
        pytest.param(b"cat\ndog\n", ("cat", "dog"), id="plain"),
        pytest.param(b"\xef\xbb\xbfcat\r\ndog\r\n\r\n", ("cat", "dog"), id="Windows"),
        pytest.param(b"cat\n\ndog", ("cat", "", "dog"), id="a gap keeps its index"),
        pytest.param("a\u2028b\nc".encode(), ("a\u2028b", "c"), id="only real line ends"),
    ],
)
def test_labels_are_lines(folder: Path, content: bytes, labels: tuple[str, ...]) -> None:
    """One label a line, in index order."""
    write_model(folder, labels=content)

    assert load_model_folder(folder).labels == labels


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        pytest.param(b"\xff", "not UTF-8 at byte 0", id="not text"),
        pytest.param(b"x" * 257, "got a label of 257 characters", id="long label"),
        pytest.param(b"x\n" * 100_001, "got 100001 labels", id="many"),
        pytest.param(b"x" * (4 * MIB + 1), "labels.txt: got over", id="big file"),
    ],
)
def test_bad_labels_are_refused(folder: Path, content: bytes, sentence: str) -> None:
    """A label file has limits."""
    write_model(folder, labels=content)

    with pytest.raises(BadManifest, match=sentence):
        load_model_folder(folder)


def test_a_missing_file_is_told(folder: Path) -> None:
    """Every file that the manifest names is there, or the folder is refused."""
    write_model(folder)
    (folder / "model.onnx").unlink()

    with pytest.raises(BadManifest, match=r"path model\.onnx: no such file"):
        load_model_folder(folder)


def test_a_symlink_may_not_leave_the_folder(folder: Path, tmp_path: Path) -> None:
    """A link inside is fine, one to elsewhere is refused."""
    write_model(folder)
    (folder / "model.onnx").rename(folder / "real")
    (folder / "model.onnx").symlink_to("real")
    load_model_folder(folder)
    (tmp_path / "secret").write_bytes(b"")
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").symlink_to(tmp_path / "secret")

    with pytest.raises(BadManifest, match="leaves the folder through a symlink"):
        load_model_folder(folder)


@pytest.mark.parametrize("name", ["labels.txt", "model.toml", "model.onnx"])
def test_symlinks_of_every_file_are_looked_at(folder: Path, tmp_path: Path, name: str) -> None:
    """Not the weights alone: labels and the manifest itself stay inside too."""
    write_model(folder)
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")

    with pytest.raises(BadManifest, match="leaves the folder through a symlink"):
        load_model_folder(folder)


def test_hashes_are_compared_when_asked(folder: Path) -> None:
    """A wrong hash is found by is_verified, and only then."""
    right, wrong = hashlib.sha256(b"weights").hexdigest(), "0" * 64
    write_model(folder, more=f'sha256 = ["{right}"]')
    load_model_folder(folder, is_verified=True)
    write_model(folder, more=f'sha256 = ["{wrong}"]')
    load_model_folder(folder)

    with pytest.raises(BadManifest, match=rf"sha256 of model\.onnx: got {right}, wanted 0000"):
        load_model_folder(folder, is_verified=True)
