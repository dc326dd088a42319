"""How long a dropped file is waited for: what is whole at once, and what only time can tell."""

import os
from pathlib import Path

import pytest

from appliance.quiet import ALONE_S, QUIET_S, is_closed, quiet_s_of
from tests.appliance import watguests as guests
from tests.appliance.test_bundles import zipped

MANIFEST = b'name = "cat"'


def put(folder: Path, name: str, content: bytes = guests.STEADY) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def test_a_guest_alone_waits_for_its_manifest(tmp_path: Path) -> None:
    """`cp x.wasm x.toml` writes the guest first."""
    assert ALONE_S == quiet_s_of(put(tmp_path, "x.wasm"))


@pytest.mark.parametrize("name", ["x.wasm", "x.zip"])
def test_a_guest_with_its_manifest_beside_it_waits_for_nothing(tmp_path: Path, name: str) -> None:
    """Both are whole."""
    put(tmp_path, "x.toml", MANIFEST)

    assert 0.0 == quiet_s_of(put(tmp_path, name))


def test_an_archive_with_a_manifest_waits_for_nothing(tmp_path: Path) -> None:
    """It brings all; one without waits as a lone guest does."""
    whole = zipped(("a.wasm", guests.STEADY), ("app.toml", MANIFEST))

    assert 0.0 == quiet_s_of(put(tmp_path, "x.zip", whole))
    assert ALONE_S == quiet_s_of(put(tmp_path, "y.zip", zipped(("a.wasm", guests.STEADY))))


@pytest.mark.parametrize("name", ["x.wasm", "x.toml", "x.wasm.sig"])
def test_a_file_that_is_being_written_is_waited_for(tmp_path: Path, name: str) -> None:
    """Also if all of it seems to be there: the guest, its manifest, or its signature."""
    path = put(tmp_path, "x.wasm")
    put(tmp_path, "x.toml", MANIFEST)
    put(tmp_path, "x.wasm.sig", b"signature")

    with (tmp_path / name).open("ab"):
        assert QUIET_S == quiet_s_of(path)
    assert 0.0 == quiet_s_of(path)


def test_what_nobody_can_tell_is_not_closed(tmp_path: Path) -> None:
    """Empty, gone, a link, a folder, a FIFO: none of them holds anybody up."""
    put(tmp_path, "empty", b"")
    (tmp_path / "link").symlink_to(put(tmp_path, "file"))
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")

    names = ("empty", "gone", "link", "folder", "fifo", "file")
    assert [False] * 5 + [True] == [is_closed(tmp_path / name) for name in names]


def test_looking_leaves_the_file_to_the_next_writer(tmp_path: Path) -> None:
    """The lease is given back at once: nobody waits for it to be broken."""
    path = put(tmp_path, "x.wasm")
    assert is_closed(path)
    descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    os.close(descriptor)

    assert is_closed(path)
