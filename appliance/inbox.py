"""The folder where a user drops guests.

    x.wasm            a guest; optionally with x.toml beside it, its app.toml
    x.zip             a bundle
    x.wasm.status     what became of it, one JSON object

A file is taken once its writer has closed it, or it has been quiet for a moment (`quiet`), so that
a copy under way is not mistaken for a damaged guest. A deployed file is removed, as mail is from an
inbox; a refused one stays, with the reason beside it, and is tried again when it changes. Names
that begin with a dot are ignored: rsync and browsers write under such names first.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from watchfiles import watch

from appliance.bundles import MAX_WASM_BYTES, Bundle, read_bundle
from appliance.deploy import Deployer
from appliance.errors import ApplianceError, BadGuest, NotFound
from appliance.files import make_dirs, read_bounded, sweep_temporaries, write_atomic
from appliance.manifests import MAX_MANIFEST_BYTES, name_from
from appliance.quiet import QUIET_S as QUIET_S
from appliance.quiet import quiet_s_of

log = logging.getLogger(__name__)

# Compiled guests are refused, with the reason beside them; left alone they would seem lost.
SUFFIXES = (".wasm", ".zip", ".cwasm")

# While something is settling; a tenth of the shortest wait.
_LOOK_EVERY_S = 0.01

Signature = tuple[int, int, int]


@dataclass(slots=True)
class Settling:
    """Which files have come to rest; pure.

    handled: files as they were when they were last tried.
    """

    handled: dict[str, Signature] = field(default_factory=dict)
    _since: dict[str, tuple[Signature, float]] = field(default_factory=dict)

    def look(
        self, files: Mapping[str, Signature], now: float,
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
    """Watches the folder in a thread of its own; `start` and `stop` it."""

    def __init__(self, folder: Path, deployer: Deployer) -> None:
        self._folder = folder
        self._deployer = deployer
        self._settling = Settling()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="inbox", daemon=True)

    def start(self) -> None:
        """Begin to watch; what lies there already is taken too."""
        make_dirs(self._folder)
        sweep_temporaries(self._folder)
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
        """Deploy what is ready."""
        files = {}
        for path in self._folder.iterdir():
            if path.suffix in SUFFIXES and not path.name.startswith("."):
                signature = signature_of(path)
                if signature is not None:
                    files[path.name] = signature

        def quiet_s(name: str) -> float:
            return quiet_s_of(self._folder / name)

        for name in self._settling.look(files, time.monotonic(), quiet_s):
            path = self._folder / name
            try:
                self.take(path)
            except Exception:
                # Our bug, and this file's alone: the others were marked as handled with it.
                log.exception("inbox file failed file=%s", path.name)
                reason = "the box failed on this file; its log has the reason"
                self._report(path, {"state": "failed", "reason": reason})

    def take(self, path: Path) -> None:
        """Deploy one file and write beside it what became of it."""
        taken = signature_of(path)
        try:
            deployed = self._deployer.deploy(read_drop(path), name_from(path.name))
        except ApplianceError as exc:
            self._report(path, {"state": "failed", "reason": str(exc)})
            return
        self._report(path, {"state": "live", "app": deployed.name, "version": deployed.version})
        # A deploy takes seconds: what was dropped under the name meanwhile is taken next.
        if signature_of(path) == taken:
            path.unlink(missing_ok=True)
            path.with_suffix(".toml").unlink(missing_ok=True)

    def _report(self, path: Path, status: dict[str, object]) -> None:
        status["at"] = time.time()
        try:
            write_atomic(path.with_name(path.name + ".status"), json.dumps(status).encode() + b"\n")
        except ApplianceError as exc:
            log.error("inbox status not written file=%s reason=%s", path.name, exc)


def signature_of(path: Path) -> Signature | None:
    """Say what changes when a dropped file, or the manifest beside it, does; None if it is gone."""
    try:
        status = path.stat()
    except OSError:
        return None
    try:
        manifest_ns = path.with_suffix(".toml").stat().st_ctime_ns
    except OSError:
        manifest_ns = 0
    # The change time: `cp -p` and `mv` bring the modification time of somewhere else along.
    return (status.st_size, status.st_ctime_ns, manifest_ns)


def read_drop(path: Path) -> Bundle:
    """Read a guest and the manifest beside it, if there is one.

    Raises: BadGuest for an empty file; what `read_bundle` and reading raise.
    """
    content = read_bounded(path, max_bytes=MAX_WASM_BYTES)
    if not content:
        raise BadGuest(f"{path.name}: the file is empty; copy it again")
    bundle = read_bundle(content)
    if bundle.manifest is not None:
        return bundle
    try:
        manifest = read_bounded(path.with_suffix(".toml"), max_bytes=MAX_MANIFEST_BYTES)
    except NotFound:
        return bundle
    return Bundle(bundle.wasm, manifest)
