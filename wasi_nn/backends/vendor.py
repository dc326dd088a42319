"""What every backend needs because a vendor's library is a guest in our process."""

import ctypes
import functools
from collections.abc import Callable

# Vendors append call stacks and whole graphs; chosen, not measured.
_REASON_CHARS = 300


def reason(exc: BaseException) -> str:
    """Shorten a vendor's message to one line that can stand inside ours."""
    lines = (line.strip() for line in str(exc).splitlines())
    # OpenVINO says first where it is in its own sources.
    told = [line for line in lines if line and not line.startswith("Exception from ")]
    return " ".join(told)[:_REASON_CHARS].rstrip(".") or type(exc).__name__


def trim_heap() -> None:
    """Return the allocator's free pages to the system after a model is closed.

    glibc keeps them: RSS after closing EfficientNet-Lite0 (batch 8) was 89-104 MB with ONNX
    Runtime and 58-79 MB with LiteRT, and 65 and 46 MB after this call (x86-64). A whole close with
    it takes 9-20 ms.
    """
    call = _malloc_trim()
    if call is not None:
        call(0)


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    # musl and macOS have no malloc_trim.
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
