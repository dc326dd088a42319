"""Trying what is new: apps before they are live, models before they are published."""

import dataclasses
import logging
import shutil
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from appliance.bundles import Bundle
from appliance.errors import BadGuest, BadManifest, BadModel, Unavailable
from appliance.guests.aot import AotCache
from appliance.guests.engine import GuestEngine
from appliance.manifests import APP_MANIFEST, AppManifest, load_model_folder
from appliance.models import ModelRepository
from appliance.policies import PolicySettings
from appliance.settings import GIB, AppLimits
from appliance.trials import guest, model, wording
from appliance.trials.book import Trial, TrialBook, key_of, print_of_folder
from appliance.trials.model import ModelErrand, ModelTrial
from appliance.trials.picture import own_picture
from appliance.trials.process import Errand, Lost, OnStage, ProcessBounds, Throwaway
from wasi_nn.errors import NNError

log = logging.getLogger(__name__)

# Raised when a trial looks at something else than before: what passed is tried anew.
_EDITION = 1
_WORDS = {
    "start": "starting",
    guest.INSTANTIATE: "instantiating the guest",
    guest.SHOW: "showing it a picture",
}
# Deadlines are the guest's, on a busy machine; a process that is so far over one hangs.
_HANG_FACTOR = 3.0


@dataclass(frozen=True, slots=True)
class TrialBounds:
    """What a throw-away process may use; chosen, not measured.

    memory_bytes: besides the app's own limit.   grace_s: on top of deadlines, for importing a
    runtime and loading a large model.   load_s: of one encoding of a model.
    """

    memory_bytes: int = 2 * GIB
    grace_s: float = 30.0
    load_s: float = 120.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a trial sees of the box.

    models: the roots of the repository.   backends: by name.   scratch: for command guests.
    """

    models: tuple[Path, ...]
    backends: tuple[str, ...]
    scratch: Path
    limits: AppLimits
    max_pixels: int
    allow_fallback: bool = False
    policy: PolicySettings = field(default_factory=PolicySettings)


class Trials:
    """Tries versions, each in a process that is thrown away. Thread-safe.

    book: where passed ones are remembered.
    """

    def __init__(
        self, place: Surroundings, cache: AotCache, engine: GuestEngine, book: Path,
        bounds: TrialBounds | None = None,
    ) -> None:  # fmt: skip
        self._place = place
        self._cache = cache
        self._engine = engine
        self._bounds = bounds or TrialBounds()
        self._models = ModelRepository(place.models)
        self._book = TrialBook(book, self._print_of)
        self._lock = threading.Lock()
        self._under_way: set[Throwaway] = set()
        self._is_closed = False

    def close(self) -> None:
        """End what is under way, and try nothing any more."""
        with self._lock:
            self._is_closed = True
            for process in self._under_way:
                process.stop()

    @contextmanager
    def _process(self, bounds: ProcessBounds) -> Iterator[Throwaway]:
        """Start a process. Raises: Unavailable if it cannot be, or the box stops meanwhile."""
        try:
            with Throwaway(bounds) as process:
                with self._lock:
                    self._check_open()
                    self._under_way.add(process)
                try:
                    yield process
                finally:
                    # Before it is ended: nobody may stop one that has ended.
                    with self._lock:
                        self._under_way.discard(process)
        except Lost:
            self._check_open()
            raise
        except OSError as exc:
            raise Unavailable(
                f"no process to try it in: {exc.strerror}; try again later", retry_after_s=10.0
            ) from exc

    def _check_open(self) -> None:
        if self._is_closed:
            raise Unavailable("the box stops; try again later")

    # -- apps ------------------------------------------------------------------------------------

    def app(
        self, bundle: Bundle, manifest: AppManifest, on_stage: OnStage = lambda stage: None
    ) -> Trial:
        """Compile an app, instantiate it within its limits and show it a picture.

        on_stage: called with "compile", "instantiate" and "show" as they begin.
        Returns: what was found; at once if this very version passed before.
        Raises: BadManifest, BadGuest, GuestFailed, BadPicture: the version is no good; Unavailable.
        """
        picture = _picture_of(bundle, manifest)
        key = self._key(bundle, manifest)
        known = self._book.find(key)
        if known is not None:
            return dataclasses.replace(known, is_remembered=True)
        started_s = time.perf_counter()
        try:
            answer = self._try_app(bundle, manifest, picture, on_stage)
        except Lost as lost:
            raise BadGuest(
                f"guest: the process that tried it {lost.how} while {_WORDS[lost.stage]}"
            ) from lost
        seconds = time.perf_counter() - started_s
        trial = self._found(answer, manifest, seconds)
        self._book.note(key, trial)
        for warning in trial.warnings:
            log.warning("trial app=%s version=%s: %s", manifest.name, bundle.version, warning)
        log.info(
            "trial passed app=%s version=%s seconds=%.2f label=%s",
            manifest.name, bundle.version, seconds, trial.label,
        )  # fmt: skip
        return trial

    def _key(self, bundle: Bundle, manifest: AppManifest) -> str:
        place, limits = self._place, manifest.limits_over(self._place.limits)
        return key_of(
            _EDITION, bundle.digest, self._engine_of(manifest).fingerprint,
            limits.model_dump(mode="json"), place.allow_fallback, place.max_pixels,
            place.backends, place.policy.for_child(), _installed_ns(),
        )  # fmt: skip

    def _engine_of(self, manifest: AppManifest) -> GuestEngine:
        counts_fuel = manifest.limits_over(self._place.limits).fuel is not None
        return self._engine.counting() if counts_fuel else self._engine

    def _try_app(
        self, bundle: Bundle, manifest: AppManifest, picture: bytes, on_stage: OnStage
    ) -> dict[str, Any]:
        place, engine = self._place, self._engine_of(manifest)
        limits = manifest.limits_over(place.limits)
        shown_s = guest.shown_deadline_s(manifest, place.limits)
        stages = {
            guest.INSTANTIATE: self._hang_s(limits.deadline_s),
            guest.SHOW: self._hang_s(shown_s),
        }
        # Two linear memories: one instance may be made beside another.
        memory_bytes = self._bounds.memory_bytes + 2 * limits.memory_bytes
        # Started first: it imports while another process compiles.
        with (
            self._process(ProcessBounds(memory_bytes, sum(stages.values()))) as process,
            _scratch(place.scratch) as scratch,
        ):
            on_stage("compile")
            cache = self._cache if engine is self._engine else self._cache.for_engine(engine)
            code = bytes(cache.module(bundle.wasm).serialize())
            asked = guest.AppErrand(
                name=manifest.name,
                counts_fuel=engine.counts_fuel,
                limits=place.limits.model_dump(mode="json"),
                allow_fallback=place.allow_fallback,
                max_pixels=place.max_pixels,
                models=[str(root) for root in place.models],
                backends=list(place.backends),
                scratch=str(scratch),
            )
            blobs = (code, bundle.manifest or b"", picture, place.policy.for_child().encode())
            errand = Errand({"app": dataclasses.asdict(asked)}, blobs, stages)
            return _done(process.ask(errand, on_stage))

    def _hang_s(self, deadline_s: float) -> float:
        return deadline_s * _HANG_FACTOR + self._bounds.grace_s

    def _found(self, answer: dict[str, Any], manifest: AppManifest, seconds: float) -> Trial:
        """Read what the process found, which need not be true."""
        picture = "" if manifest.sample is None else manifest.sample.picture
        try:
            trial = Trial.from_json({**answer, "picture": picture, "seconds": seconds})
        except (ValueError, KeyError, TypeError) as exc:
            raise BadGuest("guest: the process that tried it gave an answer that is none") from exc
        granted = () if manifest.models is None else tuple(manifest.models.values())
        return dataclasses.replace(trial, models=tuple(dict.fromkeys((*trial.models, *granted))))

    def _print_of(self, name: str) -> str:
        try:
            found = self._models.find(name)
        except NNError:
            return ""
        return f"{found.version} {print_of_folder(found.package.folder)}"

    # -- models ----------------------------------------------------------------------------------

    def model(self, folder: Path, name: str, version: str) -> ModelTrial:
        """Load a model in every encoding that this box has a runtime for, and show it its sample.

        folder: of the version, checked before.
        Raises: BadManifest, BadModel, BadPicture: it is no good; Unavailable.
        """
        package = load_model_folder(folder, default_name=name)
        stages = model.stages_of(package, self._bounds.load_s, self._bounds.grace_s)
        asked = ModelErrand(
            name, version, str(folder), list(self._place.backends), self._place.max_pixels
        )
        bounds = ProcessBounds(self._bounds.memory_bytes, sum(stages.values()))
        errand = Errand({"model": dataclasses.asdict(asked)}, (), stages)
        try:
            with self._process(bounds) as process:
                answer = _done(process.ask(errand))
        except Lost as lost:
            what, _, encoding = lost.stage.partition(" ")
            doing = {"load": f"loading {encoding}", "show": f"computing with {encoding}"}
            raise BadModel(
                f"model {name}:{version}: the process that tried it {lost.how} while "
                f"{doing.get(what, 'starting')}"
            ) from lost
        try:
            return ModelTrial(tuple(map(str, answer["loaded"])), tuple(map(str, answer["untried"])))
        except (KeyError, TypeError) as exc:
            raise BadModel(f"model {name}:{version}: its trial gave no answer") from exc


def _picture_of(bundle: Bundle, manifest: AppManifest) -> bytes:
    """Give the picture to show. Raises: BadManifest if the bundle has not the one it names."""
    if manifest.sample is None:
        return own_picture()
    picture = bundle.files.get(manifest.sample.picture)
    if picture is None:
        raise BadManifest(
            f"{APP_MANIFEST}: sample picture: {manifest.sample.picture} did not come with it; pack "
            "guest, app.toml and picture into one .zip or .tar.gz"
        )
    return picture


def _done(answer: dict[str, Any]) -> dict[str, Any]:
    """Give the outcome. Raises: the error that it is."""
    if not isinstance(answer.get("done"), dict):
        raise wording.from_json(answer.get("error"))
    return dict(answer["done"])


@contextmanager
def _scratch(parent: Path) -> Iterator[Path]:
    """Make a folder for what one trial writes; gone afterwards, however its process ended."""
    folder = Path(tempfile.mkdtemp(prefix="trial-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _installed_ns() -> int:
    """Tell when a package was last installed or removed: another runtime, another trial."""
    try:
        return Path(sysconfig.get_path("purelib")).stat().st_mtime_ns
    except OSError:
        return 0
