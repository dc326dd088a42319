"""What lies in the inbox is told apart, and models in it become versions."""

import os
from pathlib import Path

import pytest

from appliance.drops import (
    Incomplete,
    ModelDrops,
    is_folder,
    is_model,
    manifest_beside,
    read_drop,
    signature_of,
    suffix_of,
)
from appliance.errors import ApplianceError, BadGuest, BadManifest, BadModel, BadRequest, Conflict
from tests.appliance import watguests as guests
from tests.appliance.archives import gzipped, special, tarred, zipped
from tests.appliance.test_uploads import LIMITS, Depot, tiny
from tests.appliance.workshop import MODEL_TOML

SAMPLE = b'[sample]\npicture = "s.png"\n'


class Desk:
    """A folder to drop into, over a depot."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "inbox"
        self.folder.mkdir()
        self.depot = Depot(folder)
        self.drops = ModelDrops(self.depot.uploads, self.depot.repository)

    def drop(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content)
        return path

    def drop_folder(self, name: str, files: dict[str, bytes]) -> Path:
        for file, content in files.items():
            target = self.folder / name / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        return self.folder / name

    def take(self, path: Path) -> tuple[str, str, bool]:
        taken = self.drops.take(path)
        return taken.name, taken.version, taken.is_new


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def packed(**changes: bytes) -> bytes:
    return gzipped(tarred(*tiny(**changes).items()))


@pytest.mark.parametrize(
    ("name", "suffix", "manifest"),
    [
        ("x.wasm", ".wasm", "x.toml"), ("x.y.tar.gz", ".tar.gz", "x.y.toml"),
        ("X.TGZ", ".tgz", "X.toml"), ("a.onnx", ".onnx", "a.toml"), ("notes.md", "", None),
        ("x.gz", "", None),
    ],
)  # fmt: skip
def test_a_name_says_what_may_be_in_it(name: str, suffix: str, manifest: str | None) -> None:
    """And which manifest may lie beside it."""
    assert suffix == suffix_of(Path(name))
    assert manifest in (None, manifest_beside(Path(name)).name)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        pytest.param("x.wasm", guests.STEADY, False, id="guest"),
        pytest.param("x.onnx", b"", True, id="weights"),
        pytest.param("x.zip", zipped(("a/x.wasm", b""), ("model.toml", b"")), False, id="bundle"),
        pytest.param("x.tar", tarred(("app.toml", b"")), False, id="half a bundle"),
        pytest.param("x.tar.gz", packed(), True, id="model"),
        pytest.param("x.zip", zipped(("m/model.onnx", b"")), True, id="model without toml"),
    ],
)
def test_an_app_is_told_from_a_model(desk: Desk, name: str, content: bytes, expected: bool) -> None:
    """By what is in an archive, not by its name."""
    assert expected is is_model(desk.drop(name, content), LIMITS.max_bytes)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(zipped(("a.txt", b"")), "neither a .wasm nor a model.toml", id="neither"),
        pytest.param(packed()[:50], "damaged", id="cut"),
        pytest.param(b"", "got no archive", id="empty"),
    ],
)
def test_an_archive_of_nothing_is_refused(desk: Desk, content: bytes, words: str) -> None:
    """With what was wanted."""
    with pytest.raises(BadRequest, match=words):
        is_model(desk.drop("x.tgz", content), LIMITS.max_bytes)


def test_an_archive_becomes_a_model_under_its_own_name(desk: Desk) -> None:
    """The same twice is there already; another of the same version is a conflict."""
    said = b'version = "3"\n' + MODEL_TOML
    first = desk.take(desk.drop("any.tar.gz", packed(model_toml=said)))
    again = desk.take(desk.drop("other.zip", zipped(*tiny(model_toml=said).items())))

    assert (("tiny", "3", True), ("tiny", "3", False)) == (first, again)
    with pytest.raises(Conflict, match="model tiny:3: exists already; upload it as another"):
        desk.take(desk.drop("x.tar.gz", packed(model_toml=said, extra_txt=b"x")))
    assert ["3"] == [entry.version for entry in desk.depot.repository.versions("tiny")]


def test_a_model_without_a_version_becomes_the_next(desk: Desk) -> None:
    """Unless it is the last one again."""
    taken = [desk.take(desk.drop("x.tgz", packed(extra_txt=text))) for text in (b"1", b"2", b"2")]

    assert [("tiny", "1", True), ("tiny", "2", True), ("tiny", "2", False)] == taken


def test_bare_weights_become_a_model_of_their_name(desk: Desk) -> None:
    """With what the runtime says of them, or the x.toml beside."""
    weights = tiny()["model.onnx"]
    bare = desk.take(desk.drop("My Net.onnx", weights))
    desk.drop("told.toml", b'name = "tiny"\nfiles = [{encoding = "onnx", paths = ["told.onnx"]}]')
    told = desk.take(desk.drop("told.onnx", weights))

    assert (("my-net", "1", True), ("tiny", "1", True)) == (bare, told)
    assert {"my-net/1/model.onnx", "tiny/1/told.onnx", "tiny/1/model.toml"} == desk.depot.files()


def test_a_folder_becomes_a_model_when_it_is_complete(desk: Desk) -> None:
    """Until then it says what it lacks; folders in it are fine."""
    files = {f"1/{name}": content for name, content in tiny().items()}
    weights = files.pop("1/model.onnx")
    toml = files.pop("1/model.toml")
    path = desk.drop_folder("net", files)
    with pytest.raises(Incomplete, match=r"no model\.toml in it; a model's folder needs one"):
        desk.take(path)
    desk.drop_folder("net", {"1/model.toml": toml})
    with pytest.raises(Incomplete, match=r"model\.onnx: no such file"):
        desk.take(path)
    desk.drop_folder("net", {"1/model.onnx": weights})

    assert ("tiny", "1", True) == desk.take(path)


@pytest.mark.parametrize(
    ("files", "error", "words"),
    [
        pytest.param({"a.wasm": b""}, Incomplete, "pack an app into a .zip", id="an app"),
        pytest.param({"model.toml": b"]["}, BadManifest, "not TOML", id="manifest"),
        pytest.param(tiny(model_onnx=b"garbage"), BadModel, "onnx does not load", id="garbage"),
        pytest.param(
            tiny(big_bin=bytes(LIMITS.max_bytes)), ApplianceError, "max_model_bytes", id="big"
        ),
        pytest.param({f"{n}.txt": b"" for n in range(70)} | tiny(), ApplianceError,
                     "over 64 files", id="many"),
    ],
)  # fmt: skip
def test_a_wrong_folder_leaves_no_trace(
    desk: Desk, files: dict[str, bytes], error: type[Exception], words: str
) -> None:
    """As every upload."""
    with pytest.raises(error, match=words):
        desk.take(desk.drop_folder("net", files))

    assert set() == desk.depot.files()


def test_nothing_but_files_comes_out_of_a_folder(desk: Desk) -> None:
    """Neither a link nor a FIFO is followed or waited for."""
    path = desk.drop_folder("net", tiny())
    (path / "link").symlink_to("/etc/passwd")
    with pytest.raises(BadRequest, match="link: cannot be read"):
        desk.take(path)
    (path / "link").unlink()
    os.mkfifo(path / "fifo")
    with pytest.raises(BadRequest, match="fifo: not a regular file"):
        desk.take(path)

    assert set() == desk.depot.files()


def test_an_archive_may_not_lead_elsewhere(desk: Desk) -> None:
    """The same reader as for uploads."""
    content = tarred(*tiny().items(), special("x", b"2", "/etc/passwd"))
    with pytest.raises(BadRequest, match="x is a link"):
        desk.take(desk.drop("x.tar", content))


def test_a_folders_signature_sees_its_files(desk: Desk) -> None:
    """A file added, grown, or renamed; a link to a folder is none."""
    path = desk.drop_folder("net", {"a/b": b"1"})
    seen = [signature_of(path)]
    for name, content in (("a/b", b"22"), ("a/c", b"")):
        desk.drop_folder("net", {name: content})
        seen.append(signature_of(path))
    (path / "a" / "c").rename(path / "a" / "d")
    seen.append(signature_of(path))
    (desk.folder / "l").symlink_to(path)

    assert 4 == len(set(seen))
    assert (True, False) == (is_folder(path), is_folder(desk.folder / "l"))


def test_a_lone_guest_takes_its_sample_along(desk: Desk) -> None:
    """The picture that x.toml names, if it lies there as well."""
    desk.drop("x.toml", SAMPLE)
    path = desk.drop("x.wasm", guests.STEADY)
    with pytest.raises(BadGuest, match=r"x\.toml: s\.png: no such file; copy it here first"):
        read_drop(path)
    desk.drop("s.png", b"a picture")

    assert {"s.png": b"a picture"} == read_drop(path).files
