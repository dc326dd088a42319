"""Numbers and bytes that a hostile guest would send."""

import struct
from random import Random

U32 = 0xFFFFFFFF
_EDGES = (
    *range(0, 9), 12, 15, 16, 17, 20, 23, 24, 63, 64, 100, 255, 256, 257, 260, 1023, 1025, 9999,
    0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x3FFFFFFF, 0x40000000, 0x7FFFFFFC, 0x7FFFFFFF, 0x80000000,
    0x80000001, 0xBFFFFFFF, 0xFFFF0000, 0xFFFFFFF0, 0xFFFFFFFC, 0xFFFFFFFD, U32,
)  # fmt: skip


def number(random: Random, size: int) -> int:
    """Draw a u32: an edge, near the end of a memory of `size` bytes, inside it, or anything."""
    kind = random.random()
    if kind < 0.45:
        return random.choice(_EDGES)
    if kind < 0.65:
        return (size + random.randint(-24, 24)) & U32
    if kind < 0.9:
        return random.randrange(size)
    return random.getrandbits(32)


def spoil(random: Random, content: bytes, size: int) -> bytes:
    """Change a word or a byte of some bytes."""
    if not content:
        return content
    spoiled = bytearray(content)
    if len(content) >= 4 and random.random() < 0.7:
        at = random.randrange(len(content) // 4) * 4
        spoiled[at : at + 4] = struct.pack("<I", number(random, size))
    else:
        spoiled[random.randrange(len(content))] = random.getrandbits(8)
    return bytes(spoiled)
