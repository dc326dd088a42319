"""Forms, piece by piece: however the network cuts a body, the same files come out."""

from pathlib import Path

import pytest

from appliance.api.multipart import FormFiles
from appliance.errors import BadRequest, TooBig
from appliance.unpacking import Bounds

BODY = (
    b'--XX\r\nContent-Disposition: form-data; name=a; filename="model.onnx"\r\n'
    b"Content-Type: application/octet-stream\r\n\r\n\r\n--XY\r\n--X\r\n\0\r\n"
    b"--XX\r\ncontent-disposition: form-data; "
    b'filename="weights/gr\xc3\xb6\xc3\x9fe.bin"\r\n\r\n\r\n'
    b"--XX--\r\n"
)
FILES = {"model.onnx": b"\r\n--XY\r\n--X\r\n\0", "weights/größe.bin": b""}
TYPE = 'multipart/form-data; boundary="XX"'


def received(folder: Path, pieces: list[bytes], max_bytes: int = 100) -> dict[str, bytes]:
    form = FormFiles(TYPE, folder, Bounds(max_bytes))
    try:
        for piece in pieces:
            form.write(piece)
        form.finish()
    finally:
        form.close()
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 1000])
def test_cuts_do_not_matter(tmp_path: Path, size: int) -> None:
    """Content that looks like a boundary is content."""
    pieces = [BODY[at : at + size] for at in range(0, len(BODY), size)]

    assert FILES == received(tmp_path, pieces)


@pytest.mark.parametrize("end", range(0, len(BODY) - 8, 5))
def test_a_form_that_ends_early_is_refused(tmp_path: Path, end: int) -> None:
    """Wherever it ends."""
    with pytest.raises(BadRequest, match=r"ends without its last boundary|damaged"):
        received(tmp_path, [BODY[:end]])


def test_content_is_counted_over_all_files(tmp_path: Path) -> None:
    """The bound is inclusive."""
    assert FILES == received(tmp_path / "fits", [BODY], max_bytes=14)
    with pytest.raises(TooBig, match="over 13 bytes"):
        received(tmp_path / "big", [BODY], max_bytes=13)
