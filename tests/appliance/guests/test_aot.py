"""Compiled guests on disk: used when whole, made again when not, and made by a child."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import wasmtime

from appliance.errors import BadGuest
from appliance.guests import aot
from appliance.guests.aot import AotCache, check_magic, compile_bytes, compile_in_child, reason_of
from appliance.guests.engine import GuestEngine
from tests.appliance import watguests as guests


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch, engine: GuestEngine) -> list[bytes]:
    """What was compiled, in this process and thus at once."""
    seen: list[bytes] = []

    def compile_here(source: Path, target: Path, *, counts_fuel: bool = False) -> None:
        seen.append(source.read_bytes())
        target.write_bytes(compile_bytes(engine, seen[-1]))

    monkeypatch.setattr(aot, "compile_in_child", compile_here)
    return seen


def exports(module: wasmtime.Module) -> list[str]:
    return [export.name for export in module.exports]


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
    assert ["memory", "appliance_on_frame"] == exports(first) == exports(second)


def damage_content(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def damage_foreign(path: Path) -> None:
    """Put another wasmtime's work there, with a hash that fits."""
    path.write_bytes(b"\x7fELF of another engine")
    digest = aot.sha256(path.read_bytes()).hexdigest()
    path.with_suffix(".cwasm.sha256").write_text(digest)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(damage_content, id="one bit"),
        pytest.param(lambda p: p.write_bytes(b""), id="emptied"),
        pytest.param(lambda p: p.unlink(), id="removed"),
        pytest.param(lambda p: p.with_suffix(".cwasm.sha256").unlink(), id="no hash"),
        pytest.param(lambda p: p.with_suffix(".cwasm.sha256").write_bytes(b"\xff"), id="bad hash"),
        pytest.param(damage_foreign, id="another engine's"),
    ],
)
def test_an_entry_that_is_not_ours_is_made_again(
    tmp_path: Path, engine: GuestEngine, compiled: list[bytes], damage: Callable[[Path], None]
) -> None:
    """Damaged, incomplete or foreign: never loaded, always replaced."""
    cache = AotCache(tmp_path, engine)
    cache.module(guests.STEADY)
    damage(entry(tmp_path))

    assert ["memory", "appliance_on_frame"] == exports(cache.module(guests.STEADY))
    assert [guests.STEADY] * 2 == compiled
    cache.module(guests.STEADY)
    assert [guests.STEADY] * 2 == compiled


def test_engines_do_not_share_entries(tmp_path: Path, engine: GuestEngine) -> None:
    """One that counts fuel compiles to other code under another name."""
    AotCache(tmp_path, engine).module(guests.STEADY)
    AotCache(tmp_path, GuestEngine(counts_fuel=True)).module(guests.STEADY)

    assert 2 == len(list(tmp_path.glob("*.cwasm")))


def test_a_refused_guest_leaves_no_file(tmp_path: Path, engine: GuestEngine) -> None:
    """The child's reason is the sentence; neither source nor half a result stays."""
    with pytest.raises(BadGuest, match=r"guest: does not compile: .*unexpected end"):
        AotCache(tmp_path, engine).module(guests.TRUNCATED)

    assert [] == list(tmp_path.iterdir())


def ends(status: int, output: bytes = b"") -> Callable[..., subprocess.CompletedProcess[bytes]]:
    return lambda command, **_: subprocess.CompletedProcess(command, status, output)


def test_a_compiler_that_dies_is_the_guests_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guest may crash the compiler; the service reads a status and goes on."""
    monkeypatch.setattr(subprocess, "run", ends(-11))
    with pytest.raises(BadGuest, match=r"the compiler died on it \(status -11\)"):
        compile_in_child(tmp_path / "a", tmp_path / "b")


def test_a_compiler_that_takes_too_long_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is named; the child is killed by subprocess.run."""

    def run(command: list[str], **_: object) -> None:
        raise subprocess.TimeoutExpired(command, 120)

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(BadGuest, match="over 120 s and was stopped"):
        compile_in_child(tmp_path / "a", tmp_path / "b")


def test_a_child_that_fails_for_another_reason_is_not_taken_for_a_refusal(tmp_path: Path) -> None:
    """A real child, whose source is missing: Python's status 1 is not the compiler's word."""
    with pytest.raises(BadGuest, match=r"the compiler died on it \(status 1\)"):
        compile_in_child(tmp_path / "missing", tmp_path / "target")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(guests.NOT_WASM, "not wasm; it begins with 47 49 46 38", id="gif"),
        pytest.param(guests.WAT_TEXT, "not wasm", id="text"),
        pytest.param(b"", "begins with nothing|ends after 0 bytes", id="empty"),
        pytest.param(guests.TINY, "ends after 4 bytes", id="short"),
        pytest.param(guests.component(), "a component, wanted a core module", id="component"),
        pytest.param(b"\0asm\x02\0\0\0", "not wasm", id="another version"),
    ],
)
def test_the_first_bytes_decide(content: bytes, words: str) -> None:
    """What is no core module never reaches a compiler."""
    with pytest.raises(BadGuest, match=words):
        check_magic(content)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        pytest.param("plain", "plain", id="plain"),
        pytest.param("outer\n\nCaused by:\n    0: middle\n    1: inner", "1: inner", id="chain"),
        pytest.param("outer\nCaused by:\n    inner", "inner", id="one cause"),
        pytest.param("", "no reason given", id="nothing"),
    ],
)
def test_the_innermost_cause_is_the_reason(message: str, reason: str) -> None:
    """The engine's chains of causes end with what helps."""
    assert reason == reason_of(wasmtime.WasmtimeError(message))
