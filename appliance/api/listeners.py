"""Where the box listens: its Unix socket, those that systemd gave it, and TCP if asked.

The Unix socket asks for no token: its rights say who may open it. TCP asks for one, on loopback
too unless the operator waives it there; a box that would be open to a network does not start.
"""

import ipaddress
import logging
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from appliance.api.socket import BACKLOG, bind
from appliance.errors import BadSettings, Unavailable
from appliance.listening import Tcp
from appliance.settings import Settings, inherited_sockets

log = logging.getLogger(__name__)

_MIN_TOKEN_LENGTH = 16
_MAX_TOKEN_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket.   tls: None for plain HTTP."""

    socket: socket.socket
    tls: ssl.SSLContext | None = None

    @property
    def is_local(self) -> bool:
        return self.socket.family == socket.AF_UNIX

    @property
    def name(self) -> str:
        """Give what a person reads: a path or a URL."""
        where = self.socket.getsockname()
        if self.is_local:
            return str(where)
        host = f"[{where[0]}]" if ":" in where[0] else where[0]
        return f"{'http' if self.tls is None else 'https'}://{host}:{where[1]}"


@dataclass(frozen=True, slots=True)
class Listeners:
    """All sockets of a box, its own Unix socket first.

    token: what TCP asks for; None if there is no TCP, or none is wanted.
    made: the socket file that the box itself made, if it did.
    """

    all: tuple[Listener, ...]
    token: bytes | None
    made: Path | None


@contextmanager
def listen(settings: Settings) -> Iterator[Listeners]:
    """Open everything; closed when the block ends, and what the box itself made is removed.

    Raises: BadSettings if TCP would be open to strangers; Conflict if another box runs over the
    state folder; Unavailable if a place is not to be had.
    """
    given = _given()
    tcp = settings.tcp
    is_tcp = tcp is not None or any(not listener.is_local for listener in given)
    tls = None if tcp is None else _tls_of(tcp)
    token = _token_of(tcp or Tcp(port=0)) if is_tcp else None
    with ExitStack() as opened:
        for one in given:
            opened.enter_context(one.socket)
        path = str(settings.socket_path)
        named = [one for one in given if one.is_local and one.name == path]
        own = opened.enter_context(bind(settings, named[0].socket if named else None))
        found = [Listener(own)]
        found += [Listener(one.socket, None if one.is_local else tls)
                  for one in given if one not in named]  # fmt: skip
        if tcp is not None and not any(not one.is_local for one in given):
            found.append(Listener(opened.enter_context(_open_tcp(tcp)), tls))
        for one in found:
            if not one.is_local:
                _check_open(one.socket, token, tcp)
                one.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield Listeners(tuple(found), token, None if named else settings.socket_path)


def _given() -> list[Listener]:
    """Take over the sockets that systemd opened. Raises: BadSettings."""
    taken = []
    for descriptor, name in inherited_sockets().items():
        try:
            one = socket.socket(fileno=descriptor)
            os.set_inheritable(descriptor, False)
            is_listening = one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
        except OSError as exc:
            raise BadSettings(f"socket {name or descriptor} of systemd: {exc.strerror}") from exc
        families = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6)
        if one.type != socket.SOCK_STREAM or not is_listening or one.family not in families:
            raise BadSettings(
                f"socket {name or descriptor} of systemd: wanted ListenStream= of a path or a port,"
                " with Accept=no"
            )
        taken.append(Listener(one))
        log.info("open socket taken over name=%s address=%s", name, taken[-1].name)
    return taken


def _open_tcp(tcp: Tcp) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(
            tcp.host, tcp.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as exc:
        raise Unavailable(
            f"tcp: {tcp.host} port {tcp.port} cannot be opened: {exc.strerror}; change [tcp]"
        ) from exc


def _check_open(listener: socket.socket, token: bytes | None, tcp: Tcp | None) -> None:
    """Refuse to listen without a token where that was not said in so many words."""
    if token is not None:
        return
    host = listener.getsockname()[0]
    if not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
        raise BadSettings(
            f"tcp: {host} can be reached from elsewhere and there is no token; set [tcp] token or"
            " token_file"
        )
    if tcp is None or not tcp.allow_loopback_without_token:
        raise BadSettings(
            "tcp: no token; set [tcp] token or token_file, or allow_loopback_without_token = true"
            " for whoever can run a program on this machine"
        )


def _token_of(tcp: Tcp) -> bytes | None:
    if tcp.token is not None and tcp.token_file is not None:
        raise BadSettings("tcp: got token and token_file, wanted one of them")
    if tcp.token is not None:
        token = tcp.token.get_secret_value()
    elif tcp.token_file is not None:
        token = _read(tcp.token_file, "token_file").decode("utf-8", "replace").strip()
    else:
        return None
    if not token.isascii() or not token.isprintable() or " " in token:
        raise BadSettings(
            "tcp: the token has other characters than ASCII letters, digits and signs"
        )
    if len(token) < _MIN_TOKEN_LENGTH:
        raise BadSettings(
            f"tcp: the token has {len(token)} characters, wanted at least {_MIN_TOKEN_LENGTH}; make"
            " one with `openssl rand -hex 32`"
        )
    return token.encode("ascii")


def _tls_of(tcp: Tcp) -> ssl.SSLContext | None:
    if (tcp.tls_cert is None) != (tcp.tls_key is None):
        raise BadSettings("tcp: got one of tls_cert and tls_key, wanted both or neither")
    if tcp.tls_cert is None or tcp.tls_key is None:
        return None
    for key, path in (("tls_cert", tcp.tls_cert), ("tls_key", tcp.tls_key)):
        _read(path, key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        # A key with a password would ask on the terminal.
        context.load_cert_chain(tcp.tls_cert, tcp.tls_key, password=lambda: b"")
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "reason", None) or "no certificate, or not its key"
        raise BadSettings(f"tcp: tls_cert and tls_key: not usable: {reason}") from exc
    return context


def _read(path: Path, key: str) -> bytes:
    try:
        with path.expanduser().open("rb") as file:
            return file.read(_MAX_TOKEN_BYTES)
    except OSError as exc:
        raise BadSettings(f"tcp: {key} {path.name}: cannot be read: {exc.strerror}") from exc
