"""Where the box listens: TCP never by accident, and what systemd opened is systemd's."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from appliance.api.listeners import listen
from appliance.errors import BadSettings, Conflict, Unavailable
from appliance.settings import inherited_sockets, load_settings
from tests.appliance.api.wire import Wire
from tests.appliance.service import ROOT

TOKEN = "0123456789abcdef0123456789abcdef"
Listen = Callable[..., list[str]]


@pytest.fixture
def names(state: Path) -> Listen:
    """Open the listeners of a [tcp] table and name them."""

    def opened(**tcp: object) -> list[str]:
        with listen(load_settings(state=state, tcp=tcp or None)) as listeners:
            return [listener.name.rpartition(":")[0] for listener in listeners.all[1:]]

    return opened


def test_there_is_no_tcp_unless_asked(names: Listen) -> None:
    """The Unix socket alone."""
    assert [] == names()


@pytest.mark.parametrize(
    ("tcp", "name"),
    [
        pytest.param({"token": TOKEN}, "http://127.0.0.1", id="loopback with a token"),
        pytest.param(
            {"allow_loopback_without_token": True}, "http://127.0.0.1", id="loopback waived"
        ),
        pytest.param({"host": "0.0.0.0", "token": TOKEN}, "http://0.0.0.0", id="all, with a token"),
        pytest.param({"host": "localhost", "token": TOKEN}, "http://", id="by name"),
    ],
)
def test_tcp_is_opened_where_it_is_safe(names: Listen, tcp: dict[str, object], name: str) -> None:
    """On loopback by default, elsewhere with a token."""
    (found,) = names(port=0, **tcp)

    assert found.startswith(name)


@pytest.mark.parametrize(
    ("tcp", "sentence"),
    [
        pytest.param({}, "no token; set .tcp. token or token_file, or allow", id="loopback"),
        pytest.param({"host": "0.0.0.0"}, "0.0.0.0 can be reached from elsewhere", id="all"),
        pytest.param(
            {"host": "0.0.0.0", "allow_loopback_without_token": True},
            "can be reached from elsewhere", id="the waiver is for loopback",
        ),
        pytest.param({"token": "short"}, "has 5 characters, wanted at least 16", id="short"),
        pytest.param({"token": "with a space in the middle"}, "other characters", id="space"),
        pytest.param({"token": TOKEN, "token_file": "/x"}, "wanted one of them", id="two tokens"),
        pytest.param({"token_file": "/no/such/place"}, "token_file place: cannot", id="no file"),
        pytest.param({"token": TOKEN, "tls_cert": "/x"}, "wanted both or neither", id="half TLS"),
        pytest.param(
            {"token": TOKEN, "tls_cert": "/no/cert", "tls_key": "/no/key"},
            "tls_cert cert: cannot be read", id="no certificate",
        ),
        pytest.param(
            {"token": TOKEN, "tls_cert": __file__, "tls_key": __file__},
            "tls_cert and tls_key: not usable", id="no PEM",
        ),
    ],
)  # fmt: skip
def test_the_box_does_not_start_open_or_half_set_up(
    names: Listen, tcp: dict[str, object], sentence: str
) -> None:
    """One sentence that says what to set, and never the token."""
    with pytest.raises(BadSettings, match=sentence) as caught:
        names(port=0, **tcp)

    assert str(tcp.get("token", "no token here")) not in str(caught.value)


def test_a_token_may_stand_in_a_file(state: Path, tmp_path: Path) -> None:
    """The line end that an editor adds is not part of it."""
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    tcp = {"port": 0, "token_file": tmp_path / "token"}
    with listen(load_settings(state=state, tcp=tcp)) as listeners:
        assert TOKEN.encode() == listeners.token


def test_a_token_is_shown_nowhere(state: Path) -> None:
    """Neither by the settings nor by what is said of a wrong one."""
    settings = load_settings(state=state, tcp={"port": 0, "token": TOKEN})
    with pytest.raises(BadSettings, match=r"tcp\.token: got another value") as caught:
        load_settings(state=state, tcp={"port": 0, "token": [TOKEN]})

    assert TOKEN not in f"{settings!r}{settings}{caught.value}"


def test_a_port_that_is_taken_is_told(names: Listen) -> None:
    """With where to change it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Unavailable, match=f"127.0.0.1 port {port} cannot be opened: Address"):
            names(port=port, token=TOKEN)


def test_tcp_sends_at_once(state: Path) -> None:
    """Nagle's algorithm would hold small answers back for 40 ms."""
    with listen(load_settings(state=state, tcp={"port": 0, "token": TOKEN})) as listeners:
        tcp = listeners.all[1].socket
        assert 1 == tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_failure_leaves_nothing_behind(names: Listen, state: Path) -> None:
    """Neither the Unix socket nor the hold on the state folder."""
    with pytest.raises(BadSettings, match="no token"):
        names(port=0)

    assert not (state / "run" / "appliance.sock").exists()
    assert [] == names()


def test_a_second_box_is_refused_whatever_it_listens_on(state: Path) -> None:
    """The state folder is held by a lock, which two that start at once cannot both have."""
    settings = load_settings(state=state)
    with listen(settings):
        settings.socket_path.unlink()
        with pytest.raises(Conflict, match="another appliance"), listen(settings):
            pass


@pytest.mark.parametrize(
    ("given", "found"),
    [
        pytest.param({"LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b"}, {3: "a", 4: "b"}, id="named"),
        pytest.param({"LISTEN_FDS": "2", "LISTEN_FDNAMES": "a"}, {3: "a", 4: ""}, id="half named"),
        pytest.param({"LISTEN_FDS": "1"}, {3: ""}, id="unnamed"),
        pytest.param({"LISTEN_FDS": "1", "LISTEN_PID": "1"}, {}, id="for another process"),
        pytest.param({"LISTEN_FDS": "-1"}, {}, id="nonsense"),
        pytest.param({}, {}, id="none"),
    ],
)
def test_sockets_of_systemd_are_told_once(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], found: dict[int, str]
) -> None:
    """By the rules of sd_listen_fds(3); a child does not take them for its own."""
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"LISTEN_PID": str(os.getpid()), **given}.items():
        monkeypatch.setenv(name, value)

    assert [found, {}] == [inherited_sockets(), inherited_sockets()]


# What systemd does between fork and exec.
_ACTIVATE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_PID"] = str(os.getpid())
os.environ["LISTEN_FDS"] = "1"
os.execv(sys.executable, [sys.executable, "-m", "appliance", "serve", "--state", sys.argv[2]])
"""


def activate(state: Path, given: socket.socket) -> subprocess.Popen[bytes]:
    """Start a box as systemd does, with this socket."""
    command = [sys.executable, "-c", _ACTIVATE, str(given.fileno()), str(state)]
    with (state.parent / "log").open("wb") as log:
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, pass_fds=[given.fileno()], cwd=ROOT
        )


@pytest.fixture
def unix(tmp_path: Path) -> Iterator[socket.socket]:
    """A listening Unix socket, as systemd makes one."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
        made.bind(str(tmp_path / "s"))
        made.listen()
        yield made


def test_a_socket_of_systemd_is_served_and_stays(
    unix: socket.socket, state: Path, tmp_path: Path
) -> None:
    """A client that came before the box is answered; the file is there after the stop."""
    state.mkdir(exist_ok=True)
    with Wire(tmp_path / "s") as early, activate(state, unix) as box:
        early.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert 200 == early.reply().status
        assert box.stdout is not None
        said = [box.stdout.readline().decode().strip() for _ in range(2)]
        with Wire(state / "run" / "appliance.sock") as own:
            assert 200 == own.ask("GET /readyz HTTP/1.1").status
        box.terminate()
        assert 0 == box.wait(60)

    assert [f"listening on {state}/run/appliance.sock", f"listening on {tmp_path}/s"] == said
    assert (True, False) == ((tmp_path / "s").exists(), (state / "run/appliance.sock").exists())


def test_systemd_may_hold_the_boxs_own_place(state: Path) -> None:
    """Then it is that socket, and it is not removed."""
    path = load_settings(state=state).socket_path
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as made:
        made.bind(str(path))
        made.listen()
        with activate(state, made) as box:
            assert box.stdout is not None
            assert f"listening on {path}" == box.stdout.readline().decode().strip()
            with Wire(path) as wire:
                assert 200 == wire.ask("GET /readyz HTTP/1.1").status
            box.terminate()
            assert 0 == box.wait(60)

        assert path.exists()
        path.unlink()


def test_tcp_of_systemd_needs_a_token_too(state: Path) -> None:
    """However the port was opened."""
    state.mkdir(exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as made, activate(state, made) as box:
        assert 1 == box.wait(60)

    assert "tcp: no token; set [tcp] token" in (state.parent / "log").read_text()
