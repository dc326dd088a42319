"""The folder where a user drops apps and models; what counts as which: `drops`.

    x.wasm            a guest; optionally with x.toml beside it, its app.toml
    x.zip, x.tar.gz   a bundle, or a model
    x/                a model's folder
    x.wasm.sig        who signed it; may come before or after
    x.wasm.status     what became of it, one JSON object (`dropnotes`)

What is dropped is taken once its writer has closed it, or it has been quiet for a moment
(`quiet`), so that a copy under way is not mistaken for a damaged guest. What was taken is removed,
as mail is from an inbox; what was refused stays, with the reason beside it, and is tried again when
it changes. A folder that lacks something is waited for, then reported. Names that begin with a dot
are ignored: rsync and browsers write under such names first.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from watchfiles import watch

from appliance.bundles import MAX_SIGNATURE_BYTES
from appliance.deploy import Deployer
from appliance.deploying.stages import Asker
from appliance.dropnotes import Notes
from appliance.drops import (
    Incomplete,
    Look,
    ModelDrops,
    Taken,
    is_drop,
    is_folder,
    is_late_signature,
    is_model,
    is_there,
    manifest_beside,
    read_drop,
    signature_beside,
    signature_of,
)
from appliance.errors import ApplianceError, Unavailable
from appliance.files import (
    make_dirs,
    read_bounded,
    remove_tree,
    sweep_temporaries,
)
from appliance.manifests import name_from
from appliance.quiet import QUIET_S as QUIET_S
from appliance.quiet import quiet_s_of
from appliance.standings import AppState
from appliance.trust.gate import Gate
from appliance.trust.signing import Signature

log = logging.getLogger(__name__)

# While something is settling; a tenth of the shortest wait.
_LOOK_EVERY_S = 0.01
# How long a folder may lack something before that is reported; a large file takes a while to
# begin. Whenever it is complete it is taken.
INCOMPLETE_S = 60.0


@dataclass(slots=True)
class Settling:
    """Which files have come to rest; pure.

    handled: files as they were when they were last tried.
    """

    handled: dict[str, Look] = field(default_factory=dict)
    _since: dict[str, tuple[Look, float]] = field(default_factory=dict)

    def look(
        self, files: Mapping[str, Look], now: float,
        quiet_s: Callable[[str], float] = lambda _: QUIET_S,
    ) -> list[str]:  # fmt: skip
        """Take note of what is there.

        files: name -> what changes when the file does.   now: seconds, monotonic.
        quiet_s: how long the file of a name must not have changed.
        Returns: the names that are ready, marked as handled.
        """
        ready = []
        for gone in [name for name in self._since if name not in files]:
            del self._since[gone]
        for gone in [name for name in self.handled if name not in files]:
            del self.handled[gone]
        for name, signature in sorted(files.items()):
            if self.handled.get(name) == signature:
                continue
            known = self._since.get(name)
            if known is None or known[0] != signature:
                known = self._since[name] = (signature, now)
            if now - known[1] >= quiet_s(name):
                del self._since[name]
                self.handled[name] = signature
                ready.append(name)
        return ready

    @property
    def is_waiting(self) -> bool:
        """Tell whether there are files that have not come to rest."""
        return bool(self._since)


class Inbox:
    """Watches the folder in a thread of its own; `start` and `stop` it.

    gate: knows the signatures that come late.
    """

    def __init__(
        self, folder: Path, deployer: Deployer, models: ModelDrops, *, gate: Gate | None = None
    ) -> None:
        self._folder = folder
        self._deployer = deployer
        self._models = models
        self._gate = gate
        self._notes = Notes(folder)
        self._settling = Settling()
        # When to look again at what did not change: name -> monotonic seconds.
        self._again_s: dict[str, float] = {}
        self._lacking: set[str] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="inbox", daemon=True)

    def start(self) -> None:
        """Begin to watch; what lies there already is taken too."""
        make_dirs(self._folder)
        sweep_temporaries(self._folder)
        self._notes.open()
        self._thread.start()

    def stop(self) -> None:
        """Stop after the deploy that is under way."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        # One watch for the whole life: between two of them an event would be lost. The timeout
        # is the clock that tells quiet files.
        changes = watch(
            self._folder, stop_event=self._stopping, yield_on_timeout=True,
            rust_timeout=int(QUIET_S * 1000), debounce=50, step=5, recursive=False,
            raise_interrupt=False,
        )  # fmt: skip
        for _ in changes:
            try:
                self._look()
                # No event tells that nothing happens any more.
                while self._settling.is_waiting and not self._stopping.wait(_LOOK_EVERY_S):
                    self._look()
            except Exception:
                # The folder itself is gone or unreadable; it may come back.
                log.exception("inbox look failed")

    def _look(self) -> None:
        """Take what is ready."""
        files = {}
        for path in self._folder.iterdir():
            if is_drop(path):
                signature = signature_of(path)
                if signature is not None:
                    files[path.name] = signature
        now_s = time.monotonic()

        def quiet_s(name: str) -> float:
            return quiet_s_of(self._folder / name)

        for name in self._settling.look(files, now_s, quiet_s):
            self._again_s.pop(name, None)
            self._lacking.discard(name)
            self._try(self._folder / name)
        for name in self._due(files, now_s):
            self._try(self._folder / name)
        self._notes.follow(self._deployer.failures())

    def _due(self, files: Mapping[str, Look], now_s: float) -> list[str]:
        """Name what is to be looked at again although it did not change."""
        for gone in self._again_s.keys() - files.keys():
            del self._again_s[gone]
            self._lacking.discard(gone)
        due = [name for name, at_s in self._again_s.items() if now_s >= at_s]
        for name in due:
            del self._again_s[name]
        return due

    def _try(self, path: Path) -> None:
        try:
            self.take(path)
        except Exception:
            # Our bug, and this file's alone: the others were marked as handled with it.
            log.exception("inbox file failed file=%s", path.name)
            reason = "the box failed on this file; its log has the reason"
            self._notes.write(path, {"state": "failed", "reason": reason})

    def take(self, path: Path) -> None:
        """Take one drop and write beside it what became of it."""
        if is_late_signature(path):
            self._sign(path)
            return
        taken = signature_of(path)
        try:
            status = self._take(path)
        except Incomplete as lack:
            self._wait_for(path, str(lack))
            return
        except ApplianceError as exc:
            if isinstance(exc, Unavailable):
                # The box's trouble and not the file's: it need not change to be tried again.
                self._again_s[path.name] = time.monotonic() + exc.retry_after_s
            self._notes.write(path, {"state": "failed", "reason": str(exc)})
            return
        self._notes.write(path, status)
        # A deploy takes seconds: what was dropped under the name meanwhile is taken next.
        if signature_of(path) == taken:
            self._remove(path)

    def _take(self, path: Path) -> dict[str, object]:
        if is_model(path, self._models.max_bytes):
            return _ready(self._models.take(path))
        deployed = self._deployer.deploy(read_drop(path), name_from(path.name), by=Asker.INBOX)
        return {"state": "live", "app": deployed.name, "version": deployed.version}

    def _wait_for(self, path: Path, lack: str) -> None:
        """Look again when it changes, or is late; one that is late is reported."""
        if path.name in self._lacking:
            self._lacking.discard(path.name)
            reason = f"incomplete for {INCOMPLETE_S:.0f} s: {lack}; copy the rest into the folder"
            self._notes.write(path, {"state": "failed", "reason": reason})
            return
        self._lacking.add(path.name)
        self._again_s[path.name] = time.monotonic() + INCOMPLETE_S
        self._notes.write(path, {"state": "waiting", "reason": lack})

    def _remove(self, path: Path) -> None:
        try:
            if is_folder(path):
                remove_tree(path)
                return
            path.unlink(missing_ok=True)
            manifest_beside(path).unlink(missing_ok=True)
            if is_there(signature_beside(path)):
                signature_beside(path).unlink(missing_ok=True)
        except (ApplianceError, OSError) as exc:
            log.warning("inbox file not removed file=%s reason=%s", path.name, exc)

    def _sign(self, path: Path) -> None:
        """Add a signature that came late to the app that is there; else let it wait.

        Only one by a trusted key that fits is for what is there: another may be for a guest that
        is still to come. An app that the operator switched off stays off.
        """
        try:
            line = read_bounded(path, max_bytes=MAX_SIGNATURE_BYTES)
            name = Signature.parse(line).name
            bundle = replace(self._deployer.bundle(name), signature=line)
            is_off = self._deployer.standing(name).state is AppState.DISABLED
            if self._gate is None or is_off or self._gate.signer_of(bundle, name) is None:
                return
            deployed = self._deployer.deploy(bundle, name, by=Asker.INBOX)
        except ApplianceError as exc:
            log.info("signature waits for its guest file=%s reason=%s", path.name, exc)
            return
        status: dict[str, object] = {"state": "live", "app": name, "version": deployed.version}
        self._notes.write(path.with_suffix(""), status)
        path.unlink(missing_ok=True)


def _ready(taken: Taken) -> dict[str, object]:
    status: dict[str, object] = {
        "state": "ready", "model": taken.name, "version": taken.version, "is_new": taken.is_new,
    }  # fmt: skip
    if taken.added is not None:
        status["loaded"] = list(taken.added.loaded)
        status["untried"] = list(taken.added.untried)
        status["is_default"] = taken.added.is_default
    return status
