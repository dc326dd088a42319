"""The box's own Unix socket: who may open it, whose place it may take, and how it ends.

A socket file that nobody answers on is left over from a crash and is replaced; one that somebody
answers on means another box runs over this state folder, and we refuse to start.
"""

import errno
import fcntl
import grp
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from appliance.errors import Conflict, Unavailable
from appliance.files import make_dirs
from appliance.settings import Settings

log = logging.getLogger(__name__)

BACKLOG = 128


@contextmanager
def bind(settings: Settings, given: socket.socket | None = None) -> Iterator[socket.socket]:
    """Open the listening socket with its rights; it is removed when the block ends.

    given: one that systemd has bound there already; it stays systemd's and is not removed.
    Raises: Conflict if another box runs over this state folder; Unavailable if the place or the
    group is not to be had.
    """
    make_dirs(settings.run_dir)
    with _alone(settings.run_dir):
        if given is not None:
            yield given
            return
        listener = _open(settings)
        try:
            yield listener
        finally:
            listener.close()
            settings.socket_path.unlink(missing_ok=True)


@contextmanager
def _alone(run_dir: Path) -> Iterator[None]:
    """Hold the state folder: of two boxes that start at once, only one finds the socket stale."""
    try:
        descriptor = os.open(run_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise Unavailable(f"lock: cannot be opened: {exc.strerror}") from exc
    try:
        # The kernel lets go of it however the process ends, so it is never stale.
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise Conflict(
                f"socket {run_dir / 'appliance.sock'}: another appliance answers there; stop it or"
                " use another --state"
            ) from exc
        yield
    finally:
        os.close(descriptor)


def _open(settings: Settings) -> socket.socket:
    path = settings.socket_path
    clear_way(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _claim_folder(settings)
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


def _claim_folder(settings: Settings) -> None:
    """Let owner and group, nobody else, reach the socket; a wider umask or chmod is undone.

    The group must also be able to pass through the folders above, which are the operator's.
    """
    settings.run_dir.chmod(0o750)
    if settings.socket_group is not None:
        os.chown(settings.run_dir, -1, grp.getgrnam(settings.socket_group).gr_gid)


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
    """Remove a socket file that nobody answers on.

    Raises: Conflict if somebody answers there; Unavailable if the place is not to be had.
    """
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
