"""Many pictures in one body: multipart, or JPEGs one after the other (MJPEG); pure.

Guarantees:
1. Memory is bounded: one picture of at most max_bytes is kept; a larger one is passed over.
2. A body without end is read without end, but not one that holds no picture for max_bytes.
"""

import re
from collections.abc import Iterator
from email.message import Message
from typing import Protocol

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from appliance.errors import BadRequest, TooBig

# What encoders and cameras call JPEGs without anything in between.
_MJPEG = {"video/x-motion-jpeg", "video/mjpeg", "video/x-mjpeg", "image/x-motion-jpeg"}
# Of one picture, whatever its bytes are.
_SINGLE = {"image/jpeg", "image/png", "image/webp"}
_START = b"\xff\xd8\xff"
# A marker; FF 00 is data, FF D0 to D7 stand inside it, FF FF is padding.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_START_OF_IMAGE, _END_OF_IMAGE, _TEMPORARY = 0xD8, 0xD9, 0x01
_MAX_BOUNDARY = 200
# The smallest JPEG there can be has 107.
_MIN_JPEG_BYTES = 100

# None stands for a picture that was too big.
Picture = bytes | None


class Splitter(Protocol):
    """Takes a body piece by piece and gives the pictures in it."""

    def feed(self, chunk: bytes) -> Iterator[Picture]:
        """Take a piece. Raises: BadRequest, TooBig if it is no such body."""
        ...

    def finish(self) -> Iterator[Picture]:
        """Give what the end completes."""
        ...


def splitter_for(content_type: str, max_bytes: int) -> Splitter:
    """Choose by the header Content-Type.

    max_bytes: of one picture.   Raises: BadRequest for a multipart without a boundary.
    """
    message = Message()
    message["content-type"] = content_type
    kind = message.get_content_type() if content_type else ""
    if kind.startswith("multipart/"):
        boundary = message.get_param("boundary")
        if not isinstance(boundary, str) or not 0 < len(boundary) <= _MAX_BOUNDARY:
            raise BadRequest(
                f"content-type {kind}: got no usable boundary, wanted boundary=... of 1 to "
                f"{_MAX_BOUNDARY} characters"
            )
        return Multipart(boundary.encode("latin-1", "replace"), max_bytes)
    if kind in _MJPEG:
        return Mjpeg(max_bytes)
    return Whole(max_bytes, is_single=kind in _SINGLE)


class Whole:
    """The body is one picture; unless it must be, one that begins as a JPEG may be many."""

    def __init__(self, max_bytes: int, *, is_single: bool) -> None:
        self._max_bytes = max_bytes
        self._is_single = is_single
        self._body = bytearray()
        self._mjpeg: Mjpeg | None = None

    def feed(self, chunk: bytes) -> Iterator[Picture]:
        """See `Splitter.feed`."""
        if self._mjpeg is not None:
            yield from self._mjpeg.feed(chunk)
            return
        self._body += chunk
        if not self._is_single and self._body.startswith(_START):
            self._mjpeg = Mjpeg(self._max_bytes)
            yield from self._mjpeg.feed(bytes(self._body))
            self._body.clear()
        elif len(self._body) > self._max_bytes:
            raise TooBig(f"body: got over {self._max_bytes} bytes, wanted at most that")

    def finish(self) -> Iterator[Picture]:
        """See `Splitter.finish`."""
        if self._mjpeg is not None:
            yield from self._mjpeg.finish()
        elif self._body:
            yield bytes(self._body)


class Mjpeg:
    """JPEGs one after the other; what lies between them is passed over."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = bytearray()
        # Where to look for the next marker; 0 outside of a picture.
        self._at = 0
        self._garbage = 0

    def feed(self, chunk: bytes) -> Iterator[Picture]:
        """See `Splitter.feed`."""
        self._bytes += chunk
        while self._begin():
            end = self._end()
            if end >= _MIN_JPEG_BYTES:
                self._garbage = 0
                yield self._cut(end)
            elif end:
                self._garbage += len(self._cut(end))
            elif len(self._bytes) > self._max_bytes:
                self._cut(len(self._bytes))
                yield None
            else:
                return

    def finish(self) -> Iterator[Picture]:
        """See `Splitter.finish`: the last one is cut short."""
        if self._at:
            yield self._cut(len(self._bytes))

    def _begin(self) -> bool:
        """Drop what is before a picture. Returns: whether there is one."""
        if self._at:
            return True
        start = self._bytes.find(_START)
        dropped = start if start >= 0 else max(0, len(self._bytes) - len(_START) + 1)
        del self._bytes[:dropped]
        self._garbage += dropped
        if self._garbage > self._max_bytes:
            raise BadRequest(
                f"body: got over {self._max_bytes} bytes without a JPEG, wanted JPEGs one after "
                "the other"
            )
        if start < 0:
            return False
        self._at = 2
        return True

    def _end(self) -> int:
        """Walk the markers. Returns: where the picture ends, 0 if that has not come yet."""
        # Beyond the end while a segment has not come whole.
        while self._at <= len(self._bytes):
            found = _MARKER.search(self._bytes, self._at)
            if found is None:
                # The last byte may be the first half of a marker.
                self._at = max(self._at, len(self._bytes) - 1)
                return 0
            self._at = found.start()
            marker = self._bytes[self._at + 1]
            if marker == _END_OF_IMAGE:
                return self._at + 2
            if marker == _START_OF_IMAGE:
                # The one before it was cut short.
                return self._at
            if marker == _TEMPORARY:
                self._at += 2
                continue
            if len(self._bytes) < self._at + 4:
                return 0
            # A segment may hold a thumbnail, which has an end of its own.
            self._at += 2 + max(2, int.from_bytes(self._bytes[self._at + 2 : self._at + 4], "big"))
        return 0

    def _cut(self, end: int) -> bytes:
        picture = bytes(self._bytes[:end])
        del self._bytes[:end]
        self._at = 0
        return picture


class Multipart:
    """Every part is a picture, whatever it is called."""

    def __init__(self, boundary: bytes, max_bytes: int) -> None:
        self._boundary = boundary
        self._max_bytes = max_bytes
        self._parser: MultipartParser | None = None
        self._start = bytearray()
        self._part: bytearray | None = None
        self._is_too_big = False
        self._done: list[Picture] = []

    def feed(self, chunk: bytes) -> Iterator[Picture]:
        """See `Splitter.feed`."""
        if self._parser is None:
            self._start += chunk
            if len(self._start.lstrip(b"\r\n")) < len(self._boundary) + 2:
                return
            self._parser, chunk = self._new_parser(), bytes(self._start)
            self._start.clear()
        try:
            self._parser.write(chunk)
        except FormParserError as exc:
            raise BadRequest(
                "body: is no well-formed multipart; wanted parts between lines of -- and the "
                "boundary, each with its header fields and an empty line"
            ) from exc
        yield from self._done
        self._done.clear()

    def finish(self) -> Iterator[Picture]:
        """See `Splitter.finish`: many cameras never send the last boundary."""
        if self._start:
            raise BadRequest("body: ended before the first boundary")
        if self._part:
            self._end_part()
        yield from self._done
        self._done.clear()

    def _new_parser(self) -> MultipartParser:
        boundary, start = self._boundary, self._start.lstrip(b"\r\n")
        if boundary.startswith(b"--") and not start.startswith(b"--" + boundary):
            # Some cameras name it with the dashes that it has in the body anyway.
            boundary = boundary[2:]
        return MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin_part,
                "on_part_data": self._take,
                "on_part_end": self._end_part,
            },
        )

    def _begin_part(self) -> None:
        self._part, self._is_too_big = bytearray(), False

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._part is None or self._is_too_big:
            return
        self._part += data[start:end]
        if len(self._part) > self._max_bytes:
            self._part.clear()
            self._is_too_big = True

    def _end_part(self) -> None:
        part, self._part = self._part, None
        self._done.append(None if self._is_too_big else bytes(part or b""))
