"""Where the data that comes with the box stands: in a checkout at the top, installed beside us."""

from pathlib import Path

_HERE = Path(__file__).resolve().parent


def models_folder() -> Path:
    """The model repository we ship."""
    installed = _HERE / "shipped" / "models"
    return installed if installed.is_dir() else _HERE.parent / "models"


def samples_folder() -> Path:
    """The sample pictures."""
    return models_folder() / "samples"


def classifier_folder() -> Path:
    """The built-in classifier app: classifier.wasm and app.toml."""
    return _HERE / "builtin" / "classifier"
