"""The data that comes with the box."""

from pathlib import Path

import pytest

from appliance import shipped
from appliance.manifests import load_model_folder, parse_app_manifest


def test_what_we_ship_is_there() -> None:
    """Pictures, and an app whose models are all shipped."""
    models = sorted(p.name for p in shipped.models_folder().iterdir() if p.is_dir())
    folder = shipped.classifier_folder()
    manifest = parse_app_manifest((folder / "app.toml").read_bytes(), default_name="x")

    assert "classifier" == manifest.name
    assert {"efficientnet-lite0", "efficientnet-lite0-int8"} == set(manifest.models or ())
    assert set(manifest.models or ()) <= set(models)
    assert (folder / "classifier.wasm").read_bytes().startswith(b"\0asm")
    assert len(list(shipped.samples_folder().glob("*.jpg"))) >= 2


def test_the_shipped_weights_are_what_the_manifest_says() -> None:
    """Every file has its sha256."""
    folder = shipped.models_folder() / "efficientnet-lite0" / "1"
    package = load_model_folder(folder, is_verified=True)

    assert 1000 == len(package.labels)
    assert all(files.sha256 for files in package.manifest.files)


def test_an_installed_package_has_its_models_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wheel puts them into appliance/shipped; a checkout has them at the top."""
    package = tmp_path / "appliance"
    package.mkdir()
    monkeypatch.setattr(shipped, "_HERE", package)
    assert tmp_path / "models" == shipped.models_folder()

    (package / "shipped" / "models").mkdir(parents=True)
    assert package / "shipped" / "models" == shipped.models_folder()
