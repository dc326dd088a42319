"""A guest that is small and costs its compiler gigabytes."""

from scripts.benchmarks.modules import leb, section

_LOCALS = 40_000
_BLOCKS = 20_000


def greedy() -> bytes:
    """Make a command of one function in which 40 000 locals live through 20 000 branches.

    The compiler notes for each branch what each local may be then: locals times branches.
    """
    branch = b"\x20%b\x04\x40\x20%b\x41\x01\x6a\x21%b\x0b"  # if (a) { c = b + 1 }
    body = b"".join(
        branch % (leb(n * 7 % _LOCALS), leb(n % _LOCALS), leb((n * 3 + 1) % _LOCALS))
        for n in range(_BLOCKS)
    )
    function = b"\x01" + leb(_LOCALS) + b"\x7f" + body + b"\x0b"
    return b"\0asm\x01\0\0\0" + b"".join(
        (
            section(1, b"\x01\x60\0\0"),  # a type: nothing in, nothing out
            section(3, b"\x01\0"),
            section(7, b"\x01\x06_start\0\0"),
            section(10, b"\x01" + leb(len(function)) + function),
        )
    )
