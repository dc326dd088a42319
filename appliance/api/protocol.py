"""HTTP/1.1 on one connection: uvicorn's protocol over httptools, with the bounds it lacks.

httptools reads a head of any size for any time; here both are bounded, and so are the time of a
body, of an idle connection and of a client that does not read. What is no HTTP is answered in our
JSON shape. A slow client costs a connection and a timer, never a worker.

Rules:
1. After a refusal the connection is read for a moment longer and then closed: a socket closed with
   unread bytes is reset, and the client may lose the answer it is meant to read.
2. A refusal waits for the answers before it (pipelining): no message is written into another.
"""

import asyncio
import logging
import select
import socket
import struct
from typing import Any, cast

import httptools
import uvicorn
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from appliance.api.exchange import Exchange, put_exchange
from appliance.api.refusals import Refusal, retry_after
from appliance.listening import HttpLimits
from appliance.logring import ACCESS

log = logging.getLogger(ACCESS)

# How long a refused client may take to read its answer.
LINGER_S = 2.0
# Apache's mod_reqtimeout asks for the same.
_MIN_BODY_BYTES_PER_S = 500
# Of a body that its route has not taken yet.
_MAX_UNREAD_BYTES = 256 * 1024
# struct ucred: pid, uid, gid.
_UCRED = struct.Struct("3i")


def peer_of(transport: asyncio.BaseTransport) -> tuple[str, bool]:
    """Tell who is at the other end, and whether they are on this machine by a Unix socket."""
    end = transport.get_extra_info("socket")
    if end is None or end.family != socket.AF_UNIX:
        address = transport.get_extra_info("peername") or ("unknown", 0)
        return f"tcp:{address[0]}:{address[1]}", False
    try:
        raw = end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    except OSError:
        return "unix", True
    pid, uid, gid = _UCRED.unpack(raw)
    return f"uid:{uid},gid:{gid},pid:{pid}", True


class Protocol(HttpToolsProtocol):
    """One connection."""

    def __init__(
        self, config: uvicorn.Config, server_state: ServerState, limits: HttpLimits
    ) -> None:
        super().__init__(config, server_state, {})
        self._limits = limits
        self._peer, self._is_local = "-", False
        self._exchange = Exchange()
        self._is_in_head = False
        # Of the head under way. In the read where the request before it ended, the first is not
        # known and counts nothing.
        self._head_bytes = self._head_fields = self._field_bytes = 0
        self._has_ended_now = False
        # The head's or the body's; never both.
        self._timer: asyncio.TimerHandle | None = None
        self._send_timer: asyncio.TimerHandle | None = None
        self._body_since = self._body_last = 0.0
        self._refusal: Refusal | None = None
        self._served: RequestResponseCycle | None = None
        # Requests whose answer is not complete.
        self._owed = 0
        self._is_closing = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._peer, self._is_local = peer_of(transport)
        if len(self.connections) > self._limits.max_connections:
            self._refuse(Refusal(
                503, "unavailable",
                f"the box holds {self._limits.max_connections} connections already; close idle"
                " ones and retry", headers=retry_after(1),
            ))  # fmt: skip
        else:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self._disarm_send()
        # uvicorn tells the newest request only; the one being served may be another.
        for cycle in (self._served, *(queued for queued, _ in self.pipeline)):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._served = cycle
        super()._start_asgi_task(cycle, app)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Tell whether the connection stays open: a client may end its side and read on."""
        is_in_body = self._owed > 0 and self.cycle.more_body
        if self._refusal is not None or is_in_body or self._owed == 0 or not self._is_half_open():
            return False
        self.cycle.keep_alive = False
        return True

    def _is_half_open(self) -> bool:
        """Over TCP a client that left looks the same, and its work should end."""
        if not self._is_local:
            return False
        end = select.poll()
        end.register(self.transport.get_extra_info("socket").fileno(), 0)
        return not end.poll(0)

    def data_received(self, data: bytes) -> None:
        if self._is_closing or self._refusal is not None:
            return
        self._unset_keepalive_if_required()
        self._has_ended_now = False
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Answered as plain HTTP; what follows is in no protocol that we speak.
            self.cycle.keep_alive = False
        except httptools.HttpParserError as exc:
            self._refuse(self._excess() or _malformed(exc))
            return
        if self._is_in_head and not self._has_ended_now:
            self._head_bytes += len(data)
            if (refusal := self._excess()) is not None:
                self._refuse(refusal)
                return
        self._watch()

    # Parser callbacks.

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_head = True
        self._head_bytes = self._head_fields = self._field_bytes = 0
        self._exchange = Exchange(self._peer, self._is_local)
        put_exchange(cast(Scope, self.scope), self._exchange)

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._field_bytes += len(url)
        self._check_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._is_in_head:
            # A trailer of a chunked body: nobody reads it, but it counts.
            self._field_bytes += len(name) + len(value) + 4
            self._check_head()
            return
        super().on_header(name, value)
        self._head_fields += 1
        self._field_bytes += len(name) + len(value) + 4
        self._check_head()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._owed += 1
        self._is_in_head = False
        self._disarm()

    def on_body(self, body: bytes) -> None:
        self._exchange.bytes_in += len(body)
        cycle = self.cycle
        if not cycle.response_complete:
            # As uvicorn's, which stops reading at a quarter of this and so in every picture.
            cycle.body += body
            if len(cycle.body) > _MAX_UNREAD_BYTES:
                self.flow.pause_reading()
            cycle.message_event.set()

    def on_message_complete(self) -> None:
        self._has_ended_now = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        self._owed -= 1
        super().on_response_complete()
        if self._refusal is not None and self._owed == 0:
            self._write_refusal(self._refusal)

    # Bounds.

    def _check_head(self) -> None:
        """End the parse where the head is over its bounds; the parser passes the exception on."""
        if self._excess() is not None:
            raise ValueError("the head is over its bounds")

    def _excess(self) -> Refusal | None:
        limits = self._limits
        if self._head_fields > limits.max_head_fields:
            what = f"over {limits.max_head_fields} header fields, wanted at most that"
        elif max(self._field_bytes, self._head_bytes) > limits.max_head_bytes:
            what = f"over {limits.max_head_bytes} bytes, wanted at most that"
        else:
            return None
        return Refusal(431, "bad_request", f"head of the request: got {what}; send less")

    def _watch(self) -> None:
        """Arm the timer of what is still to come."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            self._await_head()
        elif cycle.more_body:
            self._body_last = self.loop.time()
            if self._timer is None:
                self._body_since = self._body_last
                self._timer = self.loop.call_later(self._limits.body_timeout_s, self._check_body)
        else:
            self._disarm()

    def _await_head(self) -> None:
        if self._timer is None and not self.transport.is_closing():
            self._timer = self.loop.call_later(self._limits.head_timeout_s, self._end_late_head)

    def _end_late_head(self) -> None:
        self._timer = None
        if self._is_in_head:
            self._refuse(Refusal(
                408, "timeout",
                f"head of the request: not complete after {self._limits.head_timeout_s:g} s",
            ))  # fmt: skip
        else:
            self.transport.close()

    def _check_body(self) -> None:
        self._timer = None
        cycle, now, bound_s = self.cycle, self.loop.time(), self._limits.body_timeout_s
        if cycle is None or not cycle.more_body or self.transport.is_closing():
            return
        if self.flow.read_paused:
            # The box is slow, not the client.
            self._body_since = self._body_last = now
        earned_s = self._exchange.bytes_in / _MIN_BODY_BYTES_PER_S
        left_s = min(self._body_last + bound_s, self._body_since + bound_s + earned_s) - now
        if left_s <= 0:
            self._refuse(Refusal(
                408, "timeout",
                f"body: got {self._exchange.bytes_in} bytes and then too little for {bound_s:g} s",
            ))  # fmt: skip
        else:
            self._timer = self.loop.call_later(left_s, self._check_body)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._send_timer is None:
            self._send_timer = self.loop.call_later(self._limits.send_timeout_s, self._abort)

    def resume_writing(self) -> None:
        self._disarm_send()
        super().resume_writing()

    def _abort(self) -> None:
        self._send_timer = None
        log.info("client reads nothing, cut off peer=%s", self._peer)
        self.transport.abort()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _disarm_send(self) -> None:
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None

    # Refusals.

    def _refuse(self, refusal: Refusal) -> None:
        """Answer with an error as soon as the answers before it are out, and hang up."""
        self._disarm()
        self._refusal = refusal
        level = logging.INFO if refusal.status < 500 else logging.WARNING
        log.log(
            level, "request refused status=%d peer=%s reason=%s",
            refusal.status, self._peer, refusal.sentence,
        )  # fmt: skip
        broken = self.cycle
        if broken is not None and broken.more_body and not broken.response_complete:
            if not (self.pipeline and self.pipeline[0][0] is broken):
                self._cut(broken, refusal)
                return
            self.pipeline.popleft()
            self._owed -= 1
        if self._owed == 0:
            self._write_refusal(refusal)

    def _cut(self, cycle: RequestResponseCycle, refusal: Refusal) -> None:
        """End a request that is being served and whose body can never be complete."""
        self._exchange.cut = refusal.status
        cycle.disconnected = True
        cycle.message_event.set()
        if cycle.response_started:
            self.transport.close()
        else:
            self._write_refusal(refusal)

    def _write_refusal(self, refusal: Refusal) -> None:
        if self._is_closing or self.transport.is_closing():
            return
        self._is_closing = True
        self._unset_keepalive_if_required()
        self.flow.resume_reading()
        self.transport.write(refusal.message())
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self._disarm()
            self._timer = self.loop.call_later(LINGER_S, self.transport.close)
        else:
            self.transport.close()


def _malformed(error: httptools.HttpParserError) -> Refusal:
    # llhttp's own words quote nothing of the request; those of a callback may.
    is_ours = isinstance(error, httptools.HttpParserCallbackError)
    reason = "a target that cannot be read" if is_ours else str(error).lower().rstrip(".")
    return Refusal(400, "bad_request", f"not an HTTP/1.1 request: {reason}")
