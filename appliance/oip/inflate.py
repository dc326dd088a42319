"""Compressed bodies, unpacked up to a bound: gzip, and deflate, which HTTP calls a zlib stream."""

import zlib

from appliance.errors import BadRequest, TooBig
from appliance.oip.messages import Buffer

# zlib's window bits: 16 more for gzip's frame.
_WINDOWS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


def inflated(body: Buffer, encoding: str, max_bytes: int) -> Buffer:
    """Undo a Content-Encoding.

    encoding: "" and "identity" leave the body as it is.
    Raises: TooBig as soon as it is over max_bytes, however little was sent; BadRequest for another
    encoding, or damaged or incomplete content, or something behind its end.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return body
    window = _WINDOWS.get(name)
    if window is None:
        raise BadRequest(
            f"Content-Encoding: got {encoding[:80]!a}, wanted gzip, deflate or identity"
        )
    unpacker = zlib.decompressobj(window)
    try:
        content = unpacker.decompress(body, max_bytes + 1)
    except zlib.error as exc:
        raise BadRequest(f"body: not {name}: {exc}") from exc
    if len(content) > max_bytes:
        raise TooBig(f"body: got over {max_bytes} bytes once unpacked, wanted at most that")
    if not unpacker.eof:
        raise BadRequest(f"body: its {name} content ends early; send it whole")
    if unpacker.unused_data:
        raise BadRequest(f"body: something follows its {name} content")
    return content
