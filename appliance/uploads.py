"""Models that are uploaded: received beside, checked, tried apart, then given their name.

    with uploads.begin("cat", "2") as upload:
        ...  write files under upload.files, or one archive to upload.archive ...
        added = uploads.install(upload)

Guarantees:
1. A version that can be found is whole, matches its manifest, and has been loaded on this box in
   every encoding that the box has a runtime for. One of them that does not load refuses the
   upload: guests get the preferred encoding, and would get that one.
2. A model with a sample has recognised it in each of these. All that was in a process that is
   thrown away (`trials`): a model that crashes its runtime is refused, and the box goes on.
3. Nothing of a refused or interrupted upload is ever found; a crash leaves a temporary that the
   next start sweeps.

Then it is measured how the model is best run here, so that its first load by a guest is quick.
"""

import json
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import (
    ApplianceError,
    BadManifest,
    BadModel,
    BadRequest,
    Conflict,
    Unavailable,
)
from appliance.fields import check_name, check_version
from appliance.files import remove_tree
from appliance.manifests import ModelPackage, load_model_folder, name_from
from appliance.models import ModelRepository, named_model
from appliance.sampling import refused
from appliance.trials.model import ModelTrial
from appliance.unpacking import ARCHIVE_SUFFIXES, Bounds, model_root, unpack
from wasi_nn.backend import Backend
from wasi_nn.catalogue import StaticCatalogue
from wasi_nn.errors import NNError
from wasi_nn.registry import Loader, Registry

log = logging.getLogger(__name__)

# Each may take max_model_bytes twice, packed and unpacked; chosen, not measured.
MAX_AT_ONCE = 2
_RETRY_S = 10.0


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """max_bytes: of the files of one version together."""

    max_bytes: int


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload under way. folder: gone when it ends."""

    name: str
    version: str
    folder: Path
    bounds: Bounds

    @property
    def files(self) -> Path:
        """Where files go that come one by one."""
        return self.folder / "files"

    @property
    def archive(self) -> Path:
        """Where an archive goes."""
        return self.folder / "archive"


@dataclass(frozen=True, slots=True)
class Added:
    """A new version. loaded: encodings that were tried.   untried: without a runtime here.

    is_default: whether the plain name means this version now.
    """

    name: str
    version: str
    loaded: tuple[str, ...]
    untried: tuple[str, ...]
    is_default: bool


class ModelUploads:
    """Takes models into the operator's root. Thread-safe.

    loader: as the box's registry has it, so that a plan measured here is found there.
    trial: tries a folder, under a name and a version, where it can do no harm; raises if it is no
    good.
    """

    def __init__(
        self, repository: ModelRepository, backends: Sequence[Backend], loader: Loader,
        trial: Callable[[Path, str, str], ModelTrial], limits: UploadLimits,
    ) -> None:  # fmt: skip
        self._repository = repository
        self._backends = tuple(backends)
        self._loader = loader
        self._trial = trial
        self.limits = limits
        self._lock = threading.Lock()
        self._under_way: set[tuple[str, str]] = set()

    @contextmanager
    def begin(self, name: str, version: str) -> Iterator[Upload]:
        """Reserve a version and a folder for what arrives.

        Raises: BadRequest for a name that is none; Conflict if there is such a version, or it is
        being uploaded; Unavailable if too many are.
        """
        _check("name", name, check_name)
        _check("version", version, check_version)
        self._repository.check_absent(name, version)
        with self._reserved(name, version):
            folder = self._repository.stage()
            try:
                yield Upload(name, version, folder, Bounds(self.limits.max_bytes))
            finally:
                try:
                    remove_tree(folder)
                except ApplianceError as exc:
                    log.warning("upload not cleared away reason=%s", exc)

    @contextmanager
    def _reserved(self, name: str, version: str) -> Iterator[None]:
        with self._lock:
            if (name, version) in self._under_way:
                raise Conflict(f"model {name}:{version}: is being uploaded by somebody else")
            if len(self._under_way) >= MAX_AT_ONCE:
                raise Unavailable(
                    f"upload: {MAX_AT_ONCE} are under way; try again later", retry_after_s=_RETRY_S
                )
            self._under_way.add((name, version))
        try:
            yield
        finally:
            with self._lock:
                self._under_way.discard((name, version))

    def install(self, upload: Upload) -> Added:
        """Check what arrived and let it be found.

        Raises: BadRequest, BadManifest, BadModel, TooBig, Conflict, Unavailable; nothing of it is
        found then.
        """
        archive = _archive_in(upload)
        unpacked = upload.folder / "unpacked" if archive is not None else upload.files
        if archive is not None:
            unpack(archive, unpacked, Bounds(self.limits.max_bytes))
            archive.unlink()
        if not unpacked.is_dir():
            raise BadRequest("upload: it holds no files")
        root = model_root(unpacked)
        package = _checked(root, upload.name, upload.version)
        trial = self._trial(root, upload.name, upload.version)
        self._measure(upload.name, upload.version, package, trial)
        self._repository.add(root, upload.name, upload.version)
        entries = self._repository.versions(upload.name)
        is_default = any(e.is_default and e.version == upload.version for e in entries)
        return Added(upload.name, upload.version, trial.loaded, trial.untried, is_default)

    def _measure(self, name: str, version: str, package: ModelPackage, trial: ModelTrial) -> None:
        """Load what passed the trial where guests will: how it is best run is measured then."""
        registry = Registry(
            self._backends, StaticCatalogue((named_model(name, version, package),)), self._loader
        )
        for encoding in trial.loaded:
            config = json.dumps({"encoding": encoding}).encode()
            try:
                registry.load_named(name, config).release()
            except NNError as exc:
                error = refused(exc)
                if isinstance(error, Unavailable):
                    raise error from exc
                raise BadModel(f"model {name}: {encoding} does not load: {exc}") from exc


def _check(what: str, text: str, check: Callable[[str], str]) -> None:
    try:
        check(text)
    except ValueError as exc:
        raise BadRequest(f"model {what}: got {text[:80]!r}, wanted {exc}") from exc


def _archive_in(upload: Upload) -> Path | None:
    """Find the archive: the body as it came, or the only file, by its name."""
    if upload.archive.is_file():
        return upload.archive
    if not upload.files.is_dir():
        return None
    inside = list(upload.files.iterdir())
    is_archive = len(inside) == 1 and inside[0].name.lower().endswith(ARCHIVE_SUFFIXES)
    return inside[0] if is_archive else None


def _checked(root: Path, name: str, version: str) -> ModelPackage:
    """Read the manifest of what was unpacked, and compare it with the request and the files."""
    package = load_model_folder(root, default_name=name, is_verified=True)
    manifest = package.manifest
    said = manifest.version if "version" in manifest.model_fields_set else version
    # A name that was not said was made of the request's.
    called = name if manifest.name == name_from(name) else manifest.name
    for key, got, wanted in (("name", called, name), ("version", said, version)):
        if got != wanted:
            raise BadManifest(
                f"model.toml: {key}: got {got}, wanted {wanted} as in the request; correct one of "
                "them"
            )
    return package
