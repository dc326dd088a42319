"""What every request passes through, around applications of a few lines."""

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from appliance.api.exchange import Exchange, exchange_of, put_exchange
from appliance.api.shell import Admission, Shell
from appliance.logring import ACCESS
from appliance.readiness import Readiness

TOKEN = b"0123456789abcdef"
AS_ROOT = Exchange(peer="uid:0,gid:0,pid:1", is_local=True)


@dataclass
class Gate:
    """A box that has not come up yet."""

    readiness: Readiness = field(default_factory=Readiness)


async def fine(scope: Scope, receive: Receive, send: Send) -> None:
    exchange_of(scope).timing["decode"] = 1.5
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"fine"})


async def endless(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while True:
        await send({"type": "http.response.body", "body": b"more", "more_body": True})
        if (await receive())["type"] == "http.disconnect":
            return


@dataclass
class Got:
    """What came back."""

    messages: list[Message]

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.messages[0]["headers"])

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.messages[1:])


def ask(
    shell: Shell,
    path: str = "/v1/apps",
    *,
    method: str = "GET",
    headers: tuple[tuple[bytes, bytes], ...] = (),
    exchange: Exchange | None = None,
) -> Got:
    """Send one request; a client that has said everything and waits."""  # fmt: skip
    got: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        got.append(message)

    scope: dict[str, Any] = {
        "type": "http", "method": method, "path": path, "headers": list(headers), "state": {},
    }  # fmt: skip
    put_exchange(scope, exchange or Exchange())
    asyncio.run(asyncio.wait_for(shell(scope, receive, send), 30))  # type: ignore[arg-type]
    return Got(got)


def around(app: ASGIApp, *, max_requests: int = 1, token: bytes | None = None) -> Shell:
    gate = Gate()
    gate.readiness.begin()
    return Shell(app, gate, Admission(max_requests, token))


@pytest.mark.parametrize(
    ("given", "is_kept"),
    [
        pytest.param(b"abc-123", True, id="short and printable"),
        pytest.param(b"x" * 64, True, id="the longest"),
        pytest.param(b"x" * 65, False, id="too long"),
        pytest.param(b"a b", False, id="a space"),
        pytest.param(b"a\x1b[2J", False, id="an escape"),
        pytest.param(b"", False, id="none"),
    ],
)
def test_a_request_has_an_id(given: bytes, is_kept: bool) -> None:
    """The client's own if it can be shown, else one of ours; the answer says which."""
    shown = ask(around(fine), headers=((b"x-request-id", given),)).headers[b"x-request-id"]

    assert is_kept == (shown == given)
    assert shown.decode().isprintable()
    assert shown


def test_the_answer_says_what_time_was_spent_on() -> None:
    """The route's parts, then the total, in Server-Timing's form."""
    said = ask(around(fine)).headers[b"server-timing"].decode()

    assert said.startswith("decode;dur=1.500, total;dur=")


def test_a_bug_is_a_500_that_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The log has the traceback and the id by which to find it."""

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise KeyError("/etc/secret")

    with caplog.at_level(logging.INFO):
        got = ask(around(broken), headers=((b"x-request-id", b"find-me"),))

    assert 500 == got.status
    assert b'"code":"internal"' in got.body
    assert b"secret" not in got.body
    (record,) = [entry for entry in caplog.records if entry.exc_info is not None]
    assert "request failed path=/v1/apps id=find-me" == record.getMessage()


def test_want_of_memory_is_a_503() -> None:
    """One request was too greedy; the box goes on."""

    async def greedy(scope: Scope, receive: Receive, send: Send) -> None:
        raise MemoryError

    got = ask(around(greedy))

    assert (503, b"5") == (got.status, got.headers[b"retry-after"])


def test_a_failure_in_the_middle_of_an_answer_adds_nothing() -> None:
    """The server hangs up; a second answer would be read as part of the first."""

    async def half(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError

    assert [200] == [message["status"] for message in ask(around(half)).messages]


def test_a_stream_leaves_its_place_when_it_begins() -> None:
    """It may last for ever; only work under way is counted."""
    inner: list[int] = []

    async def streaming(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await shell(dict(scope, path="/v1/models", state={}), receive, note)
        await send({"type": "http.response.body", "body": b"b", "more_body": False})

    async def note(message: Message) -> None:
        inner.append(message.get("status", 0))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (fine if scope["path"] == "/v1/models" else streaming)(scope, receive, send)

    shell = around(app)

    assert b"ab" == ask(shell).body
    assert 200 == inner[0]


def test_head_of_a_stream_ends() -> None:
    """It is told what GET would be, and nothing waits for a client that reads no body."""
    got = ask(around(endless), method="HEAD")

    assert (200, b"") == (got.status, got.body)


def test_while_it_starts_only_vital_questions_are_answered() -> None:
    """503 with Retry-After for the rest."""
    shell = Shell(fine, Gate(), Admission(1))

    assert [503, 200, 200] == [ask(shell, p).status for p in ("/v1/apps", "/healthz", "/metrics")]


@pytest.mark.parametrize(
    ("path", "shown", "is_local", "status"),
    [
        pytest.param("/v1/apps", b"Bearer " + TOKEN, False, 200, id="right"),
        pytest.param("/v1/apps", b"bearer  " + TOKEN, False, 200, id="scheme in any case"),
        pytest.param("/v1/apps", b"Bearer " + TOKEN[:-1], False, 401, id="short"),
        pytest.param("/v1/apps", b"Bearer " + TOKEN + b"0", False, 401, id="long"),
        pytest.param("/v1/apps", b"Bearer \xff\xfe", False, 401, id="no ASCII"),
        pytest.param("/v1/apps", b"Basic " + TOKEN, False, 401, id="another scheme"),
        pytest.param("/v1/apps", TOKEN, False, 401, id="no scheme"),
        pytest.param("/v1/apps", b"", False, 401, id="none"),
        pytest.param("/metrics", b"", False, 401, id="metrics"),
        pytest.param("/healthz", b"", False, 401, id="health tells the version"),
        pytest.param("/readyz", b"", False, 200, id="yes or no"),
        pytest.param("/v1/apps", b"", True, 200, id="Unix socket"),
    ],
)
def test_who_comes_by_tcp_shows_the_token(
    path: str, shown: bytes, is_local: bool, status: int
) -> None:
    """A Unix socket has its rights instead; what answers only yes or no is open."""
    exchange = Exchange(peer="tcp:10.0.0.9:5", is_local=is_local)
    got = ask(
        around(fine, token=TOKEN), path, headers=((b"authorization", shown),), exchange=exchange
    )

    assert status == got.status
    assert (status == 401) == (b"www-authenticate" in got.headers)


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        pytest.param(b"localhost:8000", b"", 200, id="a program"),
        pytest.param(b"127.0.0.1:8000", b"http://127.0.0.1:8000", 200, id="our own page"),
        pytest.param(b"[::1]", b"", 200, id="IPv6"),
        pytest.param(b"127.0.0.1:8000", b"https://evil.example", 403, id="a page of another site"),
        pytest.param(b"evil.example:8000", b"", 403, id="a name that points to us"),
        pytest.param(b"localhost.evil.example", b"", 403, id="a name that begins like ours"),
        pytest.param(b"", b"", 403, id="none"),
    ],
)
def test_without_a_token_web_pages_are_kept_out(host: bytes, origin: bytes, status: int) -> None:
    """A browser on the same machine carries whatever any page tells it to."""
    got = ask(
        around(fine), headers=((b"host", host), (b"origin", origin)),
        exchange=Exchange(peer="tcp:127.0.0.1:5", is_local=False),
    )  # fmt: skip

    assert status == got.status


def test_a_request_is_one_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """With who asked and without the query; routine questions at debug level."""
    with caplog.at_level(logging.DEBUG, ACCESS):
        ask(around(fine), headers=((b"x-request-id", b"one"),), exchange=AS_ROOT)
        ask(around(fine), "/healthz")

    first, second = caplog.records
    assert [logging.INFO, logging.DEBUG] == [first.levelno, second.levelno]
    said = first.getMessage()
    assert said.startswith("request done method=GET path=/v1/apps status=200 ms=")
    assert said.endswith("in=0 out=4 peer=uid:0,gid:0,pid:1 id=one")
