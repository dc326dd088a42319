"""The throw-away process: does one errand, tells, and ends.

python -m appliance.trials.worker SOCKET_FD MAX_MEMORY_BYTES MAX_CPU_S PARENT_PID
"""

import contextlib
import ctypes
import logging
import os
import resource
import signal
import socket
import sys
from typing import Any

from appliance.errors import ApplianceError
from appliance.isolation import wire
from appliance.isolation.blobs import read_blobs
from appliance.trials import errands, wording

log = logging.getLogger(__name__)

# linux/prctl.h.
_PR_SET_PDEATHSIG = 1
# Of what it may write: command guests' frames.
_MAX_FILE_BYTES = 1024**3
# Between SIGXCPU, which says why, and SIGKILL.
_CPU_GRACE_S = 2


def main(arguments: list[str]) -> None:
    """Do it; see the module's text."""
    fd, memory_bytes, cpu_s, parent = map(int, arguments)
    _die_with(parent)
    _bound(memory_bytes, cpu_s)
    control = socket.socket(fileno=fd)
    message, fds = wire.receive(control)
    blobs = read_blobs(fds[0], message["sizes"])
    wire.send(control, _outcome(message, blobs, control))
    # At once: a runtime's own clean-up may hang, and nobody needs it.
    os._exit(0)


def _outcome(
    message: dict[str, Any], blobs: list[bytes], control: socket.socket
) -> dict[str, Any]:  # fmt: skip
    try:
        return errands.do(message, blobs, lambda stage: wire.send(control, {"stage": stage}))
    except ApplianceError as exc:
        return {"error": wording.to_json(exc)}
    except MemoryError:
        # Its last words say what it met; the box reads them.
        log.exception("MemoryError")
        os._exit(1)
    except Exception:
        # The process's outermost frame.
        log.exception("trial failed")
        return {"error": None}


def _die_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        # It had gone before the kernel was told.
        os._exit(1)


def _bound(memory_bytes: int, cpu_s: int) -> None:
    _lower(resource.RLIMIT_DATA, memory_bytes)
    _lower(resource.RLIMIT_CPU, cpu_s, _CPU_GRACE_S)
    _lower(resource.RLIMIT_FSIZE, _MAX_FILE_BYTES)
    # A crash is expected here; its core would fill the box's disk.
    _lower(resource.RLIMIT_CORE, 0)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        # If the machine has no memory left, this process goes first and not the box.
        file.write("1000")


def _lower(what: int, limit: int, room: int = 0) -> None:
    """Set a limit that is told of, and the one above it by so much that ends."""
    _, hard = resource.getrlimit(what)
    if hard != resource.RLIM_INFINITY:
        limit = min(limit, hard - room)
    resource.setrlimit(what, (limit, limit + room))


if __name__ == "__main__":
    main(sys.argv[1:])
