import io
import struct
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps, PngImagePlugin

from appliance.errors import BadPicture
from appliance.pictures import decode

SAMPLES = Path(__file__).resolve().parents[2] / "models" / "samples"
FORMATS = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
LIMIT = 1_000_000


def gradient(width: int = 40, height: int = 24) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width]
    channels = np.stack([x * 6, y * 10, 255 - x * 6], axis=2)
    return Image.fromarray(channels.astype(np.uint8))


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def rgb(image: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(image.convert("RGB"))


def chunk(kind: bytes, content: bytes) -> bytes:
    checked = kind + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))


def insert_chunk(png: bytes, kind: bytes, content: bytes) -> bytes:
    return png[:33] + chunk(kind, content) + png[33:]


@pytest.mark.parametrize("kind", FORMATS)
def test_three_kinds_are_read(kind: str) -> None:
    """The pixels are Pillow's, read-only and contiguous, with the media type."""
    encoded = encode(gradient(), kind)
    pixels, media_type = decode(encoded, max_pixels=LIMIT)

    assert media_type == FORMATS[kind]
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert not pixels.flags.writeable
    np.testing.assert_array_equal(pixels, rgb(Image.open(io.BytesIO(encoded))))


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.jpg")), ids=lambda p: p.stem)
def test_the_samples_are_read(path: Path) -> None:
    """Real pictures come out as Pillow reads them."""
    pixels, _ = decode(path.read_bytes(), max_pixels=LIMIT)

    np.testing.assert_array_equal(pixels, rgb(Image.open(path)))


@pytest.mark.parametrize(
    ("image", "kind", "options"),
    [
        pytest.param(gradient(), "JPEG", {"progressive": True}, id="progressive"),
        pytest.param(gradient().convert("CMYK"), "JPEG", {}, id="CMYK"),
        pytest.param(gradient().convert("L"), "JPEG", {}, id="grey JPEG"),
        pytest.param(gradient().convert("1"), "PNG", {}, id="bits"),
        pytest.param(gradient().convert("P"), "PNG", {}, id="palette"),
        pytest.param(gradient(), "WEBP", {"lossless": True}, id="lossless WebP"),
    ],
)
def test_every_mode_becomes_rgb(image: Image.Image, kind: str, options: dict[str, Any]) -> None:
    """Grey, palette, CMYK: the caller sees RGB only."""
    encoded = encode(image, kind, **options)
    pixels, _ = decode(encoded, max_pixels=LIMIT)

    np.testing.assert_array_equal(pixels, rgb(Image.open(io.BytesIO(encoded))))


def test_alpha_is_dropped() -> None:
    """The colour under a transparent pixel is what training pipelines see, and so do we."""
    image = Image.new("RGBA", (2, 2), (10, 20, 30, 0))
    pixels, _ = decode(encode(image, "PNG"), max_pixels=LIMIT)

    assert pixels[0, 0].tolist() == [10, 20, 30]


def test_palette_transparency_does_not_warn() -> None:
    """tRNS bytes make Pillow's convert warn; here they are gone before."""
    encoded = encode(gradient().convert("P"), "PNG", transparency=b"\0" * 16)
    pixels, _ = decode(encoded, max_pixels=LIMIT)

    np.testing.assert_array_equal(pixels, rgb(gradient().convert("P")))


def test_16_bit_grey_keeps_the_upper_bits() -> None:
    """65535 is white and 256 is 1; nothing clips."""
    grey = np.array([[0, 256, 0x8000, 0xFFFF]], np.uint16)
    pixels, _ = decode(encode(Image.fromarray(grey), "PNG"), max_pixels=LIMIT)

    assert pixels[0, :, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(kind: str, orientation: int) -> None:
    """All eight orientations come out upright, as Pillow's own exif_transpose has it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = encode(gradient(), kind, exif=exif.tobytes())
    pixels, _ = decode(encoded, max_pixels=LIMIT)

    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded)))
    np.testing.assert_array_equal(pixels, rgb(expected))


@pytest.mark.parametrize(
    "exif",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"II*\0", id="cut"),
        pytest.param(b"II*\0\xff\xff\xff\xff", id="directory outside"),
        pytest.param(b"MM\0*\0\0\0\x08\xff\xff", id="entries outside"),
        pytest.param(b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x63\0\0\0", id="99"),
        pytest.param(b"XX*\0\x08\0\0\0", id="no byte order"),
    ],
)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_is_ignored(exif: bytes) -> None:
    """No warning and no refusal: the picture is upright."""
    plain = encode(gradient(), "JPEG")
    content = b"Exif\0\0" + exif
    encoded = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + plain[2:]

    np.testing.assert_array_equal(
        decode(encoded, max_pixels=LIMIT)[0], decode(plain, max_pixels=LIMIT)[0]
    )


def huge_png() -> bytes:
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"")


def huge_jpeg() -> bytes:
    plain = encode(gradient(), "JPEG")
    at = plain.index(b"\xff\xc0") + 5
    return plain[:at] + struct.pack(">HH", 60_000, 60_000) + plain[at + 4 :]


def huge_webp() -> bytes:
    exif = encode(gradient(), "WEBP", exif=Image.Exif().tobytes() or b"Exif\0\0II*\0")
    return exif[:24] + b"\xff\xff\x03" + b"\xff\xff\x03" + exif[30:]


@pytest.mark.parametrize("make", [huge_png, huge_jpeg, huge_webp], ids=["png", "jpeg", "webp"])
def test_a_bomb_is_refused_by_its_header(make: Callable[[], bytes]) -> None:
    """The size is checked before anything is decoded."""
    with pytest.raises(BadPicture, match=r"^picture: got far over 1000000 pixels"):
        decode(make(), max_pixels=LIMIT)


def test_the_limit_of_pixels_is_inclusive() -> None:
    """40 x 24 are 960."""
    encoded = encode(gradient(), "PNG")

    assert decode(encoded, max_pixels=960)[0].shape == (24, 40, 3)
    with pytest.raises(BadPicture, match="got 40x24, wanted at most 959"):
        decode(encoded, max_pixels=959)


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_a_bomb_in_the_metadata_does_no_harm(kind: bytes) -> None:
    """What is packed beside the pixels is unpacked to a bound, or not at all."""
    bomb = b"key\0\0" + zlib.compress(b"x" * (2 * PngImagePlugin.MAX_TEXT_CHUNK))
    encoded = insert_chunk(encode(gradient(), "PNG"), kind, bomb)

    assert outcome(encoded) in {"refused", "read"}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_picture_is_refused(kind: str, share: float) -> None:
    """Half a picture is none."""
    encoded = encode(gradient(200, 200), kind)

    with pytest.raises(BadPicture, match=r"^picture: .*(truncated|damaged)"):
        decode(encoded[: int(len(encoded) * share)], max_pixels=LIMIT)


@pytest.mark.parametrize("kind", FORMATS)
def test_no_start_of_a_picture_breaks_the_box(kind: str) -> None:
    """Every prefix is a BadPicture or a picture, never another exception."""
    encoded = encode(gradient(8, 8), kind, **({"quality": 50} if kind == "JPEG" else {}))
    outcomes = [outcome(encoded[:end]) for end in range(0, len(encoded), 3)]

    assert set(outcomes) <= {"refused", "read"}


def outcome(encoded: bytes) -> str:
    try:
        decode(encoded, max_pixels=LIMIT)
    except BadPicture:
        return "refused"
    return "read"


@pytest.mark.parametrize("kind", FORMATS)
def test_no_flipped_byte_breaks_the_box(kind: str) -> None:
    """Damage anywhere in the header is a BadPicture or a picture."""
    encoded = encode(gradient(8, 8), kind)
    damaged = [
        encoded[:at] + bytes([encoded[at] ^ 0xFF]) + encoded[at + 1 :]
        for at in range(min(len(encoded), 200))
    ]
    outcomes = [outcome(d) for d in damaged]

    assert set(outcomes) <= {"refused", "read"}


@pytest.mark.parametrize(
    ("encoded", "kind"),
    [
        pytest.param(b"", r"nothing \(0 bytes\)", id="nothing"),
        pytest.param(b"GIF89a....", "a GIF", id="gif"),
        pytest.param(b"%PDF-1.7", "a PDF", id="pdf"),
        pytest.param(b"\0asm\x01\0\0\0", "a wasm module", id="wasm"),
        pytest.param(b"\0\0\0\x1cftypheic", "HEIF, AVIF or MP4", id="heif"),
        pytest.param(b' {"a": 1}', "JSON", id="json"),
        pytest.param(b"secret", "unknown bytes", id="unknown"),
    ],
)
def test_what_is_no_picture_is_named(encoded: bytes, kind: str) -> None:
    """The sentence says what the bytes look like, and shows none of them."""
    with pytest.raises(BadPicture, match=f"^picture: got {kind}, wanted a whole JPEG, PNG or WebP"):
        decode(encoded, max_pixels=LIMIT)


def test_many_scans_are_refused() -> None:
    """Each scan of a progressive JPEG costs a pass over all pixels."""
    with pytest.raises(BadPicture, match="JPEG of over 100 scans"):
        decode(b"\xff\xd8\xff" + b"\xff\xda\0\0" * 101, max_pixels=LIMIT)


@pytest.mark.parametrize(
    "encoded",
    [
        pytest.param(b"\xff\xd8" + b"\xff\xfe\0\2" * 70_000, id="jpeg"),
        pytest.param(encode(gradient(), "PNG")[:33] + chunk(b"tEXt", b"") * 70_000, id="png"),
    ],
)
def test_a_file_of_nothing_but_headers_is_refused(encoded: bytes) -> None:
    """There are no pixels behind all those parts."""
    with pytest.raises(BadPicture, match=r"^picture: got"):
        decode(encoded, max_pixels=LIMIT)


def test_threads_may_decode_at_once() -> None:
    """No state is shared."""
    encoded = encode(gradient(), "JPEG")
    with ThreadPoolExecutor(4) as pool:
        decoded = list(pool.map(lambda _: decode(encoded, max_pixels=LIMIT)[0], range(32)))

    assert all(np.array_equal(decoded[0], other) for other in decoded)
