"""Guests that write where they may, where they may not, and more than they may."""

import os
from pathlib import Path

import pytest

from appliance.errors import GuestFailed, Unavailable
from appliance.guests.command import CommandRunner
from appliance.guests.program import Program
from appliance.policies import PolicySettings
from appliance.records import Frame
from tests.appliance.watguests import wasm
from tests.appliance.workshop import Workshop

KIB = 1024
WASI = "wasi_snapshot_preview1"
# Names in the guest's memory; numbers print as text so that an errno is a prediction.
DATA = '(data (i32.const 1024) "a.bin") (data (i32.const 1040) "link") (data (i32.const 1056) "..")'
HEAD = """(module
  (import "W" "path_open" (func $open
    (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "W" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "W" "fd_pwrite" (func $pwrite (param i32 i32 i32 i64 i32) (result i32)))
  (import "W" "fd_close" (func $close (param i32) (result i32)))
  (import "W" "fd_seek" (func $seek (param i32 i64 i32 i32) (result i32)))
  (import "W" "fd_renumber" (func $renumber (param i32 i32) (result i32)))
  (import "W" "fd_allocate" (func $allocate (param i32 i64 i64) (result i32)))
  (import "W" "fd_filestat_set_size" (func $set_size (param i32 i64) (result i32)))
  (import "W" "fd_prestat_get" (func $prestat (param i32 i32) (result i32)))
  (import "W" "path_create_directory" (func $mkdir (param i32 i32 i32) (result i32)))
  (import "W" "path_symlink" (func $symlink (param i32 i32 i32 i32 i32) (result i32)))
  (import "W" "path_link" (func $link (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "W" "path_rename" (func $rename (param i32 i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 20) DATA
  (func $say (param $n i32)
    (i32.store8 (i32.const 16) (i32.add (i32.const 48) (i32.div_u (local.get $n) (i32.const 10))))
    (i32.store8 (i32.const 17) (i32.add (i32.const 48) (i32.rem_u (local.get $n) (i32.const 10))))
    (i32.store8 (i32.const 18) (i32.const 10))
    (i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 3))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
  (func $create (param $folder i32) (param $name i32) (param $length i32) (result i32)
    (call $open (local.get $folder) (i32.const 0) (local.get $name) (local.get $length)
      (i32.const 1) (i64.const 0x1fffffff) (i64.const 0x1fffffff) (i32.const 0) (i32.const 12)))
  (func $put (param $fd i32) (param $bytes i32) (result i32)
    (i32.store (i32.const 0) (i32.const 4096)) (i32.store (i32.const 4) (local.get $bytes))
    (call $write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)))
  (func (export "_start") (local $n i32) BODY))"""
# Descriptor 3 is the frame's folder, 4 the first granted one, 5 the second.
A_BIN = "(i32.const 1024) (i32.const 5)"
LINK = "(i32.const 1040) (i32.const 4)"


def guest(body: str) -> str:
    return HEAD.replace('"W"', f'"{WASI}"').replace("DATA", DATA).replace("BODY", body)


def said(call: str) -> str:
    """Print the errno of a call."""
    return f"(call $say {call})"


def greedy(chunk_bytes: int, times: int) -> str:
    """Create a file and write to it until an errno or for that many times; print the last errno."""
    return f"""{said(f"(call $create (i32.const 4) {A_BIN})")}
      (block $out (loop $l
        (br_if $out (call $put (i32.load (i32.const 12)) (i32.const {chunk_bytes})))
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br_if $l (i32.lt_u (local.get $n) (i32.const {times})))))
      {said(f"(call $put (i32.load (i32.const 12)) (i32.const {chunk_bytes}))")}"""


class Shelves:
    """Two folders of an operator's, and guests that see them."""

    def __init__(self, workshop: Workshop, root: Path) -> None:
        self.workshop = workshop
        self.root = root
        self.results, self.photos = root / "results", root / "photos"
        self.results.mkdir()
        self.photos.mkdir()
        self.program: Program | None = None

    def run(
        self, body: str, frame: Frame, *, max_bytes: int = 64 * KIB, limits: str = ""
    ) -> list[int]:
        """Run a guest that may write /out and read /photos. Returns: what it printed."""
        self.workshop.grant(PolicySettings.model_validate({
            "read": ["photos"], "write": ["results"],
            "folders": {
                "photos": {"path": str(self.photos)},
                "results": {"path": str(self.results), "max_bytes": max_bytes},
            },
        }))  # fmt: skip
        manifest = '[folders]\n"/out" = { name = "results", write = true }\n"/photos" = "photos"\n'
        self.program = self.workshop.program(wasm(guest(body)), manifest + limits)
        answer = CommandRunner(self.program, self.root).run(frame)
        return [int(line) for line in answer.outputs]

    def used(self) -> int:
        return sum(os.stat(path).st_blocks * 512 for path in self.results.rglob("*"))

    def breaches(self) -> dict[str, int]:
        assert self.program is not None
        return dict(self.program.breaches.counts())


@pytest.fixture
def shelves(workshop: Workshop, tmp_path: Path) -> Shelves:
    return Shelves(workshop, tmp_path)


def test_a_granted_folder_is_written(shelves: Shelves, frame: Frame) -> None:
    """Within its bound a guest writes as on any disk, and nothing is counted."""
    told = shelves.run(greedy(1000, 3), frame)

    assert [0, 0] == told
    assert 4000 == (shelves.results / "a.bin").stat().st_size
    assert {} == shelves.breaches()


@pytest.mark.parametrize("chunk", [500, 4096, 50_000, 70_000], ids=lambda c: f"{c} a write")
def test_a_greedy_guest_stays_within_the_bound(shelves: Shelves, frame: Frame, chunk: int) -> None:
    """It gets ENOSPC, the disk no more than the bound, and that is a breach."""
    told = shelves.run(greedy(chunk, 1000), frame)

    assert [0, 51] == told
    assert shelves.used() <= 64 * KIB
    assert shelves.breaches()["folder_bytes"] >= 1


def test_small_writes_fill_the_folder_nearly(shelves: Shelves, frame: Frame) -> None:
    """What was charged too much is given back: 500 bytes at a time reach nine tenths of it."""
    shelves.run(greedy(500, 1000), frame)

    assert (shelves.results / "a.bin").stat().st_size > 0.8 * 64 * KIB


def test_a_file_written_over_again_takes_no_more(shelves: Shelves, frame: Frame) -> None:
    """The same 4 KiB a hundred times: ten times the bound in writes, one block on disk."""
    body = f"""{said(f"(call $create (i32.const 4) {A_BIN})")}
      (loop $l (drop (call $seek (i32.load (i32.const 12)) (i64.const 0) (i32.const 0)
          (i32.const 24)))
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (if (call $put (i32.load (i32.const 12)) (i32.const 4096)) (then {said("(i32.const 99)")}))
        (br_if $l (i32.lt_u (local.get $n) (i32.const 100))))"""

    assert [0] == shelves.run(body, frame)
    assert 4096 == (shelves.results / "a.bin").stat().st_size


@pytest.mark.parametrize(
    ("call", "errno"),
    [
        pytest.param("(call $allocate FD (i64.const 0) (i64.const 1000000))", 51, id="allocate"),
        pytest.param("(call $allocate FD (i64.const 0) (i64.const -1))", 51, id="allocate all"),
        pytest.param("(call $set_size FD (i64.const 1000000))", 22, id="set size"),
        pytest.param("(call $set_size FD (i64.const -1))", 22, id="set a huge size"),
        pytest.param("(call $set_size FD (i64.const 60000))", 0, id="set a size within"),
        pytest.param("(call $put FD (i32.const 1000000))", 51, id="write"),
        pytest.param(
            "(call $pwrite FD (i32.const 32) (i32.const 1) (i64.const 0) (i32.const 8))", 51,
            id="pwrite",
        ),
        pytest.param(
            "(call $write FD (i32.const 0) (i32.const -1) (i32.const 8))", 21, id="-1 vectors"
        ),
        pytest.param(
            "(call $write FD (i32.const -8) (i32.const 9) (i32.const 8))", 21, id="no vectors"
        ),
    ],
)  # fmt: skip
def test_every_way_to_grow_is_bounded(
    shelves: Shelves, frame: Frame, call: str, errno: int
) -> None:
    """Whatever the size and whatever the call; nothing of it is on disk."""
    vector = "(i32.store (i32.const 32) (i32.const 4096)) (i32.store (i32.const 36)"
    body = (
        f"(drop (call $create (i32.const 4) {A_BIN})) {vector} (i32.const 1000000))"
        f" {said(call.replace('FD', '(i32.load (i32.const 12))'))}"
    )

    assert [errno] == shelves.run(body, frame)
    assert shelves.used() <= 4 * KIB


def test_names_alone_are_bounded(shelves: Shelves, frame: Frame) -> None:
    """Empty folders, one in another would do as well, count a block each."""
    body = """(block $out (loop $l
        (i32.store (i32.const 1024) (i32.add (i32.const 0x61616161) (local.get $n)))
        (br_if $out (call $mkdir (i32.const 4) (i32.const 1024) (i32.const 4)))
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br_if $l (i32.lt_u (local.get $n) (i32.const 20)))))
      (call $say (local.get $n))"""
    (made,) = shelves.run(body, frame)

    assert 8 <= made <= 16
    assert made == len(list(shelves.results.iterdir()))
    assert 1 == shelves.breaches()["folder_bytes"]


@pytest.mark.parametrize(
    ("call", "errno"),
    [
        pytest.param(
            "(call $create (i32.const 5) (i32.const 1056) (i32.const 1))", 63, id="create"
        ),
        pytest.param("(call $mkdir (i32.const 5) (i32.const 1024) (i32.const 5))", 63, id="mkdir"),
        pytest.param(
            f"(call $rename (i32.const 5) {LINK} (i32.const 4) {A_BIN})", 63, id="rename out of it"
        ),
        pytest.param(
            f"(call $link (i32.const 5) (i32.const 0) {LINK} (i32.const 4) {A_BIN})", 63,
            id="link out of it",
        ),
        pytest.param(f"(call $symlink {A_BIN} (i32.const 4) {LINK})", 76, id="symlink"),
        pytest.param(f"(call $symlink {A_BIN} (i32.const 5) {LINK})", 76, id="symlink there"),
        pytest.param(
            "(call $create (i32.const 4) (i32.const 1056) (i32.const 2))", 63, id="leave upwards"
        ),
        pytest.param(
            "(call $open (i32.const 5) (i32.const 1) (i32.const 1024) (i32.const 5) (i32.const 0)"
            " (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 12))", 63,
            id="a link that leads out",
        ),
        pytest.param("(call $prestat (i32.const 6) (i32.const 64))", 8, id="a third folder"),
    ],
)  # fmt: skip
def test_what_is_not_granted_is_not_there(
    shelves: Shelves, frame: Frame, call: str, errno: int
) -> None:
    """Folders are to read unless said otherwise, links lead nowhere, there is no other folder."""
    (shelves.root / "secret").write_bytes(b"secret")
    (shelves.photos / "link").write_bytes(b"photo")
    (shelves.photos / "a.bin").symlink_to(shelves.root / "secret")

    assert [errno] == shelves.run(said(call), frame)
    assert [] == list(shelves.results.iterdir())
    assert ["a.bin", "link"] == sorted(path.name for path in shelves.photos.iterdir())


def test_standard_output_is_no_way_around(shelves: Shelves, frame: Frame) -> None:
    """Neither closed and given to a file, nor renumbered; what is printed stays a prediction."""
    body = f"""(drop (call $close (i32.const 1))) (drop (call $create (i32.const 4) {A_BIN}))
      {said("(call $renumber (i32.load (i32.const 12)) (i32.const 1))")}
      {said("(call $renumber (i32.load (i32.const 12)) (i32.const 5))")}
      {said("(call $put (i32.const 5) (i32.const 1000000))")}
      {said("(call $close (i32.const 5))")}"""

    assert [58, 0, 51, 0] == shelves.run(body, frame)
    assert shelves.used() <= 4 * KIB


def test_a_guest_may_write_before_it_begins(shelves: Shelves, frame: Frame) -> None:
    """From its start section, bounded as ever."""
    early = f"""(drop (call $create (i32.const 4) {A_BIN}))
      (drop (call $put (i32.load (i32.const 12)) (i32.const 9000)))
      (drop (call $put (i32.load (i32.const 12)) (i32.const 1000000)))"""
    shelves.run(f") (func $early {early}) (start $early", frame)

    assert 9000 == (shelves.results / "a.bin").stat().st_size


def test_counting_a_folder_is_paid_for(shelves: Shelves, frame: Frame) -> None:
    """A guest at its bound has the folder counted at every write: names count as host calls."""
    for number in range(80):
        (shelves.results / str(number)).touch()
    limits = "[limits]\nhost_calls = 100"
    with pytest.raises(GuestFailed, match="stopped after 100 calls of the host"):
        shelves.run(
            f"""(drop (call $create (i32.const 4) {A_BIN}))
            (loop $l (drop (call $put (i32.load (i32.const 12)) (i32.const 100000)))
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $l (i32.lt_u (local.get $n) (i32.const 50))))""",
            frame, max_bytes=400 * KIB, limits=limits,
        )  # fmt: skip

    assert shelves.used() <= 400 * KIB


def test_the_bound_is_of_the_folder(shelves: Shelves, frame: Frame) -> None:
    """What lies there already counts, whoever put it there, and who removes it makes room."""
    (shelves.results / "old").write_bytes(bytes(40 * KIB))
    full = shelves.run(greedy(20_000, 2), frame)
    (shelves.results / "old").unlink()

    assert [0, 51] == full
    assert [0, 0] == shelves.run(greedy(8000, 2), frame)


def test_a_folder_that_went_away_is_told(shelves: Shelves, frame: Frame) -> None:
    """By its name; the frame is refused, and nothing names where it should have been."""
    shelves.results.rmdir()

    with pytest.raises(Unavailable, match="app guest: folder results cannot be opened") as raised:
        shelves.run(greedy(1, 1), frame)
    assert str(shelves.root) not in str(raised.value)
