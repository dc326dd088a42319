"""What the process holds in memory now, as the kernel counts it."""

import os
from pathlib import Path

_STATM = Path("/proc/self/statm")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def resident_bytes() -> int | None:
    """Tell the resident memory of this process; None where there is no /proc.

    Source: proc(5), /proc/pid/statm: size, resident, ... in pages.
    """
    try:
        return int(_STATM.read_text().split()[1]) * _PAGE_BYTES
    except OSError:
        return None
