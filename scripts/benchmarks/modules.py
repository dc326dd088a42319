"""Guests of a wanted size, and many that differ: made of the real ones.

A module is a row of sections, each a kind, a length and content.
Source: https://webassembly.github.io/spec/core/binary/modules.html
"""

from collections.abc import Iterator

_HEADER_BYTES = 8
_CUSTOM, _FUNCTION, _CODE = 0, 3, 10


def grown(wasm: bytes, size_bytes: int) -> bytes:
    """Let a guest have its functions over and over, until it is so large.

    Nobody calls the copies; the compiler, which has no say in that, compiles each of them.
    """
    sections = list(_sections(wasm))
    types = list(_types(dict(sections)[_FUNCTION]))
    bodies = list(_bodies(dict(sections)[_CODE]))
    times = 1 + max(0, size_bytes - len(wasm)) // sum(len(body) for body in bodies)
    replaced = {
        _FUNCTION: _vector([leb(kind) for kind in types] * times),
        _CODE: _vector([leb(len(body)) + body for body in bodies] * times),
    }
    parts = [section(kind, replaced.get(kind, content)) for kind, content in sections]
    return wasm[:_HEADER_BYTES] + b"".join(parts)


def distinct(wasm: bytes, number: int) -> bytes:
    """Let a guest be another one, by a custom section that nobody reads."""
    name = b"number"
    return wasm + section(_CUSTOM, leb(len(name)) + name + str(number).encode())


def _sections(wasm: bytes) -> Iterator[tuple[int, bytes]]:
    at = _HEADER_BYTES
    while at < len(wasm):
        kind = wasm[at]
        length, at = _unleb(wasm, at + 1)
        yield kind, wasm[at : at + length]
        at += length


def _types(content: bytes) -> Iterator[int]:
    count, at = _unleb(content, 0)
    for _ in range(count):
        kind, at = _unleb(content, at)
        yield kind


def _bodies(content: bytes) -> Iterator[bytes]:
    count, at = _unleb(content, 0)
    for _ in range(count):
        length, at = _unleb(content, at)
        yield content[at : at + length]
        at += length


def section(kind: int, content: bytes) -> bytes:
    """Make a section of a module."""
    return bytes([kind]) + leb(len(content)) + content


def _vector(items: list[bytes]) -> bytes:
    return leb(len(items)) + b"".join(items)


def leb(number: int) -> bytes:
    """Encode an unsigned number as wasm does."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _unleb(raw: bytes, at: int) -> tuple[int, int]:
    """Read a number. Returns: it, and where the next thing begins."""
    number = shift = 0
    while True:
        byte = raw[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
