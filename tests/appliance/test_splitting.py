"""Many pictures in one body."""

import io
from collections.abc import Iterable

import pytest
from PIL import Image

from appliance.errors import BadRequest, TooBig
from appliance.splitting import Mjpeg, Multipart, Picture, Splitter, splitter_for

MAX_BYTES = 100_000


def jpeg(grey: int, **options: object) -> bytes:
    """Make a small JPEG with some detail in it."""
    packed = io.BytesIO()
    noise = Image.effect_noise((48, 32), grey).convert("RGB")
    noise.save(packed, "JPEG", **options)
    return packed.getvalue()


PLAIN, PROGRESSIVE = jpeg(20), jpeg(40, progressive=True)
# Its thumbnail begins and ends like a picture of its own.
WITH_THUMBNAIL = jpeg(60, exif=b"Exif\0\0" + PLAIN + b"\0" + PLAIN)
PICTURES = [PLAIN, WITH_THUMBNAIL, PROGRESSIVE, PLAIN]


def split(splitter: Splitter, body: bytes, size: int = 65536) -> list[Picture]:
    """Feed a body in pieces of this size."""
    pieces: Iterable[bytes] = (body[at : at + size] for at in range(0, len(body), size))
    found = [picture for piece in pieces for picture in splitter.feed(piece)]
    return [*found, *splitter.finish()]


def multipart(boundary: bytes, end: bytes = b"--\r\n") -> bytes:
    parts = [b"--" + boundary + b"\r\nContent-Type: image/jpeg\r\n\r\n" + p for p in PICTURES]
    return b"\r\n" + b"\r\n".join([*parts, b"--" + boundary + end])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000, 65536])
def test_jpegs_in_a_row_are_taken_apart(size: int) -> None:
    """However the body is cut in pieces, and whatever lies between the pictures."""
    body = b"\xff junk \xd8" + PLAIN + WITH_THUMBNAIL + b"\0\0" + PROGRESSIVE + PLAIN

    assert PICTURES == split(Mjpeg(MAX_BYTES), body, size)


def test_a_picture_cut_short_is_not_glued_to_the_next() -> None:
    """It is given as it is, so that it is counted as damaged; the next one is whole."""
    assert [PLAIN[:-9], PLAIN] == split(Mjpeg(MAX_BYTES), PLAIN[:-9] + PLAIN)
    assert [PLAIN, PLAIN[:-9]] == split(Mjpeg(MAX_BYTES), PLAIN + PLAIN[:-9])


def test_a_picture_without_end_is_passed_over() -> None:
    """Memory stays bounded, and what comes after it is found."""
    endless = PLAIN[:-2] + b"\x55" * (3 * MAX_BYTES // 2)
    splitter = Mjpeg(MAX_BYTES)
    found = split(splitter, endless + PLAIN, 1000)

    assert (None, PLAIN) == (found[0], found[-1])
    assert len(splitter._bytes) < MAX_BYTES


@pytest.mark.parametrize("garbage", [b"\xff\xd8", b"\0", b"\xff\xd8\xff\xd9"], ids=repr)
def test_garbage_without_end_is_refused(garbage: bytes) -> None:
    """A client that sends anything but pictures for an hour is told so at once."""
    with pytest.raises(BadRequest, match="got over 100000 bytes without a JPEG"):
        split(Mjpeg(MAX_BYTES), garbage * (MAX_BYTES + 3), 1000)


@pytest.mark.parametrize("size", [1, 2, 7, 1000, 65536])
@pytest.mark.parametrize(
    ("boundary", "body"),
    [
        pytest.param("frame", multipart(b"frame"), id="as the standard says"),
        pytest.param("frame", multipart(b"frame", b"\r\n"), id="never closed"),
        pytest.param("--frame", multipart(b"frame"), id="named with its dashes"),
        pytest.param('"a b"', multipart(b"a b"), id="quoted"),
    ],
)
def test_parts_of_a_multipart_are_pictures(boundary: str, body: bytes, size: int) -> None:
    """Browsers, FFmpeg and cameras each write it in their own way."""
    splitter = splitter_for(f"multipart/x-mixed-replace; boundary={boundary}", MAX_BYTES)

    assert PICTURES == split(splitter, body, size)


def test_a_part_that_is_too_big_is_passed_over() -> None:
    """The others are taken all the same."""
    bound = max(len(PLAIN), len(PROGRESSIVE))

    assert [PLAIN, None, PROGRESSIVE, PLAIN] == split(Multipart(b"x", bound), multipart(b"x"))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(PLAIN * 3, id="no multipart"),
        pytest.param(b"--x\r\nno colon here\r\n\r\n", id="a broken header field"),
        pytest.param(b"--x\r\n" + b"A: b\r\n" * 10_000 + b"\r\n", id="endless header fields"),
        pytest.param(b"--x\r\nA: " + b"b" * 100_000, id="an endless header field"),
        pytest.param(b"--", id="nothing"),
    ],
)
def test_what_is_no_multipart_is_refused(body: bytes) -> None:
    """With a sentence, and without showing what came."""
    with pytest.raises(BadRequest, match=r"body: (is no well-formed|ended before)"):
        split(Multipart(b"x", MAX_BYTES), body)


@pytest.mark.parametrize(
    "content_type",
    ["multipart/form-data", "multipart/a; boundary=", f"multipart/a; boundary={'x' * 201}"],
)
def test_a_multipart_needs_a_boundary(content_type: str) -> None:
    """One that is there and of a sane length."""
    with pytest.raises(BadRequest, match="no usable boundary"):
        splitter_for(content_type, MAX_BYTES)


@pytest.mark.parametrize(
    ("content_type", "body", "pictures"),
    [
        pytest.param("image/jpeg", PLAIN + b"tail", [PLAIN + b"tail"], id="said to be one"),
        pytest.param("image/png", b"PNG", [b"PNG"], id="another format"),
        pytest.param("", PLAIN + PLAIN, [PLAIN, PLAIN], id="not said, begins as a JPEG"),
        pytest.param("application/x-www-form-urlencoded", b"PNG", [b"PNG"], id="curl's default"),
        pytest.param("video/x-motion-jpeg", PLAIN, [PLAIN], id="MJPEG of one"),
        pytest.param("image/jpeg", b"", [], id="nothing"),
    ],
)
def test_a_body_is_one_picture_or_many(
    content_type: str, body: bytes, pictures: list[bytes]
) -> None:
    """By what the client says, or else by how it begins."""
    assert pictures == split(splitter_for(content_type, MAX_BYTES), body, 5)


def test_one_picture_is_bounded() -> None:
    """It is refused as soon as it is over."""
    with pytest.raises(TooBig, match="got over 10 bytes"):
        split(splitter_for("image/png", 10), b"x" * 11, 3)
