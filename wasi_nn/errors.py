"""Every way a WASI-NN call can fail, and the errno each way carries.

    NNError
     |- InvalidArgument        1   a handle, index, pointer, shape or size the guest got wrong
     |- InvalidEncoding        2   an encoding that is no encoding, or bytes that do not match it
     |- MissingMemory          3   the guest exports no memory
     |- Busy                   4   the box is full right now; the same call may work later
     |- RuntimeFailure         5   the model is damaged, or the vendor's runtime failed
     |- UnsupportedOperation   6   well formed, but not on this box: a device, an encoding
     |   `- NotPermitted       6   it could, but this guest is not granted it
     |- TooLarge               7   the answer does not fit the guest's buffer
     |- NotFound               8   no model of that name
     `- EndOfSequence        100   a stream of outputs is over (WasmEdge's extension)

Rules:
1. Backends and the session raise these and nothing else; a vendor's exception is translated in
   the vendor's own file.
2. Only the class knows the number. An ABI file reads `error.errno`; nothing else maps errors.

Source: WASI-NN witx `$nn_errno`; 100 and up from WasmEdge's plugin. Which situation gives which
number follows WasmEdge, the one host whose test suite asserts them.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Self


class Errno(IntEnum):
    """The i32 that every core-module WASI-NN function returns."""

    SUCCESS = 0
    INVALID_ARGUMENT = 1
    INVALID_ENCODING = 2
    MISSING_MEMORY = 3
    BUSY = 4
    RUNTIME_ERROR = 5
    UNSUPPORTED_OPERATION = 6
    TOO_LARGE = 7
    NOT_FOUND = 8
    END_OF_SEQUENCE = 100


@dataclass(frozen=True, slots=True)
class Excess:
    """Which limit a call went over.

    limit: its name to the operator.   wanted, allowed: in the limit's unit.
    """

    limit: str
    wanted: int
    allowed: int


class NNError(Exception):
    """A WASI-NN call failed; the message says what, got, wanted and what to do.

    excess: the limit that refused it, if one did.
    """

    errno = Errno.RUNTIME_ERROR
    excess: Excess | None = None

    def over(self, limit: str, wanted: int, allowed: int) -> Self:
        """Name the limit that refused the call."""
        self.excess = Excess(limit, wanted, allowed)
        return self


class InvalidArgument(NNError):
    """A handle, index, pointer, shape or size is wrong."""

    errno = Errno.INVALID_ARGUMENT


class InvalidEncoding(NNError):
    """The encoding is unknown, or the bytes are not of that encoding."""

    errno = Errno.INVALID_ENCODING


class MissingMemory(NNError):
    """The guest exports no memory, or a handle has nothing behind it."""

    errno = Errno.MISSING_MEMORY


class Busy(NNError):
    """A queue or a quota is full; try again later."""

    errno = Errno.BUSY


class RuntimeFailure(NNError):
    """The model is damaged or the vendor's runtime failed."""

    errno = Errno.RUNTIME_ERROR


class UnsupportedOperation(NNError):
    """The request is well formed but this box cannot serve it."""

    errno = Errno.UNSUPPORTED_OPERATION


class NotPermitted(UnsupportedOperation):
    """This guest is not granted it.

    6 as for what the box has not: no core-module dialect that guests use today has a number for
    it (WIT's `security` is for components; 8, which WAMR 2.1 called so, is not_found elsewhere),
    and generated bindings take undefined ones for impossible.
    """


class TooLarge(NNError):
    """The answer does not fit the buffer.

    required_bytes: the size that would fit.
    """

    errno = Errno.TOO_LARGE

    def __init__(self, message: str, *, required_bytes: int) -> None:
        super().__init__(message)
        self.required_bytes = required_bytes


class NotFound(NNError):
    """No model of that name is registered."""

    errno = Errno.NOT_FOUND


class EndOfSequence(NNError):
    """The stream of outputs is over; there is nothing more to fetch."""

    errno = Errno.END_OF_SEQUENCE
