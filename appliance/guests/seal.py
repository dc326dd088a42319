"""The seal of a compiled guest: its hash and what it was compiled for, at its end.

    .cwasm = what wasmtime serialized | MAGIC | fingerprint, padded | SHA-256 of all before it

Loading machine code runs whatever its bytes happen to mean, and wasmtime checks the header only.
So nothing is loaded whose seal does not hold: a torn write, a damaged disk or half a download.
One file and not two: it is replaced whole, by however many makers at once. wasmtime reads an ELF
file from its headers and does not mind what follows.

The seal is no signature: who may write the file can seal it. The cache belongs to the box's user
alone, and a .cwasm elsewhere is run only if the operator names it on the command line.

Files are read a piece at a time: a large guest's code never lies in the service's memory twice.
"""

import os
from collections.abc import Iterator
from hashlib import sha256

MAGIC = b"\nappliance-cwasm1"
_FINGERPRINT_BYTES = 96
_HASH_BYTES = 32
SEAL_BYTES = len(MAGIC) + _FINGERPRINT_BYTES + _HASH_BYTES
# What wasmtime serializes begins as any ELF file.
ELF = b"\x7fELF"
# Of reads; in a core's second cache. SHA-256 takes a millisecond for each.
_PIECE_BYTES = 1024 * 1024


class BrokenSeal(Exception):
    """The seal is missing or does not hold; the message says which."""


def sealed(descriptor: int, fingerprint: str) -> Iterator[bytes]:
    """Give what a file holds, piece by piece, and then the seal for it.

    fingerprint: see `machine`.   Raises: OSError.
    """
    name = fingerprint.encode("ascii")
    assert len(name) <= _FINGERPRINT_BYTES, f"a fingerprint is short, got {fingerprint}"
    digest = sha256()
    for piece in _pieces(descriptor, os.fstat(descriptor).st_size):
        digest.update(piece)
        yield piece
    begin = MAGIC + name.ljust(_FINGERPRINT_BYTES, b"\0")
    digest.update(begin)
    yield begin + digest.digest()


def check_seal(descriptor: int) -> str:
    """Check a compiled guest from its first to its last byte.

    Returns: the fingerprint it was sealed with.   Raises: BrokenSeal, OSError.
    """
    content_bytes = os.fstat(descriptor).st_size - SEAL_BYTES
    seal = os.pread(descriptor, SEAL_BYTES, max(content_bytes, 0))
    if content_bytes < 0 or not seal.startswith(MAGIC):
        raise BrokenSeal("no seal at its end")
    digest = sha256()
    for piece in _pieces(descriptor, content_bytes):
        digest.update(piece)
    digest.update(seal[:-_HASH_BYTES])
    if digest.digest() != seal[-_HASH_BYTES:]:
        raise BrokenSeal("its hash is not the one it was sealed with")
    return seal[len(MAGIC) : -_HASH_BYTES].rstrip(b"\0").decode("ascii", "replace")


def _pieces(descriptor: int, size_bytes: int) -> Iterator[bytes]:
    """Read from the beginning; where the file stands is left alone."""
    offset = 0
    while offset < size_bytes:
        piece = os.pread(descriptor, min(_PIECE_BYTES, size_bytes - offset), offset)
        if not piece:
            return
        offset += len(piece)
        yield piece
