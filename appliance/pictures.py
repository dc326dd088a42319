"""Encoded pictures become pixels, and pixels a PNG: JPEG, PNG and WebP, by Pillow.

Rules:
1. The size in the header is checked against max_pixels before anything is decoded.
2. Orientation (EXIF) is applied. Alpha is dropped, not composited, as training pipelines do.
   Grey becomes R = G = B, 16 bits keep the upper 8, CMYK is converted, the first frame counts.
3. A damaged or truncated picture is refused, never half shown. Damaged metadata is ignored.

GIF and BMP are left out: no camera makes them, and Pillow unpacks some of them in Python, minutes
for a file of a few bytes.
"""

import contextlib
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from appliance.errors import BadPicture

_MEDIA_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
# Each scan of a progressive JPEG costs a pass over all pixels; encoders write about 10.
_MAX_SCANS = 100
_SCAN_MARKER = b"\xff\xda"

_FOREIGN = (
    (b"GIF8", "a GIF"), (b"BM", "a BMP"), (b"%PDF", "a PDF"), (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "gzip data"), (b"\0asm", "a wasm module"), (b"II*\0", "a TIFF"),
    (b"MM\0*", "a TIFF"), (b"\xff\xd8", "a damaged JPEG"), (b"\x89PNG", "a damaged PNG"),
    (b"{", "JSON"), (b"<", "XML or HTML"),
)  # fmt: skip


def decode(encoded: bytes, *, max_pixels: int) -> tuple[NDArray[np.uint8], str]:
    """Decode a picture.

    max_pixels: largest width * height, inclusive; checked before any decoding.
    Returns: uint8 (H, W, 3), RGB, C-contiguous and read-only; and the media type.
    Raises: BadPicture.
    """
    if encoded.count(_SCAN_MARKER) > _MAX_SCANS and encoded.startswith(b"\xff\xd8"):
        raise BadPicture(f"picture: got a JPEG of over {_MAX_SCANS} scans; save it anew")
    try:
        with Image.open(io.BytesIO(encoded), formats=list(_MEDIA_TYPES)) as image:
            kind = str(image.format)
            _check_size(image.size, max_pixels)
            pixels = _to_rgb(image)
    except BadPicture:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
        raise BadPicture(
            f"picture: got far over {max_pixels} pixels, wanted at most that; send it smaller"
        ) from exc
    except UnidentifiedImageError as exc:
        raise BadPicture(
            f"picture: got {_kind_of(encoded)}, wanted a whole JPEG, PNG or WebP; convert it first"
        ) from exc
    except Exception as exc:  # Pillow promises no type: OSError, SyntaxError, ValueError, ...
        raise BadPicture(
            f"picture: got a damaged or truncated {_kind_of(encoded)}; send it whole"
        ) from exc
    pixels.flags.writeable = False
    return pixels, _MEDIA_TYPES[kind]


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode a frame that came without a file, without loss and fast rather than small.

    pixels: uint8 (H, W, 3), RGB.
    """
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "PNG", compress_level=1)
    return encoded.getvalue()


def _check_size(size_wh: tuple[int, int], max_pixels: int) -> None:
    width, height = size_wh
    if width * height > max_pixels:
        raise BadPicture(
            f"picture: got {width}x{height}, wanted at most {max_pixels} pixels; send it smaller"
        )


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    image.load()
    # Else Pillow's convert looks at it, and warns of some kinds.
    image.info.pop("transparency", None)
    # Whatever a damaged EXIF raises: the pixels are whole, so it is shown as it lies.
    with contextlib.suppress(Exception):
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        # 16-bit grey: convert() would clip at 255 instead of scaling.
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    return np.array(image.convert("RGB"))


def _kind_of(encoded: bytes) -> str:
    """Guess what somebody sent instead of a picture."""
    if not encoded:
        return "nothing (0 bytes)"
    if encoded[4:8] == b"ftyp":
        return "HEIF, AVIF or MP4"
    start = encoded[:64].lstrip()
    known = [kind for magic, kind in _FOREIGN if start.startswith(magic)]
    return known[0].replace("a damaged ", "") if known else "unknown bytes"
