"""Compiled guests, kept: each made once for this engine and processor, and mapped from then on.

    cache/aot/<sha256 of the wasm>-<fingerprint of the engine>.cwasm      see `seal`, `machine`

Rules:
1. An entry is used only if its seal holds, and what was checked is what is mapped: both go by one
   open file, so nobody can exchange it in between. Who could change the file itself is the box's
   own user. A damaged or foreign entry is made again, never trusted.
2. An entry is made by a child (`compiling`), beside, and put in its place whole: however many make
   it at once, each has a good one. It is not synced: what a power cut tears is made again.
3. A cache that cannot be written costs the time to compile, never an app.
4. What was not used for longest goes first when the cache is over its size. Maps stay: Linux keeps
   a removed file for as long as somebody has it mapped.
"""

import logging
import os
from hashlib import sha256
from pathlib import Path

import wasmtime

from appliance.errors import BadGuest, Unavailable
from appliance.files import make_dirs, remove_tree, sweep_temporaries, temporary_beside, writing
from appliance.guests.compiling import (
    CompileLimits,
    check_magic,
    compiled_in_child,
    limits_of_machine,
)
from appliance.guests.compiling import compile_bytes as compile_bytes
from appliance.guests.compiling import reason_of as reason_of
from appliance.guests.engine import GuestEngine
from appliance.guests.seal import BrokenSeal, check_seal, sealed
from appliance.tables import GIB

log = logging.getLogger(__name__)

SUFFIX = ".cwasm"


class AotCache:
    """The folder of compiled guests. Thread-safe, and so for several processes.

    max_bytes: of all entries; the one just made stays, whatever its size.
    limits: of compiling one guest; None for what fits this machine.
    """

    def __init__(
        self, folder: Path, engine: GuestEngine, *, max_bytes: int = GIB,
        limits: CompileLimits | None = None,
    ) -> None:  # fmt: skip
        self._folder = folder
        self._engine = engine
        self._max_bytes = max_bytes
        self._limits = limits or limits_of_machine()

    def for_engine(self, engine: GuestEngine) -> "AotCache":
        """Give the same folder for another engine."""
        return AotCache(self._folder, engine, max_bytes=self._max_bytes, limits=self._limits)

    def sweep(self) -> None:
        """Remove what a crash left unfinished, and what is over the size; for the start."""
        try:
            sweep_temporaries(self._folder)
        except Unavailable as exc:
            log.warning("compiled guests not swept reason=%s", exc)
        self._evict(None)

    def module(self, wasm: bytes) -> wasmtime.Module:
        """Give the compiled module, compiling only if no good entry is there.

        Raises: BadGuest if it is not compilable or takes too much; Unavailable if the machine has
        neither process nor memory left for it.
        """
        check_magic(wasm)
        entry = self._entry(wasm)
        return self._load(entry) or self._make(entry, wasm)

    def holds(self, wasm: bytes) -> bool:
        """Tell whether there is a good entry; it counts as used."""
        return self._load(self._entry(wasm)) is not None

    def _entry(self, wasm: bytes) -> Path:
        name = f"{sha256(wasm).hexdigest()}-{self._engine.fingerprint}{SUFFIX}"
        return self._folder / name

    def _load(self, entry: Path) -> wasmtime.Module | None:
        """Load an entry, or say nothing and leave it to be made again."""
        try:
            descriptor = os.open(entry, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as exc:
            log.warning("compiled guest not read entry=%s reason=%s", entry.name, exc.strerror)
            return None
        try:
            module = load_sealed(self._engine, descriptor)
        except BadGuest as exc:
            log.warning("compiled guest made again entry=%s reason=%s", entry.name, exc)
            return None
        finally:
            os.close(descriptor)
        _note_use(entry)
        return module

    def _make(self, entry: Path, wasm: bytes) -> wasmtime.Module:
        counts_fuel = self._engine.counts_fuel
        with compiled_in_child(wasm, self._limits, counts_fuel=counts_fuel) as compiled:
            try:
                self._keep(entry, compiled)
            except Unavailable as exc:
                log.warning("compiled guest not kept entry=%s reason=%s", entry.name, exc)
            self._evict(entry)
            # Off the disk if it is there: pages of a file in memory could not be given back.
            return self._load(entry) or _deserialized(self._engine, compiled)

    def _keep(self, entry: Path, compiled: int) -> None:
        """Put an entry in its place, whole. Raises: Unavailable if the disk refuses."""
        make_dirs(self._folder)
        unfinished = temporary_beside(entry)
        with writing(entry):
            try:
                with open(unfinished, "xb", opener=_for_the_box) as file:
                    file.writelines(sealed(compiled, self._engine.fingerprint))
                if entry.is_dir() and not entry.is_symlink():
                    remove_tree(entry)
                unfinished.replace(entry)
            finally:
                unfinished.unlink(missing_ok=True)

    def _evict(self, kept: Path | None) -> None:
        """Remove what was not used for longest until the rest fits. kept: stays, if given."""
        found = []
        for path in self._entries():
            try:
                status = path.stat()
            except OSError:
                continue
            found.append((path == kept, status.st_mtime_ns, status.st_size, path))
        total = sum(size for _, _, size, _ in found)
        for is_kept, _, size, path in sorted(found):
            if total <= self._max_bytes or is_kept:
                return
            try:
                path.unlink(missing_ok=True)
            except OSError as exc:
                log.warning("compiled guest not removed entry=%s reason=%s", path.name, exc)
                continue
            log.info("compiled guest removed, the cache is full entry=%s", path.name)
            total -= size

    def _entries(self) -> list[Path]:
        try:
            return [path for path in self._folder.iterdir() if path.suffix == SUFFIX]
        except OSError:
            return []


def _for_the_box(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o640)


def _note_use(entry: Path) -> None:
    """Let the modification time say when an entry was used last."""
    try:
        os.utime(entry)
    except OSError as exc:
        # A read-only disk evicts nothing either.
        log.debug("use not noted entry=%s reason=%s", entry.name, exc)


def load_sealed(engine: GuestEngine, descriptor: int) -> wasmtime.Module:
    """Map a compiled guest out of an open file, after its seal and what it was compiled for.

    Raises: BadGuest saying what is wrong with it; nothing of it was run.
    """
    try:
        fingerprint = check_seal(descriptor)
    except BrokenSeal as exc:
        raise BadGuest(
            f"guest: this .cwasm is damaged, or `appliance compile` did not make it: {exc}; "
            "compile it again"
        ) from exc
    except OSError as exc:
        raise BadGuest(f"guest: this .cwasm cannot be read: {exc.strerror}") from exc
    if fingerprint != engine.fingerprint:
        raise BadGuest(
            f"guest: this .cwasm is not for this machine: got one for {fingerprint}, "
            f"wanted {engine.fingerprint}; compile it again here"
        )
    return _deserialized(engine, descriptor)


def _deserialized(engine: GuestEngine, descriptor: int) -> wasmtime.Module:
    """Let wasmtime map an open file; it checks the header once more, by its own lights."""
    try:
        return wasmtime.Module.deserialize_file(engine.engine, f"/proc/self/fd/{descriptor}")
    except wasmtime.WasmtimeError as exc:
        raise BadGuest(
            f"guest: this .cwasm is not for this machine: {reason_of(exc)}; compile it again"
        ) from exc
