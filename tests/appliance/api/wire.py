"""HTTP by hand: bytes as they are, so that a test can send what no client library would."""

import contextlib
import json
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

# For a box that does not answer at all: the test ends with an error instead of hanging.
_PATIENCE_S = 60


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. headers: names in lower case, the last of a name counts."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def refusal(self) -> tuple[int, str]:
        """Give status and code, of an answer that has exactly the shape of an error."""
        said = self.json()
        assert set(said) <= {"error", "code", "reason"}, said
        assert said["error"]
        return self.status, said["code"]


class Wire:
    """A connection to a box; use it in a `with`."""

    def __init__(self, where: Path | tuple[str, int], tls: ssl.SSLContext | None = None) -> None:
        if isinstance(where, tuple):
            end = socket.create_connection(where, _PATIENCE_S)
        else:
            end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            end.settimeout(_PATIENCE_S)
            end.connect(str(where))
        self.end = end if tls is None else tls.wrap_socket(end, server_hostname="localhost")
        self._left = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.end.close()

    def send(self, *parts: bytes) -> None:
        """Send bytes; a box that has hung up already is no error here."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.end.sendall(b"".join(parts))

    def ask(self, *lines: str, body: bytes = b"") -> Reply:
        """Send a request of these lines and read its answer."""
        self.send("\r\n".join([*lines, "Host: localhost", "", ""]).encode(), body)
        return self.reply(is_head=lines[0].startswith("HEAD"))

    def reply(self, *, is_head: bool = False) -> Reply:
        """Read one answer."""
        head = self._until(b"\r\n\r\n")
        first, *fields = head.decode("latin-1").split("\r\n")
        headers = {n.lower(): v.strip() for n, _, v in (f.partition(":") for f in fields if f)}
        length = 0 if is_head else int(headers.get("content-length", "0"))
        while len(self._left) < length:
            self._more()
        body, self._left = self._left[:length], self._left[length:]
        return Reply(int(first.split(" ")[1]), headers, body)

    def is_over(self) -> bool:
        """Tell whether the box has ended the connection; waits for it."""
        try:
            return self._left == b"" and self.end.recv(1) == b""
        except ConnectionResetError:
            return True

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._left:
            self._more()
        found, _, self._left = self._left.partition(mark)
        return found

    def _more(self) -> None:
        chunk = self.end.recv(65536)
        assert chunk, f"the box hung up after {self._left!r}"
        self._left += chunk
