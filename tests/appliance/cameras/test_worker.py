"""What a worker leaves behind: nothing. And what it is told, nobody else sees."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.appliance.cameras.conftest import Run
from tests.appliance.cameras.films import encode
from tests.appliance.cameras.servers import mjpeg
from tests.appliance.cameras.test_http import PICTURES
from tests.appliance.cameras.watching import TIMEOUT_S, next_frame


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return encode(tmp_path / "a.mp4", size_wh=(64, 48))


@pytest.fixture
def keeper(film: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds a camera."""
    command = (sys.executable, "-m", "tests.appliance.cameras.keeper", f"{film}?loop=1")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def said(keeper: subprocess.Popen[str]) -> list[str]:
    assert keeper.stdout is not None
    return keeper.stdout.readline().split()


def test_a_killed_box_leaves_nothing(keeper: subprocess.Popen[str]) -> None:
    """The worker ends with it, and no shared memory has a name that could stay."""
    names = set(os.listdir("/dev/shm"))
    worker = os.pidfd_open(int(said(keeper)[0]))
    keeper.kill()
    ended, _, _ = select.select([worker], [], [], TIMEOUT_S)
    os.close(worker)

    assert ended
    assert set() == {n for n in set(os.listdir("/dev/shm")) - names if "camera" in n}


def test_a_frozen_box_does_not_stop_its_worker(keeper: subprocess.Popen[str]) -> None:
    """The camera waits for nobody; it goes on decoding, and ends when the box goes on to die."""
    worker = int(said(keeper)[0])
    os.kill(keeper.pid, signal.SIGSTOP)
    before = _cpu(worker)
    while _cpu(worker) < before + 3:
        select.select([], [], [], 0.05)
    fd = os.pidfd_open(worker)
    keeper.kill()
    ended, _, _ = select.select([fd], [], [], TIMEOUT_S)
    os.close(fd)

    assert ended


def _cpu(pid: int) -> int:
    """Clock ticks used by a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_the_service_does_not_load_the_decoder(keeper: subprocess.Popen[str]) -> None:
    """PyAV and its FFmpeg are in the worker only."""
    assert "False" == said(keeper)[1]


def test_the_password_is_not_in_the_process_list(run: Run) -> None:
    """Neither among the arguments nor in the environment: the worker got it by its pipe."""
    with mjpeg(PICTURES, "hang") as address:
        camera = run(f"http://joe:hunter2@{address}")
        with next_frame(camera):
            process = Path(f"/proc/{camera.worker_pid}")
            seen = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        camera.stop()

    assert b"appliance.cameras.worker" in seen
    assert b"hunter2" not in seen


def test_a_worker_has_few_threads(run: Run, film: Path) -> None:
    """The cores are for inference."""
    camera = run(f"{film}?loop=1")
    with next_frame(camera):
        threads = os.listdir(f"/proc/{camera.worker_pid}/task")

    assert len(threads) <= 3


def test_memory_is_bounded_and_no_core_is_left(run: Run, film: Path) -> None:
    """A hostile stream fails alone; a core file would hold the password."""
    camera = run(f"{film}?loop=1")
    with next_frame(camera):
        limits = Path(f"/proc/{camera.worker_pid}/limits").read_text().splitlines()

    assert ["1073741824"] == [line.split()[3] for line in limits if "data size" in line]
    assert ["0"] == [line.split()[4] for line in limits if "core file" in line]


def test_a_worker_without_a_job_ends() -> None:
    """The box died between starting it and telling it what to do."""
    ended = subprocess.run(
        (sys.executable, "-m", "appliance.cameras.worker"), stdin=subprocess.DEVNULL,
        capture_output=True, check=False, timeout=TIMEOUT_S,
    )  # fmt: skip

    assert (0, b"", b"") == (ended.returncode, ended.stdout, ended.stderr)
