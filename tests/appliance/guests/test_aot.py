"""Compiled guests on disk: used when whole, made again when not, and never in the way of an app."""

import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import wasmtime

from appliance.errors import BadGuest
from appliance.files import TEMPORARY_PREFIX
from appliance.guests import aot
from appliance.guests.aot import AotCache, compile_bytes, load_sealed
from appliance.guests.compiling import CompileLimits
from appliance.guests.engine import GuestEngine
from appliance.guests.seal import SEAL_BYTES, sealed
from tests.appliance import watguests as guests

DAY_NS = 86400 * 10**9


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch, engine: GuestEngine) -> list[bytes]:
    """What was compiled, in this process and thus at once."""
    seen: list[bytes] = []

    @contextmanager
    def compile_here(
        wasm: bytes, limits: CompileLimits, *, counts_fuel: bool = False
    ) -> Iterator[int]:
        seen.append(wasm)
        descriptor = os.memfd_create("compiled")
        with os.fdopen(descriptor, "wb") as file:
            file.write(compile_bytes(engine, wasm))
            file.flush()
            yield descriptor

    monkeypatch.setattr(aot, "compiled_in_child", compile_here)
    return seen


def exports(module: wasmtime.Module) -> list[str]:
    return [export.name for export in module.exports]


STEADY = ["memory", "appliance_on_frame"]


def entry(folder: Path) -> Path:
    (path,) = folder.glob("*.cwasm")
    return path


def test_a_guest_is_compiled_once(
    tmp_path: Path, engine: GuestEngine, compiled: list[bytes]
) -> None:
    """The second time it comes from disk, in this run of the box or the next."""
    first = AotCache(tmp_path / "aot", engine).module(guests.STEADY)
    second = AotCache(tmp_path / "aot", engine).module(guests.STEADY)

    assert [guests.STEADY] == compiled
    assert STEADY == exports(first) == exports(second)


def test_an_entry_is_mapped_and_not_copied(tmp_path: Path, engine: GuestEngine) -> None:
    """Of an app's code only what runs is in memory, and the kernel may drop that, too."""
    module = AotCache(tmp_path, engine).module(guests.STEADY)

    assert STEADY == exports(module)
    assert entry(tmp_path).name in Path("/proc/self/maps").read_text()


def damage_content(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def reseal(path: Path, content: bytes, fingerprint: str) -> None:
    path.write_bytes(content)
    with path.open("rb") as file:
        pieces = list(sealed(file.fileno(), fingerprint))
    path.write_bytes(b"".join(pieces))


def make_foreign(path: Path) -> None:
    """Put another engine's work there, well sealed."""
    reseal(path, path.read_bytes()[:-SEAL_BYTES], "wasmtime-1.0.0-x86_64-0123456789ab")


def lie(path: Path) -> None:
    """Put what is no code there, sealed as if this engine had made it."""
    fingerprint = path.stem.partition("-")[2]
    reseal(path, b"\x7fELF of another engine", fingerprint)


def replace_by_folder(path: Path) -> None:
    path.unlink()
    (path / "in it").mkdir(parents=True)


def replace_by_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def replace_by_link(path: Path) -> None:
    shutil.copyfile(path, path.with_name("elsewhere"))
    path.unlink()
    path.symlink_to("elsewhere")


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(damage_content, id="one bit"),
        pytest.param(lambda p: p.write_bytes(b""), id="emptied"),
        pytest.param(lambda p: p.write_bytes(p.read_bytes()[:-100]), id="cut off"),
        pytest.param(lambda p: p.unlink(), id="removed"),
        pytest.param(lambda p: p.write_bytes(p.read_bytes()[:-SEAL_BYTES]), id="no seal"),
        pytest.param(make_foreign, id="another engine's"),
        pytest.param(lie, id="refused by wasmtime"),
        pytest.param(replace_by_link, id="a link"),
        pytest.param(replace_by_folder, id="a folder"),
        pytest.param(replace_by_fifo, id="a FIFO"),
    ],
)
def test_an_entry_that_is_not_ours_is_made_again(
    tmp_path: Path, engine: GuestEngine, compiled: list[bytes], damage: Callable[[Path], None]
) -> None:
    """Damaged, incomplete or foreign: never loaded, always replaced."""
    cache = AotCache(tmp_path, engine)
    cache.module(guests.STEADY)
    damage(entry(tmp_path))

    assert STEADY == exports(cache.module(guests.STEADY))
    assert [guests.STEADY] * 2 == compiled
    cache.module(guests.STEADY)
    assert [guests.STEADY] * 2 == compiled


def test_an_entry_exchanged_after_its_check_is_not_what_is_mapped(
    tmp_path: Path, engine: GuestEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was checked is an open file; another one under its name changes nothing."""
    cache = AotCache(tmp_path, engine)
    cache.module(guests.STEADY)
    check = aot.check_seal

    def exchange(descriptor: int) -> str:
        fingerprint = check(descriptor)
        (tmp_path / "evil").write_bytes(b"\x7fELF evil")
        (tmp_path / "evil").rename(entry(tmp_path))
        return fingerprint

    monkeypatch.setattr(aot, "check_seal", exchange)

    assert STEADY == exports(cache.module(guests.STEADY))


def test_engines_do_not_share_entries(tmp_path: Path, engine: GuestEngine) -> None:
    """One that counts fuel compiles to other code under another name."""
    AotCache(tmp_path, engine).module(guests.STEADY)
    AotCache(tmp_path, engine).for_engine(engine.counting()).module(guests.STEADY)

    assert 2 == len(list(tmp_path.glob("*.cwasm")))


def test_a_refused_guest_leaves_no_file(tmp_path: Path, engine: GuestEngine) -> None:
    """Neither source nor half a result stays."""
    with pytest.raises(BadGuest, match=r"guest: does not compile: .*unexpected end"):
        AotCache(tmp_path, engine).module(guests.TRUNCATED)

    assert [] == list(tmp_path.iterdir())


def unusable_file(folder: Path) -> None:
    """Put a file where the folder should be: even root cannot write into it."""
    folder.write_bytes(b"")


def unusable_entries(folder: Path) -> None:
    """Let the folder be one that refuses every file."""
    folder.symlink_to("/proc/self/fdinfo")


@pytest.mark.parametrize("make", [unusable_file, unusable_entries], ids=["no folder", "no entry"])
def test_a_disk_that_refuses_costs_the_cache_and_not_the_app(
    tmp_path: Path, engine: GuestEngine, compiled: list[bytes], caplog: pytest.LogCaptureFixture,
    make: Callable[[Path], None],
) -> None:  # fmt: skip
    """The guest is compiled and runs from memory, each time anew; the log says so."""
    make(tmp_path / "aot")
    cache = AotCache(tmp_path / "aot", engine)
    with caplog.at_level(logging.WARNING):
        modules = [cache.module(guests.STEADY) for _ in range(2)]

    assert [STEADY] * 2 == [exports(module) for module in modules]
    assert [guests.STEADY] * 2 == compiled
    assert "compiled guest not kept" in caplog.text
    assert not cache.holds(guests.STEADY)


def test_many_makers_of_an_entry_have_a_good_one_each(tmp_path: Path, engine: GuestEngine) -> None:
    """Two deploys, or a deploy and `compile --into-cache`, at the same time."""
    together = threading.Barrier(4)
    found: list[list[str]] = []

    def make() -> None:
        together.wait(60)
        found.append(exports(AotCache(tmp_path, engine).module(guests.STEADY)))

    makers = [threading.Thread(target=make) for _ in range(4)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()

    assert [STEADY] * 4 == found
    assert [entry(tmp_path)] == list(tmp_path.iterdir())


# -- size ------------------------------------------------------------------------------------------

ONE, TWO, THREE = (guests.labelled(label) for label in ("one", "two", "three"))


def fill(folder: Path, engine: GuestEngine) -> tuple[AotCache, int]:
    """Cache two guests, used some days ago in order. Returns: also the size of an entry."""
    cache = AotCache(folder, engine)
    for age, wasm in ((3, ONE), (2, TWO)):
        cache.module(wasm)
        path = max(folder.glob("*.cwasm"), key=lambda p: p.stat().st_mtime_ns)
        used_ns = path.stat().st_mtime_ns - age * DAY_NS
        os.utime(path, ns=(used_ns, used_ns))
    return cache, path.stat().st_size


def held(cache: AotCache) -> list[bool]:
    return [cache.holds(wasm) for wasm in (ONE, TWO, THREE)]


@pytest.mark.usefixtures("compiled")
def test_what_was_not_used_for_longest_goes_first(tmp_path: Path, engine: GuestEngine) -> None:
    """There is room for two; the third takes the place of the oldest."""
    _, size = fill(tmp_path, engine)
    small = AotCache(tmp_path, engine, max_bytes=5 * size // 2)
    small.module(THREE)

    assert [False, True, True] == held(small)


@pytest.mark.usefixtures("compiled")
def test_a_use_counts(tmp_path: Path, engine: GuestEngine) -> None:
    """The older one was used just now and stays."""
    cache, size = fill(tmp_path, engine)
    cache.module(ONE)
    small = AotCache(tmp_path, engine, max_bytes=5 * size // 2)
    small.module(THREE)

    assert [True, False, True] == held(small)


@pytest.mark.usefixtures("compiled")
def test_the_one_just_made_stays(tmp_path: Path, engine: GuestEngine) -> None:
    """However large it is; all others go."""
    fill(tmp_path, engine)
    tiny = AotCache(tmp_path, engine, max_bytes=1)
    tiny.module(THREE)

    assert [False, False, True] == held(tiny)


def test_an_app_outlives_its_entry(tmp_path: Path, engine: GuestEngine) -> None:
    """Its code is mapped: the name goes, the file stays until the app does."""
    module = AotCache(tmp_path, engine).module(guests.STEADY)
    AotCache(tmp_path, engine, max_bytes=1).sweep()

    assert [] == list(tmp_path.iterdir())
    store = wasmtime.Store(engine.engine)
    assert engine.link(module).instantiate(store) is not None


def test_the_start_sweeps_what_a_crash_left(tmp_path: Path, engine: GuestEngine) -> None:
    """Unfinished entries; whole ones stay."""
    AotCache(tmp_path, engine).module(guests.STEADY)
    (tmp_path / f"{TEMPORARY_PREFIX}half").write_bytes(b"half")
    AotCache(tmp_path, engine).sweep()

    assert [entry(tmp_path)] == list(tmp_path.iterdir())


def test_sweeping_needs_no_folder(tmp_path: Path, engine: GuestEngine) -> None:
    """The first start of a box."""
    AotCache(tmp_path / "aot", engine).sweep()

    assert not (tmp_path / "aot").exists()


# -- files of the operator's -----------------------------------------------------------------------


def test_a_compiled_guest_of_another_machine_says_which(
    tmp_path: Path, engine: GuestEngine, compiled: list[bytes]
) -> None:
    """What it is for, what this machine wants, and what to do."""
    AotCache(tmp_path, engine).module(guests.STEADY)
    make_foreign(entry(tmp_path))
    words = f"got one for wasmtime-1.0.0-x86_64-0123456789ab, wanted {engine.fingerprint}; compile"

    with entry(tmp_path).open("rb") as file, pytest.raises(BadGuest, match=words):
        load_sealed(engine, file.fileno())
