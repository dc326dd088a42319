"""multipart/form-data, each file straight to disk as it arrives.

The framework's own reading would keep all of a gigabyte in temporary files of its choice first.
"""

from pathlib import Path
from typing import BinaryIO

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from appliance.errors import BadRequest
from appliance.files import new_file, writing
from appliance.unpacking import Bounds

MEDIA_TYPE = "multipart/form-data"


class FormFiles:
    """Writes the files of one body into a folder, under the names they bear in it.

    content_type: the header, with the boundary.
    """

    def __init__(self, content_type: str, folder: Path, bounds: Bounds) -> None:
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if not boundary:
            raise BadRequest("body: multipart/form-data without a boundary in its content-type")
        self._folder = folder
        self._bounds = bounds
        self._field = bytearray()
        self._value = bytearray()
        self._disposition = ""
        self._target: Path | None = None
        self._file: BinaryIO | None = None
        self._is_complete = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_field": self._take_field,
                "on_header_value": self._take_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._begin_content,
                "on_part_data": self._take_content,
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
        )

    def write(self, chunk: bytes) -> None:
        """Take the next piece of the body. Raises: BadRequest, TooBig, Unavailable."""
        try:
            self._parser.write(chunk)
        except MultipartParseError as exc:
            raise BadRequest(f"body: damaged multipart/form-data: {exc}") from exc

    def finish(self) -> None:
        """Say that the body is over. Raises: BadRequest if it ended in the middle."""
        if not self._is_complete:
            raise BadRequest("body: multipart/form-data ends without its last boundary")

    def close(self) -> None:
        """Let go of the file under way."""
        file, self._file = self._file, None
        if file is not None and self._target is not None:
            with writing(self._target):
                file.close()

    # -- what the parser calls -------------------------------------------------------------------

    def _begin_part(self) -> None:
        self._disposition = ""

    def _take_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _take_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = self._value.decode("latin-1")
        self._field.clear()
        self._value.clear()

    def _begin_content(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"filename", b"").decode("utf-8", "replace")
        if not name:
            raise BadRequest(
                "body: a part without a filename; send every part as a file "
                "(with curl: -F file=@model.onnx)"
            )
        self._target = self._folder / self._bounds.admit(name)
        self._file = new_file(self._target)

    def _take_content(self, data: bytes, start: int, end: int) -> None:
        assert self._file is not None, "content follows its headers"
        assert self._target is not None, "a file has its name"
        self._bounds.count(end - start)
        with writing(self._target):
            self._file.write(data[start:end])

    def _end_part(self) -> None:
        self.close()

    def _end(self) -> None:
        self._is_complete = True
