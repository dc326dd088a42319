"""The box over TCP, as a process of its own: the token, TLS, and what the log says of it."""

import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.appliance.api.wire import Wire
from tests.appliance.service import Service

TOKEN = "0123456789abcdef0123456789abcdef"
SHOWN = f"Authorization: Bearer {TOKEN}"


def where(address: str) -> tuple[str, int]:
    """Read http://127.0.0.1:5000."""
    host, _, port = address.partition("://")[2].rpartition(":")
    return host, int(port)


@pytest.fixture(scope="module")
def service(state: Path) -> Iterator[Service]:
    """A box with TLS and a token, and a certificate that it signed itself."""
    state.mkdir()
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=DNS:localhost", "-keyout", state / "key.pem", "-out", state / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    (state / "settings.toml").write_text(f"""
        [tcp]
        port = 0
        token = "{TOKEN}"
        tls_cert = "{state}/cert.pem"
        tls_key = "{state}/key.pem"
        [http]
        head_timeout_s = 0.2
    """)
    with Service(state) as running:
        running.http.close()
        yield running


@pytest.fixture(scope="module")
def address(service: Service) -> str:
    return service.address()


@pytest.fixture
def wire(service: Service, address: str) -> Iterator[Wire]:
    trusting = ssl.create_default_context(cafile=service.state / "cert.pem")
    with Wire(where(address), trusting) as connected:
        yield connected


def test_tls_and_token_let_in(wire: Wire, address: str) -> None:
    """The address is said at the start."""
    assert address.startswith("https://127.0.0.1:")
    assert 200 == wire.ask("GET /v1/apps HTTP/1.1", SHOWN).status


def test_without_the_token_nothing_is_done(wire: Wire) -> None:
    """401 in the one shape, before the body is asked for."""
    reply = wire.ask(
        "PUT /v1/apps/door HTTP/1.1", "Content-Length: 99999", "Expect: 100-continue"
    )  # fmt: skip

    assert (401, "unauthorized") == reply.refusal
    assert 'Bearer realm="appliance"' == reply.headers["www-authenticate"]


def test_readiness_needs_no_token(wire: Wire) -> None:
    """A balancer asks."""
    assert {"ready": True} == wire.ask("GET /readyz HTTP/1.1").json()


def test_plain_http_to_tls_is_hung_up_on(address: str) -> None:
    """Nothing is answered in the clear."""
    with Wire(where(address)) as wire:
        wire.send(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")

        assert wire.is_over()


def test_the_unix_socket_needs_no_token(service: Service) -> None:
    """Its rights say who may open it."""
    with Wire(service.socket) as wire:
        assert 200 == wire.ask("GET /v1/apps HTTP/1.1").status


def test_the_log_says_who_asked_and_never_the_token(service: Service, wire: Wire) -> None:
    """By address; what a client shows is its own."""
    wire.ask("GET /v1/apps?token=abc HTTP/1.1", SHOWN, "X-Request-Id: by-tcp")
    wire.ask("GET /v1/apps HTTP/1.1", "Authorization: Bearer wrong-secret")
    shown = wire.ask("GET /v1/logs HTTP/1.1", SHOWN).body.decode()

    log = service.log.read_text()
    (line,) = [entry for entry in log.splitlines() if "id=by-tcp" in entry]
    assert "peer=tcp:127.0.0.1:" in line
    assert [] == [word for word in (TOKEN, "wrong-secret", "abc") if word in log + shown]
