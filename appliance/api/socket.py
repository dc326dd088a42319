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
from contextlib import contextmanager, suppress
from pathlib import Path

from appliance.errors import Conflict, Unavailable
from appliance.files import is_read_only, make_dirs
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
    _make_folders(settings)
    with _alone(settings.state, settings), _alone(settings.run_dir, settings):
        if given is not None:
            yield given
            return
        listener = _open(settings)
        try:
            yield listener
        finally:
            listener.close()
            # On a disk that has become read-only it stays, for the next start to remove.
            with suppress(OSError):
                settings.socket_path.unlink(missing_ok=True)


def _make_folders(settings: Settings) -> None:
    """Raises: Unavailable, saying what to do about a state folder that cannot be written."""
    try:
        make_dirs(settings.state)
        make_dirs(settings.run_dir)
    except Unavailable as exc:
        raise Unavailable(f"{exc}{_cure(settings)}") from exc


def _cure(settings: Settings) -> str:
    if settings.run is not None or not is_read_only(settings.state):
        return ""
    return (
        "; the state folder is read-only: set `run` (APPLIANCE_RUN) to a folder in memory, such as "
        "/run/appliance, and the box serves from it what is deployed, without history"
    )


@contextmanager
def _alone(folder: Path, settings: Settings) -> Iterator[None]:
    """Hold a folder: of two boxes that start at once, only one finds the socket stale."""
    try:
        # The folder itself, opened for reading: it can be held on a read-only disk.
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as exc:
        raise Unavailable(f"{folder.name}: cannot be opened: {exc.strerror}") from exc
    try:
        # The kernel lets go of it however the process ends, so it is never stale.
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise Conflict(
                f"socket {settings.socket_path}: another appliance answers there; stop it or"
                " use another --state"
            ) from exc
        yield
    finally:
        os.close(descriptor)


def _open(settings: Settings) -> socket.socket:
    path = settings.socket_path
    try:
        clear_way(path)
    except Unavailable as exc:
        raise Unavailable(f"{exc}{_cure(settings)}") from exc
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
        reason = exc.strerror if isinstance(exc, OSError) else exc
        raise Unavailable(
            f"socket {path.name}: cannot be opened: {reason}{_cure(settings)}"
        ) from exc
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
            try:
                path.unlink(missing_ok=True)
            except OSError as gone_wrong:
                raise Unavailable(
                    f"socket {path.name}: left over, and cannot be removed: {gone_wrong.strerror}"
                ) from gone_wrong
            log.info("socket left over from a crash replaced path=%s", path.name)
            return
    raise Conflict(
        f"socket {path}: another appliance answers there; stop it or use another --state"
    )
