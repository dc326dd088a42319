"""A server that answers each connection with the next of the bytes it was given."""

import contextlib
import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Self


def http(body: bytes, status: str = "200 OK", headers: bytes = b"") -> bytes:
    """Write an answer of HTTP, whole."""
    head = f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n".encode()
    return head + headers + b"\r\n" + body


def streaming(body: bytes) -> bytes:
    """Write an answer of HTTP that lasts until the connection is cut."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n\r\n"
    return head + body


class Peer:
    """Listens on a Unix socket; use it in a `with`.

    requests: what was asked, one text a connection.   hold: keep the last connection open.
    """

    def __init__(self, path: Path) -> None:
        self.socket = path
        self.requests: list[str] = []
        self._answers: list[bytes] = []
        self._is_held = False
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._thread = threading.Thread(target=self._serve, name="peer")

    def play(self, *answers: bytes, hold: bool = False) -> None:
        """Answer so many connections, then stop listening."""
        self._answers = list(answers)
        self._is_held = hold
        self._listener.bind(str(self.socket))
        self._listener.listen(8)
        self._thread.start()

    def _serve(self) -> None:
        for number, answer in enumerate(self._answers, 1):
            try:
                connection, _ = self._listener.accept()
            except OSError:  # the test is over
                return
            with connection:
                self.requests.append(_request(connection))
                with contextlib.suppress(OSError):
                    connection.sendall(answer)
                if self._is_held and number == len(self._answers):
                    connection.recv(1)
        self._listener.close()
        self.socket.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        if self._thread.ident is not None:
            self._thread.join()


def _request(connection: socket.socket) -> str:
    received = b""
    while b"\r\n\r\n" not in received and (more := connection.recv(65536)):
        received += more
    return received.decode("latin-1")
