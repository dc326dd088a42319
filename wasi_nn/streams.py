"""A guest's standard streams, into Python functions.

wasmtime-py's `WasiConfig.stdout_custom` hands wasmtime a Python function to call when the stream
is dropped, and wasmtime drops streams late, on a thread of its own: during interpreter exit that
call aborts the process (seen in 1 of 5 runs of a short program). So the streams are set here
through the C bindings with no such function, and the embedder forgets them itself. Where the
installed wasmtime has another shape, the public API serves.
"""

import ctypes
import errno
import itertools
import logging
from collections.abc import Callable
from typing import Any

import wasmtime

log = logging.getLogger(__name__)

# Takes what the guest wrote; returns None, or a negative errno to refuse it.
Writer = Callable[[bytes], int | None]

_WRITE = ctypes.CFUNCTYPE(
    ctypes.c_ssize_t, ctypes.c_void_p, ctypes.POINTER(ctypes.c_ubyte), ctypes.c_size_t
)
_NO_FINALIZER = ctypes.cast(0, ctypes.CFUNCTYPE(None, ctypes.c_void_p))

# By handle, never used twice: a write that comes after `close` finds nothing and is refused.
_writers: dict[int, Writer] = {}
_handles = itertools.count(1)


def _write(handle: int | None, data: Any, size: int) -> int:
    """Pass a write on; whatever the writer raises is a refusal."""
    writer = _writers.get(handle or 0)
    if writer is None:
        return -errno.EBADF
    try:
        refusal = writer(ctypes.string_at(data, size))
    except Exception:
        log.exception("writer of a guest's stream failed")
        return -errno.EIO
    return size if refusal is None else refusal


# One for all guests and for ever: wasm may call it whenever a guest lives.
_callback = _WRITE(_write)


class Streams:
    """Standard output and error of one guest. Close it when the guest is gone."""

    def __init__(self, stdout: Writer, stderr: Writer) -> None:
        self._handles = (next(_handles), next(_handles))
        _writers.update(zip(self._handles, (stdout, stderr), strict=True))

    def attach(self, config: wasmtime.WasiConfig) -> None:
        """Let a guest that gets this configuration write here."""
        stdout, stderr = self._handles
        try:
            from wasmtime import _ffi as ffi

            set_stdout: Any = ffi.wasi_config_set_stdout_custom
            set_stderr: Any = ffi.wasi_config_set_stderr_custom
            set_stdout(config.ptr(), _callback, stdout, _NO_FINALIZER)
            set_stderr(config.ptr(), _callback, stderr, _NO_FINALIZER)
        except (ImportError, AttributeError, ctypes.ArgumentError) as exc:
            log.warning("streams by the public API, wasmtime has another shape reason=%s", exc)
            config.stdout_custom = _writers[stdout]
            config.stderr_custom = _writers[stderr]

    def close(self) -> None:
        """Forget the writers."""
        for handle in self._handles:
            _writers.pop(handle, None)
