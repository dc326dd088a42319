"""The Unix socket: rights, leftovers, rivals. Tests of the whole process are in cli/test_serve."""

import grp
import os
import socket
from pathlib import Path

import pytest

from appliance.api.socket import bind
from appliance.errors import Conflict, Unavailable
from appliance.settings import Settings, load_settings


@pytest.fixture
def settings(state: Path) -> Settings:
    return load_settings(state=state)


def connect(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.connect(str(path))


def test_the_socket_is_there_inside_the_block_only(settings: Settings) -> None:
    """It can be connected to at once, and leaves no file behind."""
    with bind(settings):
        connect(settings.socket_path)

    assert not settings.socket_path.exists()


def test_rights_and_group_are_the_operators(state: Path) -> None:
    """socket_mode and socket_group are applied, whatever the umask says."""
    group = grp.getgrgid(os.getgid()).gr_name
    settings = load_settings(state=state, socket_mode="0600", socket_group=group)
    with bind(settings):
        status = settings.socket_path.stat()

    assert (0o600, os.getgid()) == (status.st_mode & 0o777, status.st_gid)


def test_a_socket_left_by_a_crash_is_replaced(settings: Settings) -> None:
    """Nobody answers on it, so it is nobody's."""
    settings.run_dir.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(settings.socket_path))

    with bind(settings):
        connect(settings.socket_path)


def test_a_socket_that_answers_is_left_alone(settings: Settings) -> None:
    """Two boxes over one state folder would spoil it; the first goes on."""
    with bind(settings):
        with pytest.raises(Conflict, match="another appliance answers there"), bind(settings):
            pass
        connect(settings.socket_path)


def test_a_box_that_hangs_is_still_a_rival(settings: Settings) -> None:
    """A full backlog is no reason to wait, nor to take its place."""
    settings.run_dir.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as hung:
        hung.bind(str(settings.socket_path))
        hung.listen(0)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as waiting:
            waiting.connect(str(settings.socket_path))
            with pytest.raises(Conflict, match="another appliance"), bind(settings):
                pass
    settings.socket_path.unlink()


def test_a_file_that_is_no_socket_is_not_removed(settings: Settings) -> None:
    """Whatever a user keeps there is not ours to delete."""
    settings.run_dir.mkdir(parents=True, exist_ok=True)
    settings.socket_path.write_text("mine")
    with pytest.raises((Conflict, Unavailable), match="a file that is no socket"), bind(settings):
        pass

    assert "mine" == settings.socket_path.read_text()
    settings.socket_path.unlink()


def test_an_unknown_group_is_refused(state: Path) -> None:
    """A misspelt group must not leave a socket that the wrong people can open."""
    settings = load_settings(state=state, socket_group="no-such-group")
    with pytest.raises(Unavailable, match="no-such-group"), bind(settings):
        pass

    assert not settings.socket_path.exists()
