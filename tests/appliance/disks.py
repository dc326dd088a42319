"""Small real disks: mounted for a test, filled, and turned read-only under a running box."""

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.appliance.service import Service

_BLOCK_BYTES = 4096


def _run(*command: str | Path) -> str:
    return subprocess.run(
        [str(word) for word in command], check=True, capture_output=True, text=True, timeout=60
    ).stdout


@contextlib.contextmanager
def mounted(*options: str | Path) -> Iterator[Path]:
    """Mount something at a state folder with a short name; skip where that is not allowed."""
    top = Path(tempfile.mkdtemp(prefix="disk-", dir="/tmp"))
    state = top / "state"
    state.mkdir()
    try:
        try:
            _run("mount", *options, state)
        except (OSError, subprocess.CalledProcessError) as exc:
            said = getattr(exc, "stderr", "") or str(exc)
            pytest.skip(f"no disk can be mounted here: {said.strip()[:200]}")
        try:
            yield state
        finally:
            # Lazily: a box that a failed test left may still have files open.
            _run("umount", "--lazy", state)
    finally:
        shutil.rmtree(top, ignore_errors=True)


@contextlib.contextmanager
def small_disk(size: str) -> Iterator[Path]:
    """A state folder on a disk of so many bytes, in memory."""
    with mounted("-t", "tmpfs", "-o", f"size={size}", "none") as state:
        yield state


@contextlib.contextmanager
def failing_disk() -> Iterator[Path]:
    """A state folder on an ext4 of 24 MiB that turns read-only at the first error."""
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("no disk can be made here: no mkfs.ext4")
    with tempfile.NamedTemporaryFile(prefix="disk-", dir="/tmp") as image:
        image.truncate(24 * 1024 * 1024)
        _run("mkfs.ext4", "-q", image.name)
        with mounted("-o", "loop,errors=remount-ro", image.name) as state:
            yield state


def fill(state: Path) -> Path:
    """Leave not one byte. Returns: the file to remove."""
    filler = state / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (_BLOCK_BYTES, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * size)
    return filler


def fail(state: Path) -> None:
    """Have the kernel find an error on the disk."""
    device = _run("findmnt", "-n", "-o", "SOURCE", state).strip().rpartition("/")[2]
    try:
        Path(f"/sys/fs/ext4/{device}/trigger_fs_error").write_text("test")
    except OSError as exc:
        pytest.skip(f"the disk cannot be made to fail here: {exc}")


def answered(box: Service, picture: bytes) -> tuple[int, str, bool]:
    """Show a picture. Returns: the status, the label, and whether it was stored."""
    response = box.show("cat", picture)
    answer = response.json()
    return response.status_code, answer["predictions"][0]["label"], answer["is_stored"]
