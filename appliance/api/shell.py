"""What every request passes through: who may ask, how many at once, its id, its log line.

Pure ASGI and one layer: a request costs some ten microseconds here. An exception that nobody
caught ends here, in the log with its traceback and as a 500 that says nothing of it.
"""

import hmac
import logging
import re
import secrets
import time
from dataclasses import dataclass
from typing import Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from appliance.api.exchange import Exchange, exchange_of
from appliance.api.refusals import Refusal, retry_after
from appliance.logring import ACCESS
from appliance.readiness import Phase, Readiness

log = logging.getLogger(__name__)
access = logging.getLogger(ACCESS)

# They answer while the box starts and however busy it is.
VITAL = frozenset({"/healthz", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"})
# Yes or no, and nothing else about the box: a balancer asks without a token.
OPEN = frozenset({"/readyz", "/v2/health/live", "/v2/health/ready"})
# Routine questions, logged at debug level.
_QUIET = VITAL

_ID = re.compile(rb"[!-~]{1,64}")
_LOOPBACK_HOST = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:\d+)?", re.IGNORECASE)


class Gate(Protocol):
    """What the shell asks about the box."""

    @property
    def readiness(self) -> Readiness: ...


@dataclass(frozen=True, slots=True)
class Admission:
    """Who may ask, and how many at once.

    token: what those who come by TCP must show; None lets them in without (loopback only).
    """

    max_requests: int
    token: bytes | None = None


class Shell:
    """The outermost layer of the application."""

    def __init__(self, app: ASGIApp, gate: Gate, admission: Admission) -> None:
        self._app = app
        self._gate = gate
        self._admission = admission
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = exchange_of(scope)
        headers = dict(scope["headers"])
        exchange.request_id = _id_from(headers.get(b"x-request-id", b""))
        turn = _Turn(self, scope, exchange, receive, send)
        refusal = self._refusal(scope["path"], headers, exchange)
        try:
            if refusal is None:
                await turn.run(self._app)
            else:
                await turn.refuse(refusal)
        finally:
            turn.end()

    def enter(self) -> None:
        self._under_way += 1

    def leave(self) -> None:
        self._under_way -= 1

    def _refusal(
        self, path: str, headers: dict[bytes, bytes], exchange: Exchange
    ) -> Refusal | None:
        if not exchange.is_local and path not in OPEN:
            refusal = self._stranger(headers)
            if refusal is not None:
                return refusal
        if path in VITAL:
            return None
        if self._gate.readiness.phase is Phase.STARTING:
            return Refusal(
                503, "unavailable", "the box is starting; ask again in a moment",
                headers=retry_after(1),
            )  # fmt: skip
        if self._under_way >= self._admission.max_requests:
            return Refusal(
                503, "unavailable",
                f"the box has {self._admission.max_requests} requests under way already; retry",
                headers=retry_after(1),
            )  # fmt: skip
        return None

    def _stranger(self, headers: dict[bytes, bytes]) -> Refusal | None:
        """Check who comes by TCP."""
        token = self._admission.token
        if token is None:
            return _refuse_other_sites(headers)
        scheme, _, shown = headers.get(b"authorization", b"").partition(b" ")
        # Compared in any case, and in a time that says nothing of the token.
        is_right = hmac.compare_digest(shown.strip(), token)
        if scheme.lower() == b"bearer" and is_right:
            return None
        return Refusal(
            401, "unauthorized",
            "token: missing or wrong, wanted the box's as `Authorization: Bearer TOKEN`",
            headers=(("WWW-Authenticate", 'Bearer realm="appliance"'),),
        )  # fmt: skip


class _Turn:
    """One request on its way through; its methods are what the application gets."""

    __slots__ = ("_exchange", "_is_counted", "_is_head", "_receive", "_scope", "_send", "_sent",
                 "_shell", "_since", "_status")  # fmt: skip

    def __init__(
        self, shell: Shell, scope: Scope, exchange: Exchange, receive: Receive, send: Send
    ) -> None:
        self._since = time.perf_counter()
        self._shell, self._scope, self._exchange = shell, scope, exchange
        self._receive, self._send = receive, send
        self._status = self._sent = 0
        self._is_counted = False
        self._is_head = scope["method"] == "HEAD"

    async def run(self, app: ASGIApp) -> None:
        """Serve it; whatever is raised is answered."""
        scope, receive = self._scope, self._receive
        if self._is_head:
            # A route that can be read can be asked about; the server drops the body.
            scope, receive = {**scope, "method": "GET"}, self._receive_as_head
        if scope["path"] not in VITAL:
            self._shell.enter()
            self._is_counted = True
        try:
            await app(scope, receive, self.send)
        except MemoryError:
            log.exception("out of memory id=%s", self._exchange.request_id)
            await self._apologize(Refusal(
                503, "unavailable", "the box has no memory for this now; retry, or send less",
                headers=retry_after(5),
            ))  # fmt: skip
        except Exception:
            log.exception(
                "request failed path=%s id=%s", self._scope["path"], self._exchange.request_id
            )
            await self._apologize(Refusal(
                500, "internal", "the box failed on this request; its log has the reason"
            ))  # fmt: skip

    async def _apologize(self, refusal: Refusal) -> None:
        # Once an answer has begun, the server can only hang up, and does.
        if self._status == 0:
            await self.refuse(refusal)

    async def refuse(self, refusal: Refusal) -> None:
        """Answer with an error."""
        body = refusal.body()
        await self.send({
            "type": "http.response.start", "status": refusal.status,
            "headers": refusal.raw_headers(body),
        })  # fmt: skip
        await self.send({"type": "http.response.body", "body": body, "more_body": False})

    async def send(self, message: Message) -> None:
        """Pass the answer on, with the fields that every answer has."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            message = {**message, "headers": [*message.get("headers", ()), *self._fields()]}
        else:
            is_more = message.get("more_body", False)
            self._sent += len(message.get("body", b""))
            if is_more:
                # It may last for ever: counted as a connection only.
                self._uncount()
                if self._is_head:
                    message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    async def _receive_as_head(self) -> Message:
        # A stream that was only asked about ends where its body would begin.
        return {"type": "http.disconnect"} if self._status else await self._receive()

    def _fields(self) -> list[tuple[bytes, bytes]]:
        parts = [f"{name};dur={ms:.3f}" for name, ms in self._exchange.timing.items()]
        total = f"total;dur={1e3 * (time.perf_counter() - self._since):.3f}"
        return [
            (b"x-request-id", self._exchange.request_id.encode()),
            (b"server-timing", ", ".join([*parts, total]).encode("latin-1", "replace")),
        ]

    def _uncount(self) -> None:
        if self._is_counted:
            self._is_counted = False
            self._shell.leave()

    def end(self) -> None:
        """Write the log's line."""
        self._uncount()
        status = self._exchange.cut or self._status
        level = logging.DEBUG if self._scope["path"] in _QUIET else logging.INFO
        if status >= 500:
            level = logging.WARNING
        if access.isEnabledFor(level):
            # Without the query, which may hold what is nobody's business.
            access.log(
                level,
                "request done method=%s path=%s status=%d ms=%.3f in=%d out=%d peer=%s id=%s",
                self._scope["method"], self._scope["path"], status,
                1e3 * (time.perf_counter() - self._since), self._exchange.bytes_in, self._sent,
                self._exchange.peer, self._exchange.request_id,
            )  # fmt: skip


def _id_from(given: bytes) -> str:
    """Take the client's id if it is short and printable, else make one."""
    return given.decode("ascii") if _ID.fullmatch(given) else secrets.token_hex(8)


def _refuse_other_sites(headers: dict[bytes, bytes]) -> Refusal | None:
    """Keep web pages out of a box that asks for no token.

    A browser on this machine would carry their requests to it: to its address, or to a name of
    theirs that suddenly points to it.
    """
    host = headers.get(b"host", b"").decode("latin-1")
    origin = headers.get(b"origin", b"").decode("latin-1")
    if _LOOPBACK_HOST.fullmatch(host) is None:
        return Refusal(
            403, "forbidden", "host: wanted localhost, 127.0.0.1 or [::1]; set a token for others"
        )
    if origin and origin.partition("://")[2] != host:
        return Refusal(403, "forbidden", "origin: a page of another site; set a token for it")
    return None
