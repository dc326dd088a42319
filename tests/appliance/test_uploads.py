"""Uploads: what becomes a version, what is refused, and that nothing of the latter is found."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.errors import (
    ApplianceError,
    BadManifest,
    BadModel,
    BadRequest,
    Conflict,
    TooBig,
    Unavailable,
)
from appliance.manifests import load_model_folder
from appliance.models import ModelRepository
from appliance.trials.model import ModelTrial, Tried, try_here
from appliance.uploads import Added, ModelUploads, UploadLimits
from tests.appliance.archives import gzipped, tarred, zipped
from tests.appliance.workshop import MODEL_TOML, fake_model, png, put_model
from wasi_nn.backend import Encoding
from wasi_nn.backends.fake import FakeBackend
from wasi_nn.errors import NotFound
from wasi_nn.registry import load_directly

LIMITS = UploadLimits(max_bytes=100_000)
MAX_PIXELS = 10_000
LABELS = b"\n".join(b"class %d" % number for number in range(24))
# Grey of 4 by 2 pixels: the fake model gives back (pixel - mean) / std, so class 0 comes first.
PICTURE = png(4, 2)
SAMPLE = b'[sample]\npicture = "s.png"\nlabel = "%s"\n'


class Depot:
    """A repository of two roots, and uploads into the first."""

    def __init__(self, folder: Path, **options: object) -> None:
        self.mine, self.shipped = folder / "mine", folder / "shipped"
        self.backend = FakeBackend([Encoding.ONNX, Encoding.TENSORFLOWLITE])
        self.repository = ModelRepository((self.mine, self.shipped))
        self.uploads = ModelUploads(
            self.repository, (self.backend,), load_directly, self.try_here, LIMITS
        )

    def try_here(self, folder: Path, name: str, version: str) -> ModelTrial:
        """Try a model in this process: these do not crash it."""
        package = load_model_folder(folder, default_name=name)
        return try_here(Tried(name, version, package, MAX_PIXELS), (self.backend,))

    def put(self, name: str, version: str, files: dict[str, bytes]) -> Added:
        """Upload files one by one."""
        with self.uploads.begin(name, version) as upload:
            for path, content in files.items():
                target = upload.files / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
            return self.uploads.install(upload)

    def put_archive(self, name: str, version: str, content: bytes) -> Added:
        with self.uploads.begin(name, version) as upload:
            upload.archive.write_bytes(content)
            return self.uploads.install(upload)

    def files(self) -> set[str]:
        return {
            path.relative_to(self.mine).as_posix()
            for path in self.mine.rglob("*")
            if path.is_file() or path.name.startswith(".")
        }


@pytest.fixture
def depot(tmp_path: Path) -> Depot:
    return Depot(tmp_path)


def tiny(**changes: bytes) -> dict[str, bytes]:
    """The files of a model that is right; a change replaces one, b"" leaves it out."""
    files = {"model.toml": MODEL_TOML, "model.onnx": fake_model(), "labels.txt": LABELS}
    files |= {key.replace("_", "."): content for key, content in changes.items()}
    return {path: content for path, content in files.items() if content}


def test_an_uploaded_model_is_found_at_once(depot: Depot) -> None:
    """Its files are there as they came, and nothing else; no graph stays loaded."""
    done = depot.put("tiny", "1", tiny())

    assert Added("tiny", "1", ("onnx",), (), True) == done
    assert "1" == depot.repository.find("tiny").version
    assert {"tiny/1/model.toml", "tiny/1/model.onnx", "tiny/1/labels.txt"} == depot.files()
    # Once for trial, once to measure how it is best run.
    assert (2, 0) == (depot.backend.loads, depot.backend.open_graphs)


@pytest.mark.parametrize(
    "pack",
    [
        pytest.param(lambda files: tarred(*files.items()), id="tar"),
        pytest.param(lambda files: gzipped(tarred(*files.items())), id="tar.gz"),
        pytest.param(lambda files: zipped(*files.items()), id="zip"),
        pytest.param(
            lambda files: tarred(*((f"tiny/1/{path}", c) for path, c in files.items())),
            id="in folders",
        ),
    ],
)
def test_an_archive_is_the_same_as_its_files(
    depot: Depot, pack: Callable[[dict[str, bytes]], bytes]
) -> None:
    """As the body, or as the only file of a form."""
    depot.put_archive("tiny", "1", pack(tiny()))
    depot.put("tiny", "2", {"Any Name.zip": pack(tiny())})

    assert ["1", "2"] == [entry.version for entry in depot.repository.versions("tiny")]
    assert {
        f"tiny/{version}/{path}" for version in "12" for path in tiny()
    } == depot.files()  # fmt: skip


@pytest.mark.parametrize(
    "toml",
    [
        pytest.param(MODEL_TOML.replace(b'name = "tiny"\n', b""), id="not said"),
        pytest.param(MODEL_TOML.replace(b"tiny", b"a--b", 1), id="the same"),
        pytest.param(b'version = "v1+x"\n' + MODEL_TOML.replace(b"tiny", b"a--b"), id="version"),
        pytest.param(b"", id="no manifest at all"),
    ],
)
def test_what_the_manifest_leaves_out_the_request_says(depot: Depot, toml: bytes) -> None:
    """Name and version; also for later readers of the folder."""
    depot.put("a--b", "v1+x", tiny(model_toml=toml))

    assert "v1+x" == ModelRepository((depot.mine,)).find("a--b").version


def with_hash(content: bytes) -> bytes:
    digest = hashlib.sha256(content).hexdigest().encode()
    return MODEL_TOML.replace(b'layout = "NCHW"', b'sha256 = ["%s"]' % digest)


ENCODINGS = b'files = [{encoding = "%s", paths = ["model.onnx"], layout = "NCHW"}]'


@pytest.mark.parametrize(
    ("files", "error", "words"),
    [
        pytest.param({}, BadRequest, "it holds no files", id="nothing"),
        pytest.param(
            tiny(model_toml=b"]["), BadManifest, r"model\.toml: not TOML", id="manifest"
        ),
        pytest.param(
            tiny(model_toml=MODEL_TOML.replace(b"tiny", b"dog", 1)), BadManifest,
            "name: got dog, wanted tiny as in the request", id="name",
        ),
        pytest.param(
            tiny(model_toml=b'version = "2"\n' + MODEL_TOML), BadManifest,
            "version: got 2, wanted 1 as in the request", id="version",
        ),
        pytest.param(tiny(model_onnx=b""), BadManifest, r"model\.onnx: no such file", id="missing"),
        pytest.param(
            tiny(model_toml=with_hash(b"other")), BadManifest, r"sha256 of model\.onnx: got",
            id="hash",
        ),
        pytest.param(
            tiny(model_onnx=b"garbage"), BadModel, "model tiny: onnx does not load", id="garbage"
        ),
        pytest.param(
            tiny(labels_txt=b"one\ntwo"), BadModel, r"labels\.txt has 2 labels; give one line",
            id="labels",
        ),
        pytest.param(
            tiny(model_toml=MODEL_TOML.replace(b"[4, 2]", b"[4, 4]")), BadModel,
            r"input image: model\.toml makes f32 .1, 3, 4, 4. of a frame, the model wants f32 ",
            id="size",
        ),
        pytest.param(
            tiny(model_toml=MODEL_TOML.replace(b"NCHW", b"NHWC")), BadModel,
            "correct size_wh, type or layout", id="layout",
        ),
        pytest.param(
            tiny(model_toml=MODEL_TOML.replace(b'"onnx"', b'"pytorch"')), BadModel,
            "this box has no runtime for pytorch", id="no runtime",
        ),
        pytest.param(
            tiny(model_toml=MODEL_TOML + SAMPLE % b"class 0"), BadManifest,
            r"s\.png: no such file", id="no sample",
        ),
        pytest.param(
            tiny(model_toml=MODEL_TOML + SAMPLE % b"dog", s_png=PICTURE), BadModel,
            r"the sample s\.png gave class \d+, wanted dog; is the preprocessing", id="sample",
        ),
        pytest.param(
            tiny(model_toml=MODEL_TOML + SAMPLE % b"dog", s_png=b"GIF89a"), ApplianceError,
            "picture: got a GIF", id="no picture",
        ),
        pytest.param({"m.zip": b"PK no zip"}, BadRequest, "damaged", id="no archive"),
        pytest.param(
            {"m.zip": zipped(("model.onnx", bytes(100_001)))}, TooBig, "max_model_bytes", id="big"
        ),
    ],
)  # fmt: skip
def test_a_wrong_model_is_refused_without_a_trace(
    depot: Depot, files: dict[str, bytes], error: type[ApplianceError], words: str
) -> None:
    """The reason is said; neither a name, nor a file, nor a graph remains."""
    with pytest.raises(error, match=words) as caught:
        depot.put("tiny", "1", files)

    assert str(depot.mine) not in str(caught.value)
    assert (set(), 0) == (depot.files(), depot.backend.open_graphs)
    with pytest.raises(NotFound, match="models on this box: none"):
        depot.repository.find("tiny")


def test_a_model_that_knows_its_sample_is_taken(depot: Depot) -> None:
    """The picture goes through preprocessing, graph and labels."""
    toml = MODEL_TOML + SAMPLE % b"dog"
    with pytest.raises(BadModel, match="wanted dog") as caught:
        depot.put("tiny", "1", tiny(model_toml=toml, s_png=PICTURE))
    said = str(caught.value).partition("gave ")[2].partition(",")[0]

    right = MODEL_TOML + SAMPLE % said.encode()
    assert depot.put("tiny", "1", tiny(model_toml=right, s_png=PICTURE)).is_default


def test_every_encoding_with_a_runtime_is_tried(depot: Depot) -> None:
    """One that does not load refuses the model; one without a runtime is told as such."""
    forms = ", ".join(
        f'{{encoding = "{encoding}", paths = ["{path}"], layout = "NCHW"}}'
        for encoding, path in (
            ("onnx", "model.onnx"), ("openvino", "x"), ("tensorflowlite", "model.tflite"),
        )
    ).encode()  # fmt: skip
    toml = MODEL_TOML.rpartition(b"files")[0] + b"files = [" + forms + b"]\n"
    files = tiny(model_toml=toml, x=b"unseen", model_tflite=b"broken")
    with pytest.raises(BadModel, match="tensorflowlite does not load"):
        depot.put("tiny", "1", files)

    done = depot.put("tiny", "1", {**files, "model.tflite": fake_model()})
    assert (("onnx", "tensorflowlite"), ("openvino",)) == (done.loaded, done.untried)


@pytest.mark.parametrize(
    ("name", "version", "words"),
    [
        pytest.param("Tiny", "1", "model name: got 'Tiny', wanted a name of 1..63", id="case"),
        pytest.param("..", "1", "model name", id="parent"),
        pytest.param("", "1", "model name", id="empty"),
        pytest.param("tiny", "../1", "model version", id="path"),
        pytest.param("tiny", ".1", "model version", id="hidden"),
        pytest.param("tiny", "1" * 64, "model version", id="long"),
    ],
)
def test_a_name_that_is_none_is_refused_first(
    depot: Depot, name: str, version: str, words: str
) -> None:
    """Before anything is received."""
    with pytest.raises(BadRequest, match=words):
        depot.put(name, version, tiny())

    assert not depot.mine.exists()


def test_an_existing_version_is_never_replaced(depot: Depot) -> None:
    """Neither an uploaded one nor one that comes with the box."""
    put_model(depot.shipped, "ours")
    depot.put("tiny", "1", tiny())
    for name in ("ours", "tiny"):
        with pytest.raises(Conflict, match=f"model {name}:1: exists already; upload it as another"):
            depot.put(name, "1", tiny())

    assert depot.put("ours", "2", tiny(model_toml=b"")).is_default


def test_uploads_at_once_are_bounded_and_never_of_one_version(depot: Depot) -> None:
    """The second one learns at once; what is under way is not found yet."""
    with depot.uploads.begin("tiny", "1"):
        with pytest.raises(Conflict, match="is being uploaded by somebody else"):
            depot.put("tiny", "1", tiny())
        with depot.uploads.begin("tiny", "2"), pytest.raises(Unavailable, match="2 are under way"):
            depot.put("tiny", "3", tiny())
        assert () == depot.repository.entries()

    assert depot.put("tiny", "1", tiny()).is_default


def test_what_a_crash_left_is_swept_at_the_start(depot: Depot) -> None:
    """Uploads that never ended, and removals."""
    folder = depot.repository.stage()
    (folder / "archive").write_bytes(b"half")
    depot.put("tiny", "1", tiny())
    (depot.mine / "tiny" / ".tmp-2").mkdir()
    ModelRepository((depot.mine,)).open()

    assert {f"tiny/1/{path}" for path in tiny()} == depot.files()
