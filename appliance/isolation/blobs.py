"""What is too large for a message: handed to another process one after the other, in one file."""

import os
from collections.abc import Sequence

from wasi_nn.backend import Buffer


def write_blobs(fd: int, blobs: Sequence[Buffer]) -> None:
    """Write blobs where another process can read them; the file stays open. Raises: OSError."""
    for blob in blobs:
        view = memoryview(blob).cast("B")
        # One call writes 2 GiB at most.
        while view:
            view = view[os.write(fd, view) :]


def read_blobs(fd: int, sizes: Sequence[int]) -> list[bytes]:
    """Read what `write_blobs` wrote, and close the file. sizes: of each, in bytes."""
    blobs, offset = [], 0
    for size in sizes:
        blob = bytearray()
        while len(blob) < size:
            blob += os.pread(fd, size - len(blob), offset + len(blob))
        blobs.append(bytes(blob))
        offset += size
    os.close(fd)
    return blobs
