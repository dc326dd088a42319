"""The throw-away process: ended when late, with the box, and never believed."""

import os
import select
import signal
import subprocess
import sys

import pytest

from appliance.errors import ApplianceError, BadGuest, FailureReason, GuestFailed, Unavailable
from appliance.trials import wording
from appliance.trials.process import Errand, Lost, ProcessBounds, Throwaway

BOUNDS = ProcessBounds(memory_bytes=1024**3, cpu_s=60)
# What an errand looks like that nobody can do.
NONSENSE = Errand({"app": {"colour": "red"}}, (), {})
_HOLDER = """
import signal
from appliance.trials.process import ProcessBounds, Throwaway
with Throwaway(ProcessBounds(1024**3, 60)) as process:
    print(process.pid, flush=True)
    signal.pause()
"""


def has_ended(pidfd: int, timeout_s: float = 20.0) -> bool:
    """Wait for a process's end."""
    return bool(select.select([pidfd], [], [], timeout_s)[0])


def test_it_dies_with_the_box() -> None:
    """Also if the box is killed and can end nothing any more."""
    with subprocess.Popen([sys.executable, "-c", _HOLDER], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        pidfd = os.pidfd_open(int(holder.stdout.readline()))
        holder.kill()

    is_over = has_ended(pidfd)
    os.close(pidfd)
    assert is_over


def test_it_is_ended_with_the_block() -> None:
    """Whatever it was at."""
    with Throwaway(BOUNDS) as process:
        pidfd = os.pidfd_open(process.pid)

    is_over = has_ended(pidfd, 0)
    os.close(pidfd)
    assert is_over


def test_its_own_failure_is_told() -> None:
    """An errand that raises there is an answer here, without an outcome."""
    with Throwaway(BOUNDS) as process:
        assert {"error": None} == process.ask(NONSENSE)


def test_the_kernels_kill_is_told() -> None:
    """Such as for want of memory on the machine."""
    with Throwaway(BOUNDS) as process:
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(Lost, match=r"crashed \(signal 9\) at stage start"):
            process.ask(NONSENSE)


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(BadGuest("guest: no"), id="plain"),
        pytest.param(GuestFailed("stopped", reason=FailureReason.FUEL), id="with a reason"),
    ],
)
def test_an_error_comes_back_as_it_was(error: ApplianceError) -> None:
    """Its kind, its sentence, and a failed guest's reason."""
    back = wording.from_json(wording.to_json(error))

    assert (type(error), str(error), getattr(error, "reason", None)) == (
        type(back), str(back), getattr(back, "reason", None),
    )  # fmt: skip


@pytest.mark.parametrize(
    "value",
    [None, {}, {"kind": "SystemExit", "sentence": "x"}, {"kind": "BadGuest"}, [1],
     {"kind": "GuestFailed", "sentence": "x", "reason": "none"}],
    ids=["null", "empty", "foreign", "half", "list", "reason"],
)  # fmt: skip
def test_nonsense_is_an_error_too(value: object) -> None:
    """A process that was taken over can say what it likes."""
    assert isinstance(wording.from_json(value), Unavailable)
