"""The one JSON shape of every 4xx and 5xx, for whoever refuses: routes, the shell, the protocol."""

import http
import json
from dataclasses import dataclass

from fastapi.responses import Response

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is an error.

    sentence: what happened, got, wanted, what to do.   code: a word for programs.
    reason: of a failed guest.   headers: besides those of the body.
    """

    status: int
    code: str
    sentence: str
    reason: str | None = None
    headers: tuple[tuple[str, str], ...] = ()

    def body(self) -> bytes:
        """Give `{"error": sentence, "code": word}`, and the reason if there is one."""
        content = {"error": self.sentence, "code": self.code}
        if self.reason is not None:
            content["reason"] = self.reason
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()

    def response(self) -> Response:
        """Make the answer of a route."""
        headers = {"content-type": "application/json", **dict(self.headers)}
        return Response(self.body(), self.status, headers)

    def raw_headers(self, body: bytes) -> Headers:
        """Give the header fields as ASGI has them."""
        own = [(name.lower().encode(), value.encode()) for name, value in self.headers]
        length = (b"content-length", str(len(body)).encode())
        return [(b"content-type", b"application/json"), length, *own]

    def message(self) -> bytes:
        """Give the whole HTTP message, after which the connection is closed."""
        body = self.body()
        phrase = http.HTTPStatus(self.status).phrase
        lines = [f"HTTP/1.1 {self.status} {phrase}".encode()]
        lines += [name + b": " + value for name, value in self.raw_headers(body)]
        return b"\r\n".join([*lines, b"connection: close", b"", body])


def retry_after(seconds: float) -> tuple[tuple[str, str], ...]:
    """Say when a retry may make sense, in whole seconds."""
    return (("Retry-After", str(max(1, round(seconds)))),)
