"""The Unix socket: who may open it, whose place it may take, and how it ends.

A socket file that nobody answers on is left over from a crash and is replaced; one that somebody
answers on means another box runs over this state folder, and we refuse to start.
"""

import errno
import grp
import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from appliance.errors import Conflict, Unavailable
from appliance.files import make_dirs
from appliance.settings import Settings

log = logging.getLogger(__name__)

BACKLOG = 128
_GRACE_S = 10


@contextmanager
def bind(settings: Settings) -> Iterator[socket.socket]:
    """Open the listening socket with its rights; it is removed when the block ends.

    Raises: Conflict if another box answers there; Unavailable if the place or group is not to
    be had.
    """
    listener = _open(settings)
    try:
        yield listener
    finally:
        listener.close()
        settings.socket_path.unlink(missing_ok=True)


def _open(settings: Settings) -> socket.socket:
    path = settings.socket_path
    clear_way(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with closed_umask():
            listener.bind(str(path))
        set_rights(path, settings)
        listener.listen(BACKLOG)
    except (OSError, KeyError) as exc:
        if listener.getsockname():
            path.unlink(missing_ok=True)
        listener.close()
        raise Unavailable(f"socket {path.name}: cannot be opened: {exc}") from exc
    return listener


@contextmanager
def closed_umask() -> Iterator[None]:
    """Let nobody but us connect to a socket that is bound inside, until its rights are set."""
    old = os.umask(0o177)
    try:
        yield
    finally:
        os.umask(old)


def set_rights(path: Path, settings: Settings) -> None:
    """Give a socket its group and its rights. Raises: OSError; KeyError for an unknown group."""
    if settings.socket_group is not None:
        os.chown(path, -1, grp.getgrnam(settings.socket_group).gr_gid)
    path.chmod(settings.socket_mode)


def clear_way(path: Path) -> None:
    """Make the socket's folder, and remove a socket file that nobody answers on.

    Raises: Conflict if somebody answers there; Unavailable if the place is not to be had.
    """
    make_dirs(path.parent)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # A box that hangs with a full backlog would keep a blocking connect waiting for ever.
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except FileNotFoundError:
            return
        except BlockingIOError:
            pass
        except OSError as exc:
            if exc.errno != errno.ECONNREFUSED:
                raise Unavailable(f"socket {path.name}: {exc.strerror}") from exc
            # Connecting to a plain file is refused in the same words.
            if not path.is_socket():
                raise Unavailable(f"socket {path.name}: a file that is no socket is there") from exc
            path.unlink(missing_ok=True)
            log.info("socket left over from a crash replaced path=%s", path.name)
            return
    raise Conflict(
        f"socket {path}: another appliance answers there; stop it or use another --state"
    )


class _Server(uvicorn.Server):
    """Says when it answers, and takes signals from then on."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()


def serve(api: FastAPI, listener: socket.socket, on_ready: Callable[[], None]) -> None:
    """Serve until SIGINT or SIGTERM; what is under way is finished first.

    on_ready: called once requests are answered and a signal ends it in order.
    """
    config = uvicorn.Config(
        api, log_config=None, access_log=False, lifespan="off", server_header=False,
        timeout_graceful_shutdown=_GRACE_S, ws="none",
    )  # fmt: skip
    _Server(config, on_ready).run(sockets=[listener])
