"""Bytes on the wire: what is no HTTP, what is too large, too slow or half there."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.appliance import watguests as guests
from tests.appliance.api.wire import Wire
from tests.appliance.service import Service, wait_until

SETTINGS = """
[http]
max_requests = 2
max_connections = 8
max_head_bytes = 4096
max_head_fields = 20
head_timeout_s = 0.2
body_timeout_s = 0.2
send_timeout_s = 0.2
"""
POST = "POST /v1/apps/steady/frames HTTP/1.1"


@pytest.fixture(scope="module")
def service(state: Path) -> Iterator[Service]:
    """A box that is quick to lose patience."""
    state.mkdir()
    (state / "settings.toml").write_text(SETTINGS)
    with Service(state) as running:
        assert running.deploy("steady", guests.STEADY).status_code == 200
        running.http.close()
        yield running


@pytest.fixture
def wire(service: Service) -> Iterator[Wire]:
    with Wire(service.socket) as connected:
        yield connected


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="TLS"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", id="SSH"),
        pytest.param(b"GET / HTTP/9.9\r\n\r\n", id="version"),
        pytest.param(b"GET /healthz HTTP/1.1\r\nHost : x\r\n\r\n", id="space in a name"),
        pytest.param(b"GET /healthz HTTP/1.1\r\nA: b\x00c\r\n\r\n", id="NUL"),
        pytest.param(b"CONNECT example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n", id="CONNECT"),
        pytest.param(b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", id="negative length"),
        pytest.param(b"POST / HTTP/1.1\r\nContent-Length: 9" + b"9" * 30 + b"\r\n\r\n", id="huge"),
        pytest.param(
            b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", id="two lengths"
        ),
        pytest.param(
            b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            id="length and chunks",
        ),
    ],
)
def test_what_is_no_http_gets_a_400_in_our_shape(wire: Wire, said: bytes) -> None:
    """A sentence and a code, then the connection ends; nothing of the request is quoted."""
    wire.send(said)
    reply = wire.reply()

    assert (400, "bad_request") == reply.refusal
    assert "not an HTTP/1.1 request" in reply.json()["error"]
    assert ("close", True) == (reply.headers["connection"], wire.is_over())


@pytest.mark.parametrize(
    ("said", "words"),
    [
        pytest.param(b"GET /" + b"a" * 5000, "over 4096 bytes", id="target without end"),
        pytest.param(b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n\r\n", "over 4096 bytes", id="target"),
        pytest.param(
            b"GET / HTTP/1.1\r\nA: " + b"a" * 5000, "over 4096 bytes", id="value without end"
        ),
        pytest.param(
            b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 21 + b"\r\n", "over 20 header", id="fields"
        ),
        pytest.param(
            b"GET / HTTP/1.1\r\nA: " + b"a" * 5000 + b"\r\n\r\n", "over 4096 bytes", id="value"
        ),
    ],
)
def test_a_head_over_its_bound_gets_a_431(wire: Wire, said: bytes, words: str) -> None:
    """In one piece, or in pieces that never end."""
    half = len(said) // 2
    wire.send(said[:half])
    wire.send(said[half:])
    wire.send(b"x")
    reply = wire.reply()

    assert (431, "bad_request") == reply.refusal
    assert words in reply.json()["error"]


def test_a_request_that_dribbles_is_cut(wire: Wire) -> None:
    """A head that is not complete in time is a 408; a connection that says nothing just ends."""
    wire.send(b"GET /healthz HTTP/1.1\r\nHo")

    assert (408, "timeout") == wire.reply().refusal
    assert wire.is_over()


def test_a_connection_that_says_nothing_ends(wire: Wire) -> None:
    """Empty lines are nothing, too."""
    wire.send(b"\r\n\r\n")

    assert wire.is_over()


def test_a_body_that_stops_is_cut(wire: Wire) -> None:
    """The client hears why, and the log has the status it got."""
    wire.send(f"{POST}\r\nX-Request-Id: stops\r\nContent-Length: 9\r\n\r\nabc".encode())
    reply = wire.reply()

    assert (408, "timeout") == reply.refusal
    assert "got 3 bytes" in reply.json()["error"]


def test_slow_clients_hold_no_worker(service: Service) -> None:
    """More of them than requests may be under way, and the box still answers."""
    with ExitStack() as opened:
        slow = [opened.enter_context(Wire(service.socket)) for _ in range(6)]
        for one in slow:
            one.send(b"GET /healthz HTTP/1.1\r\nX: ")
        with Wire(service.socket) as quick:
            assert 200 == quick.ask("GET /v1/apps HTTP/1.1").status


def test_requests_over_the_bound_are_refused_and_health_is_not(service: Service) -> None:
    """503 with Retry-After; what tells how the box is goes on answering."""
    with ExitStack() as opened:
        busy = [opened.enter_context(Wire(service.socket)) for _ in range(2)]
        for one in busy:
            # The box answers 100 when it reads the body: then the request is under way.
            assert 100 == one.ask(POST, "Content-Length: 9", "Expect: 100-continue").status
        wire = opened.enter_context(Wire(service.socket))
        refused = wire.ask("GET /v1/apps HTTP/1.1")

        assert (503, "unavailable") == refused.refusal
        assert "1" == refused.headers["retry-after"]
        assert [200, 200, 200] == [
            wire.ask(f"GET {path} HTTP/1.1").status for path in ("/healthz", "/readyz", "/metrics")
        ]


def test_connections_over_the_bound_are_refused(service: Service) -> None:
    """They hear why; when one ends there is room again."""
    with ExitStack() as opened:
        for _ in range(8):
            one = opened.enter_context(Wire(service.socket))
            assert 200 == one.ask("GET /healthz HTTP/1.1").status
        with Wire(service.socket) as ninth:
            assert (503, "unavailable") == ninth.reply().refusal
            assert ninth.is_over()

    with Wire(service.socket) as later:
        assert 200 == later.ask("GET /healthz HTTP/1.1").status


def test_a_body_may_come_in_chunks(wire: Wire, picture: bytes) -> None:
    """Without a length, in pieces of any size."""
    pieces = [picture[:1], picture[1:50], picture[50:]]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    reply = wire.ask(POST, "Transfer-Encoding: chunked", body=chunks + b"0\r\n\r\n")

    assert (200, "steady") == (reply.status, reply.json()["app"])


def test_a_broken_chunk_is_a_400(wire: Wire) -> None:
    """Even though the route waits for the rest already."""
    wire.send(f"{POST}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n".encode())

    assert (400, "bad_request") == wire.reply().refusal
    assert wire.is_over()


def test_a_length_over_the_bound_is_refused_before_the_body(wire: Wire) -> None:
    """With Expect, the client never sends it."""
    reply = wire.ask(POST, "Content-Length: 999999999", "Expect: 100-continue")

    assert (413, "too_big") == reply.refusal


def test_a_body_is_asked_for(wire: Wire, picture: bytes) -> None:
    """Expect: 100-continue gets its 100, and then the answer."""
    invited = wire.ask(POST, f"Content-Length: {len(picture)}", "Expect: 100-continue")
    wire.send(picture)

    assert (100, 200) == (invited.status, wire.reply().status)


def test_requests_in_a_row_are_answered_in_their_order(wire: Wire, picture: bytes) -> None:
    """Sent without waiting (pipelining), by whatever takes long first."""
    frame = f"{POST}\r\nContent-Length: {len(picture)}\r\nX-Request-Id: one\r\n\r\n".encode()
    wire.send(
        frame + picture + b"GET /healthz HTTP/1.1\r\nX-Request-Id: two\r\n\r\n"
        b"GET /v1/apps HTTP/1.1\r\nX-Request-Id: three\r\n\r\n"
    )  # fmt: skip

    assert ["one", "two", "three"] == [wire.reply().headers["x-request-id"] for _ in range(3)]


def test_nonsense_after_a_request_waits_for_its_answer(wire: Wire, picture: bytes) -> None:
    """The answer is whole, then comes the refusal, then the end."""
    wire.send(f"{POST}\r\nContent-Length: {len(picture)}\r\n\r\n".encode(), picture, b"\0\0\0\r\n")

    assert 200 == wire.reply().status
    assert (400, "bad_request") == wire.reply().refusal
    assert wire.is_over()


def test_a_client_may_end_its_side_and_read_on(wire: Wire, picture: bytes) -> None:
    """As `nc -N` and `socat` do."""
    wire.send(f"{POST}\r\nContent-Length: {len(picture)}\r\n\r\n".encode(), picture)
    wire.end.shutdown(socket.SHUT_WR)
    reply = wire.reply()

    assert (200, "close", True) == (reply.status, reply.headers["connection"], wire.is_over())


def test_a_client_that_ends_in_the_middle_is_left(wire: Wire) -> None:
    """Nobody waits for the rest of its body."""
    wire.send(f"{POST}\r\nContent-Length: 9\r\n\r\nabc".encode())
    wire.end.shutdown(socket.SHUT_WR)

    assert wire.is_over()


def test_an_upgrade_is_answered_as_plain_http(wire: Wire) -> None:
    """We speak nothing else; curl --http2 asks and is content."""
    reply = wire.ask("GET /healthz HTTP/1.1", "Connection: Upgrade", "Upgrade: h2c")

    assert (200, "close", True) == (reply.status, reply.headers["connection"], wire.is_over())


def test_http_1_0_closes(wire: Wire) -> None:
    """As old tools expect."""
    reply = wire.ask("GET /healthz HTTP/1.0")

    assert (200, True) == (reply.status, wire.is_over())


def test_head_is_get_without_the_body(wire: Wire) -> None:
    """The length is told all the same, and the connection goes on."""
    head = wire.ask("HEAD /readyz HTTP/1.1")
    get = wire.ask("GET /readyz HTTP/1.1")

    assert (200, 200) == (head.status, get.status)
    assert (b"", head.headers["content-length"]) == (head.body, str(len(get.body)))


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        pytest.param("/healthz", "GET, HEAD, OPTIONS", id="one route"),
        pytest.param("/v1/apps/steady/frames", "POST, OPTIONS", id="a parameter"),
    ],
)
def test_a_method_that_a_path_lacks_is_told_with_those_it_has(
    wire: Wire, path: str, allowed: str
) -> None:
    """405 with Allow; OPTIONS asks for the same and is no error."""
    wrong = wire.ask(f"PATCH {path} HTTP/1.1")
    asked = wire.ask(f"OPTIONS {path} HTTP/1.1")

    assert (405, "bad_request") == wrong.refusal
    assert (allowed, allowed) == (wrong.headers["allow"], asked.headers["allow"])
    assert (204, b"") == (asked.status, asked.body)


def test_a_client_that_does_not_read_is_cut(service: Service, wire: Wire) -> None:
    """Its answers would wait in the box's memory for ever."""
    wire.send(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 50)

    wait_until(lambda: "client reads nothing, cut off peer=uid:" in service.log.read_text())


def test_the_box_is_well_after_all_this(service: Service) -> None:
    """No traceback, and nothing is left under way."""
    with Wire(service.socket) as wire:
        assert 200 == wire.ask("GET /v1/apps HTTP/1.1").status

    assert "traceback" not in service.log.read_text()
