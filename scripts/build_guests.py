"""Build the wasm guests of this repository from their C sources, to the same bytes everywhere.

The built modules are committed, so that nobody needs a compiler to run the appliance. This script
makes them, and with --check proves that they are what their sources say.

Rules:
- One table, GUESTS, names every guest; the module stands beside its source.
- One set of flags for all: zig compiles its C library anew for each set (about 30 s, once); from
  then on a guest takes 0.3 s. -mexec-model=reactor is free: it changes the link only.
- One compiler version: another one makes other bytes.
- Nothing of this machine gets into a module: sources are named relative to the repository, and -s
  leaves no debug information.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ZIG_VERSION = "0.17.1"  # of the PyPI package ziglang
ZIG_CACHE = ROOT / ".cache" / "zig"
COMPILE_TIMEOUT_S = 600.0  # the first build compiles the C library; 80 s were seen under load
FLAGS = (
    *("-target", "wasm32-wasi", "-std=c11", "-O3", "-msimd128", "-s"),
    "-Wl,-z,stack-size=131072",  # zig's own 16 MiB would be each instance's least memory
    *("-Wall", "-Wextra", "-Wpedantic", "-Werror"),
    *("-I", "wasi_nn/guest"),
)


class BuildError(Exception):
    """A guest cannot be built; the message says why."""


@dataclass(frozen=True, slots=True)
class Guest:
    """One C source and how to link it. Paths are relative to the repository."""

    name: str
    source: str
    is_reactor: bool = False

    @property
    def wasm(self) -> Path:
        """Where the built module is committed."""
        return (ROOT / self.source).with_suffix(".wasm")


GUESTS = (
    Guest("classifier", "appliance/builtin/classifier/classifier.c", is_reactor=True),
    Guest("classify", "wasi_nn/guest/examples/classify.c"),
)


def compile_guest(guest: Guest, wasm: Path, *, cache: Path = ZIG_CACHE) -> None:
    """Compile a guest to `wasm`, which is replaced only by a complete module.

    Raises: BuildError if the compiler is missing, of another version, or does not like the source.
    """
    check_compiler()
    with tempfile.TemporaryDirectory(dir=wasm.parent, prefix=".build-") as folder:
        built = Path(folder) / wasm.name
        run_compiler(guest, built, cache=cache)
        built.chmod(0o644)  # the linker makes it executable, which no host asks for
        built.replace(wasm)


def check_compiler() -> None:
    """Refuse any compiler but ours: its modules would differ without being wrong."""
    try:
        version = importlib.metadata.version("ziglang")
    except importlib.metadata.PackageNotFoundError:
        version = "none"
    if version != ZIG_VERSION:
        raise BuildError(
            f"ziglang: got {version}, wanted {ZIG_VERSION} in {sys.executable};"
            f" pip install ziglang=={ZIG_VERSION}, or set PYTHON"
        )


def run_compiler(guest: Guest, built: Path, *, cache: Path) -> None:
    """Run zig cc in the repository's folder, so that it sees relative names only."""
    model = ("-mexec-model=reactor",) if guest.is_reactor else ()
    command = [sys.executable, "-m", "ziglang", "cc", *FLAGS, *model]
    command += ["-o", str(built), guest.source]
    environment = {
        **os.environ,
        "ZIG_GLOBAL_CACHE_DIR": str(cache),
        "ZIG_LOCAL_CACHE_DIR": str(cache),
    }
    cache.mkdir(parents=True, exist_ok=True)
    result = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=COMPILE_TIMEOUT_S,
        check=False,
    )
    if result.returncode != 0:
        raise BuildError(f"{guest.source}: zig cc failed\n{result.stderr.strip()}")


def build(guest: Guest) -> str:
    """Build a guest in its place and say what came of it."""
    before = guest.wasm.read_bytes() if guest.wasm.exists() else None
    compile_guest(guest, guest.wasm)
    after = guest.wasm.read_bytes()
    return f"{len(after)} bytes, {'unchanged' if after == before else 'changed'}"


def difference(guest: Guest) -> str | None:
    """Build a guest aside and compare it with the committed module; None if they are the same."""
    with tempfile.TemporaryDirectory(prefix="build-guests-") as folder:
        built = Path(folder) / guest.wasm.name
        compile_guest(guest, built)
        got = built.read_bytes()
    wasm = Path(guest.source).with_suffix(".wasm")  # a short name for the message
    if not guest.wasm.exists():
        return f"{wasm} is missing; run scripts/build-guests"
    wanted = guest.wasm.read_bytes()
    if got == wanted:
        return None
    return (
        f"{wasm} is not what its source gives:"
        f" built {len(got)} bytes, committed {len(wanted)}; run scripts/build-guests"
    )


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="build-guests", description="Build the wasm guests of this repository."
    )
    parser.add_argument(
        "--check", action="store_true", help="build aside and compare with the committed modules"
    )
    names = ", ".join(guest.name for guest in GUESTS)
    parser.add_argument("name", nargs="*", help=f"build only these; all are: {names}")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.name) - {guest.name for guest in GUESTS})
    if unknown:
        parser.error(f"no such guest: got {', '.join(unknown)}, wanted some of {names}")
    return options


def work(guest: Guest, *, is_check: bool) -> bool:
    """Build or check one guest, print its line, and say whether it is as it should be."""
    start_s = time.monotonic()
    print(f"{guest.name}: ", end="", flush=True)
    try:
        problem = difference(guest) if is_check else None
        outcome = problem or ("same bytes" if is_check else build(guest))
    except BuildError as error:
        problem = outcome = str(error)
    print(f"{outcome} ({time.monotonic() - start_s:.1f} s)", flush=True)
    return problem is None


def main(arguments: Sequence[str] | None = None) -> int:
    """Build or check the guests asked for. Returns the exit code."""
    options = parse(arguments)
    chosen = [guest for guest in GUESTS if not options.name or guest.name in options.name]
    if not ZIG_CACHE.exists():
        print("the first build compiles the C library, which takes up to a minute", flush=True)
    results = [work(guest, is_check=options.check) for guest in chosen]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
