"""Compiled guests: made once, in a process of their own, and kept by content.

    cache/aot/<sha256 of the wasm>-<engine>.cwasm         what wasmtime maps into memory
    cache/aot/<sha256 of the wasm>-<engine>.cwasm.sha256  written after it: the entry is complete

Rules:
1. Nothing is compiled in the service's process: a module can be made to take the compiler
   minutes and gigabytes, and a child can be stopped.
2. An entry is used only if its hash is the one written beside it. Loading a damaged one would run
   whatever its bytes happen to mean. A damaged or foreign entry is made again, never trusted.
"""

import logging
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import wasmtime

from appliance.errors import BadGuest, Unavailable
from appliance.files import make_dirs, temporary_beside, write_atomic
from appliance.guests.engine import GuestEngine

log = logging.getLogger(__name__)

# A 10 MB guest takes about 10 s here on one busy core; Python components take 20.
COMPILE_TIMEOUT_S = 120.0
_CORE_MAGIC = b"\0asm\x01\0\0\0"
_COMPONENT_MAGIC = b"\0asm\x0d\0\x01\0"
_SHOWN_BYTES = 8
# The child's status when the guest does not compile; 1 is Python's own for whatever it died of.
REFUSED = 3


def check_magic(wasm: bytes) -> None:
    """Refuse what is no core module, before a compiler looks at it.

    Raises: BadGuest. Without this wasmtime would take text for WAT.
    """
    if wasm.startswith(_CORE_MAGIC):
        return
    if wasm.startswith(_COMPONENT_MAGIC):
        raise BadGuest(
            "guest: got a component, wanted a core module; components are not run by this version"
        )
    if wasm.startswith(_CORE_MAGIC[: max(len(wasm), 1)]):
        raise BadGuest(f"guest: the file ends after {len(wasm)} bytes; copy it again")
    raise BadGuest(
        f"guest: not wasm; it begins with {wasm[:_SHOWN_BYTES].hex(' ') or 'nothing'}, wanted "
        f"{_CORE_MAGIC.hex(' ')}"
    )


def compile_bytes(engine: GuestEngine, wasm: bytes) -> bytes:
    """Compile in this process. Returns: what `wasmtime.Module.deserialize` takes.

    Raises: BadGuest with the compiler's reason.
    """
    check_magic(wasm)
    try:
        return bytes(wasmtime.Module(engine.engine, wasm).serialize())
    except wasmtime.WasmtimeError as exc:
        raise BadGuest(f"guest: does not compile: {reason_of(exc)}") from exc


def reason_of(error: wasmtime.WasmtimeError | wasmtime.Trap) -> str:
    """Take the innermost cause from the engine's multi-line message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    causes = lines[lines.index("Caused by:") + 1 :] if "Caused by:" in lines else lines[:1]
    return causes[-1].removeprefix("0: ") if causes else "no reason given"


class AotCache:
    """The folder of compiled guests."""

    def __init__(self, folder: Path, engine: GuestEngine) -> None:
        self._folder = folder
        self._engine = engine

    def for_engine(self, engine: GuestEngine) -> "AotCache":
        """Give the same folder for another engine."""
        return AotCache(self._folder, engine)

    def module(self, wasm: bytes) -> wasmtime.Module:
        """Give the compiled module, compiling only if no good entry is there.

        Raises: BadGuest if it is not compilable or takes too long; Unavailable if the disk
        refuses.
        """
        check_magic(wasm)
        entry = self._entry(sha256(wasm).hexdigest())
        return self._load(entry) or self._make(entry, wasm)

    def _entry(self, digest: str) -> Path:
        return self._folder / f"{digest}-{self._engine.fingerprint}.cwasm"

    def _load(self, entry: Path) -> wasmtime.Module | None:
        """Load an entry, or say nothing and leave it to be made again."""
        try:
            wanted = entry.with_suffix(".cwasm.sha256").read_bytes()
            if sha256(entry.read_bytes()).hexdigest().encode() != wanted:
                log.warning("compiled guest damaged, compiling again entry=%s", entry.name)
                return None
            return wasmtime.Module.deserialize_file(self._engine.engine, str(entry))
        except FileNotFoundError:
            return None
        except (OSError, wasmtime.WasmtimeError) as exc:
            # Another wasmtime or another processor wrote it; the engine checks both.
            log.info("compiled guest of another engine entry=%s reason=%s", entry.name, exc)
            return None

    def _make(self, entry: Path, wasm: bytes) -> wasmtime.Module:
        make_dirs(self._folder)
        source = temporary_beside(entry)
        target = temporary_beside(entry)
        try:
            write_atomic(source, wasm)
            compile_in_child(source, target, counts_fuel=self._engine.counts_fuel)
            compiled = target.read_bytes()
            write_atomic(entry, compiled)
            write_atomic(entry.with_suffix(".cwasm.sha256"), sha256(compiled).hexdigest().encode())
        finally:
            source.unlink(missing_ok=True)
            target.unlink(missing_ok=True)
        module = self._load(entry)
        if module is None:
            raise Unavailable("the compiled guest cannot be read back; check the disk")
        return module


def compile_in_child(source: Path, target: Path, *, counts_fuel: bool = False) -> None:
    """Compile a file in a child process.

    Raises: BadGuest with the compiler's reason, or if it took over COMPILE_TIMEOUT_S.
    """
    command = [sys.executable, "-m", "appliance.guests.compiler", str(source), str(target)]
    if counts_fuel:
        command.append("--fuel")
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=COMPILE_TIMEOUT_S, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired as exc:
        raise BadGuest(
            f"guest: compiling took over {COMPILE_TIMEOUT_S:.0f} s and was stopped"
        ) from exc
    if done.returncode == REFUSED:
        raise BadGuest(done.stdout.decode("utf-8", "replace").strip())
    if done.returncode != 0:
        log.error("compiler died status=%d", done.returncode)
        raise BadGuest(f"guest: the compiler died on it (status {done.returncode})")
