"""The model repository: found by name, checked when read, broken ones explained."""

import hashlib
from pathlib import Path

import pytest

from appliance.errors import Conflict
from appliance.errors import NotFound as AbsentModel
from appliance.models import ModelRepository, version_order
from appliance.shipped import models_folder
from tests.appliance.workshop import MODEL_TOML, fake_model, put_model
from wasi_nn.backend import Encoding
from wasi_nn.backends.fake import FakeBackend
from wasi_nn.errors import NotFound, RuntimeFailure
from wasi_nn.registry import Registry


def add_version(folder: Path, version: str) -> None:
    other = folder.with_name(version)
    other.mkdir()
    (other / "model.onnx").write_bytes(fake_model())


def test_the_shipped_model_is_found() -> None:
    """In all three encodings, with a digest that needs no reading."""
    model = ModelRepository((models_folder(),)).find("efficientnet-lite0")

    assert ("efficientnet-lite0", "1") == (model.name, model.version)
    assert [Encoding.ONNX, Encoding.OPENVINO, Encoding.TENSORFLOWLITE] == [
        file.encoding for file in model.files
    ]
    assert all(str(file.digest).startswith("sha256:") for file in model.files)


def test_versions_of_all_roots_are_one_list(tmp_path: Path) -> None:
    """The highest is the default, whoever brought it; of the same one the operator's counts."""
    folder = put_model(tmp_path / "mine", "tiny")
    (folder / "model.toml").write_bytes(b'title = "mine"\n' + MODEL_TOML)
    add_version(put_model(tmp_path / "ours", "tiny"), "2")
    repository = ModelRepository((tmp_path / "mine", tmp_path / "ours"))

    assert "2" == repository.find("tiny").version
    assert "mine" == repository.find("tiny:1").package.manifest.title
    assert [("1", False, False), ("2", True, True)] == [
        (e.version, e.is_shipped, e.is_default) for e in repository.entries()
    ]


def test_an_uploaded_version_leaves_the_shipped_ones(tmp_path: Path) -> None:
    """Guests that ask for version 1 still get it; removing the upload brings it back for all."""
    put_model(tmp_path / "ours", "tiny")
    repository = ModelRepository((tmp_path / "mine", tmp_path / "ours"))
    folder = repository.stage() / "files"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(fake_model())
    repository.add(folder, "tiny", "2")

    assert ["2", "1"] == [repository.find(name).version for name in ("tiny", "tiny:1")]
    repository.remove("tiny", "2")
    assert "1" == repository.find("tiny").version
    assert not (tmp_path / "mine" / "tiny").exists()


def test_what_comes_with_the_box_cannot_be_removed(tmp_path: Path) -> None:
    """Nor what is not there."""
    folder = put_model(tmp_path / "ours", "tiny")
    repository = ModelRepository((tmp_path / "mine", tmp_path / "ours"))
    with pytest.raises(Conflict, match="tiny:1: comes with the box and cannot be deleted"):
        repository.remove("tiny", "1")
    for version in ("2", "..", "", "../../ours/tiny/1"):
        with pytest.raises(AbsentModel, match="not found; models on this box: tiny:1"):
            repository.remove("tiny", version)

    assert folder.is_dir()


def test_a_new_version_is_what_new_loads_get(tmp_path: Path) -> None:
    """A graph in use lives on, also when its version is removed, until it is released."""
    backend = FakeBackend()
    folder = put_model(tmp_path)
    repository = ModelRepository((tmp_path,))
    registry = Registry((backend,), repository)
    before = registry.load_named("tiny")
    other = folder.with_name("2")
    other.mkdir()
    (other / "model.onnx").write_bytes(fake_model(delay_s=0))
    after = registry.load_named("tiny")
    repository.remove("tiny", "2")

    assert ["1", "2"] == [str(r.model and r.model.version) for r in (before, after)]
    assert "1" == str(registry.load_named("tiny").model.version)  # type: ignore[union-attr]
    assert 2 == backend.open_graphs
    after.release()
    assert 1 == backend.open_graphs


def test_only_models_of_the_last_root_are_shipped(tmp_path: Path) -> None:
    """One of the same name in the operator's root is the operator's."""
    put_model(tmp_path / "ours", "tiny")
    put_model(tmp_path / "ours", "small")
    put_model(tmp_path / "mine", "tiny")
    repository = ModelRepository((tmp_path / "mine", tmp_path / "ours"))

    shipped = {name: repository.is_shipped(name) for name in ("tiny:1", "small:1", "small:2", "")}
    assert {"tiny:1": False, "small:1": True, "small:2": False, "": False} == shipped


def test_the_highest_version_unless_one_is_named(tmp_path: Path) -> None:
    """10 is above 9, and any number above any word."""
    folder = put_model(tmp_path)
    for version in ("9", "10", "beta"):
        add_version(folder, version)
    repository = ModelRepository((tmp_path,))

    assert "10" == repository.find("tiny").version
    assert "beta" == repository.find("tiny:beta").version
    assert ["beta", "1", "9", "10"] == [entry.version for entry in repository.entries()]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("cat", id="unknown"),
        pytest.param("tiny:7", id="unknown version"),
        pytest.param("", id="empty"),
        pytest.param("..", id="parent"),
        pytest.param("../tiny", id="path"),
        pytest.param("/etc", id="absolute"),
        pytest.param(".tiny", id="hidden"),
        pytest.param("a\0b", id="NUL"),
        pytest.param("a" * 1000, id="longer than a file name"),
        pytest.param("é" * 200, id="longer in bytes"),
    ],
)
def test_what_is_not_there_is_not_found(tmp_path: Path, name: str) -> None:
    """A guest's name is a claim: never a path, never an error of the disk's."""
    put_model(tmp_path)
    with pytest.raises(NotFound, match="models on this box: tiny:1"):
        ModelRepository((tmp_path,)).find(name)


def test_an_empty_box_says_so(tmp_path: Path) -> None:
    """A root that does not exist is no error."""
    with pytest.raises(NotFound, match="models on this box: none"):
        ModelRepository((tmp_path / "none",)).find("cat")


def test_a_broken_model_is_explained_and_mended_at_once(tmp_path: Path) -> None:
    """The reason is in the list and in the guest's answer; no restart is needed."""
    folder = put_model(tmp_path)
    (folder / "model.toml").write_text("][")
    repository = ModelRepository((tmp_path,))
    with pytest.raises(RuntimeFailure, match=r"model tiny:1: model\.toml: not TOML"):
        repository.find("tiny")
    (entry,) = repository.entries()
    assert (None, True) == (entry.package, "not TOML" in entry.reason)

    (folder / "model.toml").write_bytes(MODEL_TOML)
    assert "1" == repository.find("tiny").version


def test_a_folder_is_read_again_when_it_changes(tmp_path: Path) -> None:
    """A file renamed into it, as every careful writer does, is seen."""
    folder = put_model(tmp_path)
    repository = ModelRepository((tmp_path,))
    before = repository.find("tiny").package
    assert before is repository.find("tiny").package
    changed = folder / "model.toml.new"
    changed.write_bytes(b'title = "other"\n' + MODEL_TOML)
    changed.rename(folder / "model.toml")

    assert "other" == repository.find("tiny").package.manifest.title


def test_a_manifest_edited_in_place_is_seen(tmp_path: Path) -> None:
    """`cp` and many editors write into the file that is there; the folder does not change."""
    folder = put_model(tmp_path)
    repository = ModelRepository((tmp_path,))
    repository.find("tiny")
    (folder / "model.toml").write_bytes(b'title = "other"\n' + MODEL_TOML)

    assert "other" == repository.find("tiny").package.manifest.title


def with_hash(folder: Path, digest: str) -> ModelRepository:
    (folder / "model.toml").write_text(
        f'name = "tiny"\nfiles = [{{encoding = "onnx", paths = ["model.onnx"], '
        f'sha256 = ["{digest}"]}}]'
    )
    return ModelRepository((folder.parents[1],))


def test_weights_are_compared_with_their_hash(tmp_path: Path) -> None:
    """Whole ones are handed out; damaged ones are refused with the file's name."""
    folder = put_model(tmp_path)
    digest = hashlib.sha256(fake_model()).hexdigest()
    (file,) = with_hash(folder, digest).find("tiny").files
    assert [fake_model()] == list(file.read())
    assert f"sha256:{digest}" == file.digest

    (folder / "model.onnx").write_bytes(b"damaged")
    with pytest.raises(RuntimeFailure, match=r"model\.onnx: damaged, its sha256 is .* copy it"):
        file.read()


def test_missing_weights_are_named(tmp_path: Path) -> None:
    """A file that went away after the manifest was read."""
    folder = put_model(tmp_path)
    (file,) = ModelRepository((tmp_path,)).find("tiny").files
    (folder / "model.onnx").unlink()

    with pytest.raises(RuntimeFailure, match=r"model\.onnx: no such file"):
        file.read()


def test_versions_have_one_order() -> None:
    """Digits of any script are numbers; what only looks like one is a name."""
    ordered = sorted(["10", "9", "v2", "²", "٣"], key=version_order)

    assert ["v2", "²", "٣", "9", "10"] == ordered
