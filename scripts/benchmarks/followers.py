"""Many clients of /v1/predictions/stream in one thread, as cheap as a client can be."""

import re
import selectors
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

_REQUEST = (
    b"GET /v1/predictions/stream HTTP/1.1\r\nHost: box\r\nAccept: application/x-ndjson\r\n\r\n"
)
# The head ends, and a chunk with the empty line says that the stream is live.
_LIVE = b"\r\n\r\n1\r\n\n\r\n"
_ID = re.compile(rb'^\{"id":(\d+)', re.MULTILINE)
_LOST = re.compile(rb'^\{"lost": (\d+)', re.MULTILINE)
_READ_BYTES = 1 << 20
_PATIENCE_S = 30


class Follower:
    """One stream; use it in a `with`. What came is looked at when all is over."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(_PATIENCE_S)
        self.socket.connect(str(path))
        self.socket.sendall(_REQUEST)
        self._came = bytearray()
        while not self._came.endswith(_LIVE):
            piece = self.socket.recv(_READ_BYTES)
            if not piece:
                raise ConnectionError(f"no stream: {bytes(self._came[:200])!r}")
            self._came += piece
        self._came.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.socket.close()

    def read(self) -> int:
        """Read what there is. Returns: how many predictions it holds."""
        piece = self.socket.recv(_READ_BYTES)
        self._came += piece
        return piece.count(b'{"id":')

    @property
    def ids(self) -> list[int]:
        return [int(number) for number in _ID.findall(self._came)]

    @property
    def lost(self) -> int:
        return sum(int(number) for number in _LOST.findall(self._came))


def follow_all(followers: Sequence[Follower], wanted: int, within_s: float) -> None:
    """Read until each has so many predictions, or the time is over."""
    until_s = time.monotonic() + within_s
    left = dict.fromkeys(followers, wanted)
    with selectors.DefaultSelector() as selector:
        for follower in followers:
            selector.register(follower.socket, selectors.EVENT_READ, follower)
        while any(count > 0 for count in left.values()) and time.monotonic() < until_s:
            for key, _ in selector.select(0.5):
                left[key.data] -= key.data.read()
