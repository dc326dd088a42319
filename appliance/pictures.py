"""Encoded pictures become pixels: JPEG, PNG, WebP and BMP, nothing else.

Rules:
1. A header is read by us before Pillow sees a byte: the kind, the size (against max_pixels), the
   orientation. What is no part of the pixels (EXIF, ICC, XMP, text, animation) is cut out, so no
   metadata parser runs on a stranger's bytes, and none can warn: Python's warnings are a switch
   of the whole process that no thread may turn for itself.
2. Orientation (EXIF) is applied. Alpha is dropped, not composited, as training pipelines do.
   Grey becomes R = G = B, 16 bits keep the upper 8, CMYK is converted, the first frame counts.
3. A damaged or truncated picture is refused, never half shown.

GIF is left out: no camera makes it, and its frames may grow beyond the header's size.
"""

import io
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from appliance.errors import BadPicture

# Chosen, not measured. Real files have under 100 parts, big PNG up to 4096 (32 MiB in 8 KiB).
_MAX_PARTS = 65_536
# Each scan of a progressive JPEG costs a pass over all pixels; encoders write about 10.
_MAX_SCANS = 100

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_PIXEL_CHUNKS = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}
_JPEG_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_SOS = 0xDA
# APP0 (JFIF) and APP14 (Adobe) say how colours are stored; all other APPn, and COM, may go.
_JPEG_METADATA = (frozenset(range(0xE1, 0xF0)) - {0xEE}) | {0xFE}
_BMP_UNCOMPRESSED = {0, 3}

_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_FOREIGN = (
    (b"GIF8", "a GIF"), (b"%PDF", "a PDF"), (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "gzip data"), (b"\0asm", "a wasm module"), (b"II*\0", "a TIFF"),
    (b"MM\0*", "a TIFF"), (b"\xff\xd8", "a damaged JPEG"), (b"{", "JSON"), (b"<", "XML or HTML"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Header:
    """What we read ourselves. pixels_only: the file without its metadata."""

    format: str
    media_type: str
    size_wh: tuple[int, int]
    pixels_only: bytes
    orientation: int = 1


def decode(encoded: bytes, *, max_pixels: int) -> tuple[NDArray[np.uint8], str]:
    """Decode a picture.

    max_pixels: largest width * height, inclusive; checked before any decoding.
    Returns: uint8 (H, W, 3), RGB, C-contiguous and read-only; and the media type.
    Raises: BadPicture.
    """
    try:
        header = _read_header(encoded)
    except (struct.error, IndexError) as exc:
        raise BadPicture("picture: truncated in its header; send it whole") from exc
    _check_size(header.size_wh, max_pixels)
    try:
        with Image.open(io.BytesIO(header.pixels_only), formats=[header.format]) as image:
            # Pillow may understand a malformed header otherwise than we do.
            _check_size(image.size, max_pixels)
            pixels = _to_rgb(image, header.orientation)
    except BadPicture:
        raise
    except Exception as exc:  # Pillow promises no type: OSError, SyntaxError, ValueError, ...
        raise BadPicture(
            f"picture: got a damaged or truncated {header.format}; send it whole"
        ) from exc
    pixels.flags.writeable = False
    return pixels, header.media_type


def _check_size(size_wh: tuple[int, int], max_pixels: int) -> None:
    width, height = size_wh
    if width < 1 or height < 1:
        raise BadPicture(f"picture: got {width}x{height}, wanted at least 1x1")
    if width * height > max_pixels:
        raise BadPicture(
            f"picture: got {width}x{height}, wanted at most {max_pixels} pixels; send it smaller"
        )


def _to_rgb(image: Image.Image, orientation: int) -> NDArray[np.uint8]:
    image.load()
    # Else Pillow's convert looks at it, and warns of some kinds.
    image.info.pop("transparency", None)
    if image.mode.startswith("I"):
        # 16-bit grey: convert() would clip at 255 instead of scaling.
        grey = (np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)
        image = Image.fromarray(grey)
    rgb = image.convert("RGB")
    if orientation in _TRANSPOSE:
        rgb = rgb.transpose(_TRANSPOSE[orientation])
    pixels: NDArray[np.uint8] = np.asarray(rgb)
    return pixels


def _read_header(encoded: bytes) -> _Header:
    if encoded.startswith(b"\xff\xd8\xff"):
        return _read_jpeg(encoded)
    if encoded.startswith(_PNG_SIGNATURE):
        return _read_png(encoded)
    if encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP":
        return _read_webp(encoded)
    if encoded.startswith(b"BM"):
        return _read_bmp(encoded)
    raise BadPicture(
        f"picture: got {_kind(encoded)}, wanted a JPEG, PNG, WebP or BMP; convert it first"
    )


def _kind(encoded: bytes) -> str:
    if not encoded:
        return "nothing (0 bytes)"
    if encoded[4:8] == b"ftyp":
        return "HEIF, AVIF or MP4"
    start = encoded[:64].lstrip()
    return next((kind for magic, kind in _FOREIGN if start.startswith(magic)), "unknown bytes")


def _read_jpeg(encoded: bytes) -> _Header:
    """Walk the segments up to the first scan. Source: ITU-T T.81, annex B."""
    if encoded.count(b"\xff\xda") > _MAX_SCANS:
        raise BadPicture(f"picture: got a JPEG of over {_MAX_SCANS} scans; save it anew")
    kept = [b"\xff\xd8"]
    size_wh, orientation, at = (0, 0), 1, 2
    for _ in range(_MAX_PARTS):
        if encoded[at] != 0xFF:
            raise BadPicture("picture: got a damaged JPEG, no marker where one must be")
        marker = encoded[at + 1]
        if marker == 0xFF:  # "any marker may optionally be preceded by any number of fill bytes"
            at += 1
            continue
        if marker == _JPEG_SOS:
            kept.append(encoded[at:])
            return _Header("JPEG", "image/jpeg", size_wh, b"".join(kept), orientation)
        (length,) = struct.unpack_from(">H", encoded, at + 2)
        segment = encoded[at : at + 2 + length]
        if marker in _JPEG_SOF:
            height, width = struct.unpack_from(">HH", segment, 5)
            # A second one is against the standard: the larger counts, the decoder will refuse.
            size_wh = (max(size_wh[0], width), max(size_wh[1], height))
        if marker == 0xE1 and segment[4:10] == b"Exif\0\0":
            orientation = _orientation(segment[10:])
        if marker not in _JPEG_METADATA:
            kept.append(segment)
        at += 2 + max(length, 2)
    raise BadPicture(f"picture: got a JPEG of over {_MAX_PARTS} segments; save it anew")


def _read_png(encoded: bytes) -> _Header:
    """Keep the chunks that make pixels. Source: W3C PNG, sections 5 and 11."""
    if encoded[12:16] != b"IHDR":
        raise BadPicture("picture: got a damaged PNG, it does not begin with IHDR")
    size_wh = struct.unpack_from(">II", encoded, 16)
    kept, orientation, at = [_PNG_SIGNATURE], 1, len(_PNG_SIGNATURE)
    for _ in range(_MAX_PARTS):
        if at + 8 > len(encoded):
            return _Header("PNG", "image/png", size_wh, b"".join(kept), orientation)
        length, kind = struct.unpack_from(">I4s", encoded, at)
        end = at + 12 + length
        if kind == b"eXIf":
            orientation = _orientation(encoded[at + 8 : end - 4])
        if kind in _PNG_PIXEL_CHUNKS:
            kept.append(encoded[at:end])
        at = end
    raise BadPicture(f"picture: got a PNG of over {_MAX_PARTS} chunks; save it anew")


def _read_webp(encoded: bytes) -> _Header:
    """Read the size of the canvas. Source: RFC 9649, section 2."""
    kind = encoded[12:16]
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(encoded[i : i + 3], "little") for i in (24, 27))
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", encoded, 21)
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", encoded, 26))
    orientation = _webp_orientation(encoded) if kind == b"VP8X" else 1
    # Whole: Pillow leaves a WebP's metadata alone unless it is asked for it.
    return _Header("WEBP", "image/webp", (width, height), encoded, orientation)


def _webp_orientation(encoded: bytes) -> int:
    at = 12
    for _ in range(_MAX_PARTS):
        if at + 8 > len(encoded):
            break
        kind, length = struct.unpack_from("<4sI", encoded, at)
        if kind == b"EXIF":
            return _orientation(encoded[at + 8 : at + 8 + length].removeprefix(b"Exif\0\0"))
        at += 8 + length + length % 2
    return 1


def _read_bmp(encoded: bytes) -> _Header:
    """Read the size; a negative height means rows from the top. Source: BITMAPINFOHEADER."""
    header_bytes, width, height = struct.unpack_from("<Iii", encoded, 14)
    (compression,) = struct.unpack_from("<I", encoded, 30)
    if header_bytes < 40 or compression not in _BMP_UNCOMPRESSED:
        # Pillow unpacks RLE in Python: minutes for a file of a few bytes.
        raise BadPicture("picture: got a compressed or ancient BMP, wanted an uncompressed one")
    return _Header("BMP", "image/bmp", (width, abs(height)), encoded)


def _orientation(exif: bytes) -> int:
    """Find tag 0x0112 in the first directory; 1 (upright) if it is damaged. Source: TIFF 6.0."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, directory)
        for index in range(count):
            tag, kind, _, value = struct.unpack_from(
                f"{order}HHIH", exif, directory + 2 + 12 * index
            )
            if (tag, kind) == (0x0112, 3):
                return value if value in _TRANSPOSE else 1
    except struct.error:
        return 1
    return 1


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode a frame that came without a file, without loss and fast rather than small.

    pixels: uint8 (H, W, 3), RGB.
    """
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG", compress_level=1)
    return encoded.getvalue()
