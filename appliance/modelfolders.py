"""A model's folder: model.toml, weights and labels, checked whole.

Every path stays inside the folder, symlinks followed. A folder without a model.toml is taken for
what its file names say.
"""

from dataclasses import dataclass
from pathlib import Path

from appliance.errors import ApplianceError, BadManifest
from appliance.files import read_bounded, sha256_of_file
from appliance.manifests import (
    MAX_MANIFEST_BYTES,
    MODEL_MANIFEST,
    ModelFiles,
    ModelManifest,
    name_from,
    parse_model_manifest,
)
from appliance.settings import MIB
from wasi_nn.backend import Encoding

# ImageNet's labels have 32 KiB, its 21k variant 500 KiB.
_MAX_LABELS_BYTES = 4 * MIB
_MAX_LABELS = 100_000
_MAX_LABEL_LENGTH = 256


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

    default_name: for a folder without model.toml; its own name else.
    is_verified: also compare every sha256 that the manifest states (reads all weights).
    Raises: BadManifest for anything missing, damaged, or outside the folder.
    """
    try:
        if (folder / MODEL_MANIFEST).is_file():
            path = _inside(folder, MODEL_MANIFEST)
            text = read_bounded(path, max_bytes=MAX_MANIFEST_BYTES)
            manifest = parse_model_manifest(text)
        else:
            manifest = _default_manifest(folder, default_name or folder.name)
        for files in manifest.files:
            _check_files(folder, files, is_verified)
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
