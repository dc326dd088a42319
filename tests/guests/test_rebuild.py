"""The committed guests are what their sources say, small, and ask the host for nothing unusual."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from wasmtime import Engine, Module

ROOT = Path(__file__).resolve().parents[2]
LARGEST_GUEST = 64 * 1024  # bytes; a guest beyond this has pulled in something it did not need
HOST_MODULES = {"wasi_snapshot_preview1", "wasi_ephemeral_nn", "appliance"}


def import_script() -> ModuleType:
    """Import scripts/build_guests.py, which is no package."""
    path = ROOT / "scripts" / "build_guests.py"
    spec = importlib.util.spec_from_file_location("build_guests", path)
    assert spec is not None, f"{path} is not there"
    assert spec.loader is not None, f"{path} cannot be imported"
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


build_guests = import_script()
AnyGuest = Any  # build_guests.Guest: a type checker cannot look into a module loaded by path
every_guest = pytest.mark.parametrize(
    "guest", build_guests.GUESTS, ids=[guest.name for guest in build_guests.GUESTS]
)


def copy_of_classify(folder: Path) -> AnyGuest:
    """Return a guest that stands in a folder of its own, not built yet."""
    source = folder / "classify.c"
    shutil.copy(ROOT / "wasi_nn" / "guest" / "examples" / "classify.c", source)
    return build_guests.Guest("classify", str(source))


@pytest.fixture
def compiler() -> None:
    """Skip without the compiler on a laptop; in CI its absence is a failure of the test."""
    try:
        build_guests.check_compiler()
    except build_guests.BuildError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@every_guest
@pytest.mark.usefixtures("compiler")
def test_rebuilding_gives_the_committed_bytes(guest: AnyGuest) -> None:
    """A module in the repository is exactly what its source compiles to."""
    assert build_guests.difference(guest) is None


@every_guest
def test_guest_is_small(guest: AnyGuest) -> None:
    """A guest stays under 64 KB."""
    assert guest.wasm.stat().st_size < LARGEST_GUEST


@every_guest
def test_guest_imports_only_what_the_host_has(guest: AnyGuest) -> None:
    """A guest imports WASI, WASI-NN and the appliance, and nothing else."""
    module = Module.from_file(Engine(), str(guest.wasm))

    assert {wanted.module for wanted in module.imports} <= HOST_MODULES


@every_guest
def test_guest_is_of_the_kind_the_table_says(guest: AnyGuest) -> None:
    """A reactor exports appliance_on_frame and _initialize, a command exports _start."""
    module = Module.from_file(Engine(), str(guest.wasm))

    wanted = {"_initialize", "appliance_on_frame"} if guest.is_reactor else {"_start"}
    assert {export.name for export in module.exports} == wanted | {"memory"}


@every_guest
def test_guest_names_no_folder_of_the_machine_that_built_it(guest: AnyGuest) -> None:
    """No path of the build leaks into a module."""
    code = guest.wasm.read_bytes()

    folders = (str(ROOT), sys.prefix, tempfile.gettempdir())
    assert [folder for folder in folders if folder.encode() in code] == []


@pytest.mark.usefixtures("compiler")
def test_check_finds_a_module_that_is_not_what_its_source_gives(tmp_path: Path) -> None:
    """A changed byte is found, and the message says what to do."""
    guest = copy_of_classify(tmp_path)
    guest.wasm.write_bytes(b"\0asm and something else")

    assert "is not what its source gives" in build_guests.difference(guest)
    assert "run scripts/build-guests" in build_guests.difference(guest)


@pytest.mark.usefixtures("compiler")
def test_check_finds_a_module_that_was_never_built(tmp_path: Path) -> None:
    """A guest of the table without its module is found."""
    guest = copy_of_classify(tmp_path)

    assert "classify.wasm is missing" in build_guests.difference(guest)


@pytest.mark.usefixtures("compiler")
def test_a_broken_source_leaves_the_old_module_alone(tmp_path: Path) -> None:
    """A module is replaced by a complete one or not at all."""
    guest = copy_of_classify(tmp_path)
    guest.wasm.write_bytes(b"old")
    (tmp_path / "classify.c").write_text("int main(void) { return nonsense; }\n")

    with pytest.raises(build_guests.BuildError, match="nonsense"):
        build_guests.compile_guest(guest, guest.wasm)
    assert guest.wasm.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["classify.c", "classify.wasm"]
