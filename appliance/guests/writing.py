"""WASI's calls that make files grow, asked first whether the folder has room.

The engine's own functions do the work, called through the module of `between`.

A guest is refused with ENOSPC, as by a full disk, and that is a breach of `folder_bytes`.
Standard streams stay what they are: a closed 1 could be given to a file, whose writes would then
pass for output. Symbolic links are refused, since programs outside would follow them.

Source: WASI preview 1, functions and `errno`, `oflags`, `ciovec`.
"""

import struct

import wasmtime

from appliance.guests.between import EFAULT, PASSED_ON, Files
from appliance.guests.refusing import ENOTCAPABLE, Function, Served, offer

_SUCCESS, _EFBIG, _ENOSPC, _ENOTSUP = 0, 22, 51, 58
_CREATE = 1
# A name costs some microseconds to count, a call of the host here some 50.
_NAMES_PER_CALL = 8
_STREAMS = 2
_LENGTH = struct.Struct("<4xI")
# More than any C library hands over at once (IOV_MAX).
_MAX_VECTORS = 1024
_MASK = (1 << 64) - 1


def guard_in(linker: wasmtime.Linker) -> None:
    """Offer the guarded functions; the instances must have `Files`."""
    growing: dict[str, Function] = {
        "fd_allocate": _allocate, "fd_close": _close, "fd_filestat_set_size": _set_size,
        "fd_pwrite": _write("fd_pwrite"), "fd_renumber": _renumber, "fd_write": _write("fd_write"),
        "path_create_directory": _create_directory, "path_link": _link, "path_open": _open,
    }  # fmt: skip
    for name, function in growing.items():
        offer(linker, name, PASSED_ON[name], function)
    offer(linker, "path_symlink", "iiiii", _symlink)


def _files(served: Served) -> Files:
    assert served.files is not None, "an app with this linker has files"
    return served.files


def _grow(
    served: Served, caller: wasmtime.Caller, name: str, arguments: tuple[int, ...], *,
    descriptor: int, size_bytes: int = 0, names: int = 0,
) -> int:  # fmt: skip
    """Pass a call on if the folder has room for what it wants."""
    space = _files(served).space(descriptor)
    if space is None:
        return _files(served).call(caller, name, arguments)
    counted = space.names_counted
    with space.taking(size_bytes, names) as over:
        # Counting thousands of files again and again would be a way to keep the box busy.
        served.guest.count_calls((space.names_counted - counted) // _NAMES_PER_CALL)
        if over is None:
            return _files(served).call(caller, name, arguments)
    served.guest.breaches.note("folder_bytes", space.max_bytes, over)
    served.refuse(
        name, f"errno {_ENOSPC}, its folder would hold {over} bytes, wanted at most "
        f"{space.max_bytes}; remove files, or raise max_bytes in [policy.folders]",
    )  # fmt: skip
    return _ENOSPC


def _write(name: str) -> Function:
    def write(served: Served, caller: wasmtime.Caller, arguments: tuple[int, ...]) -> int:
        descriptor, vectors, count = arguments[0], arguments[1] & 0xFFFFFFFF, arguments[2]
        if _files(served).space(descriptor) is None:
            return _files(served).call(caller, name, arguments)
        if not 0 <= count <= _MAX_VECTORS:
            return EFAULT
        raw = bytes(served.guest.memory.window(vectors, count * _LENGTH.size, name))
        wanted = sum(length for (length,) in _LENGTH.iter_unpack(raw))
        return _grow(served, caller, name, arguments, descriptor=descriptor, size_bytes=wanted)

    return write


def _allocate(served: Served, caller: wasmtime.Caller, arguments: tuple[int, ...]) -> int:
    return _grow(
        served, caller, "fd_allocate", arguments,
        descriptor=arguments[0], size_bytes=arguments[2] & _MASK,
    )  # fmt: skip


def _set_size(served: Served, caller: wasmtime.Caller, arguments: tuple[int, ...]) -> int:
    """A hole takes no space; but a file that seems larger than its folder may be is refused."""
    space = _files(served).space(arguments[0])
    if space is not None and arguments[1] & _MASK > space.max_bytes:
        served.guest.breaches.note("folder_bytes", space.max_bytes, arguments[1] & _MASK)
        return _EFBIG
    return _files(served).call(caller, "fd_filestat_set_size", arguments)


def _open(served: Served, caller: wasmtime.Caller, arguments: tuple[int, ...]) -> int:
    folder, oflags, out = arguments[0], arguments[4], arguments[8] & 0xFFFFFFFF
    names = 1 if oflags & _CREATE else 0
    errno = _grow(served, caller, "path_open", arguments, descriptor=folder, names=names)
    if errno == _SUCCESS:
        raw = bytes(served.guest.memory.window(out, 4, "path_open out-pointer"))
        _files(served).note(int.from_bytes(raw, "little"), _files(served).space(folder))
    return errno


def _create_directory(served: Served, caller: wasmtime.Caller, arguments: tuple[int, ...]) -> int:
    return _grow(
        served, caller, "path_create_directory", arguments, descriptor=arguments[0], names=1
    )


def _link(served: Served, caller: wasmtime.Caller, arguments: tuple[int, ...]) -> int:
    return _grow(served, caller, "path_link", arguments, descriptor=arguments[4], names=1)


def _symlink(served: Served, caller: wasmtime.Caller, arguments: tuple[int, ...]) -> int:
    served.refuse("path_symlink", f"errno {ENOTCAPABLE}, no app may make symbolic links")
    return ENOTCAPABLE


def _close(served: Served, caller: wasmtime.Caller, arguments: tuple[int, ...]) -> int:
    if 0 <= arguments[0] <= _STREAMS:
        return _SUCCESS
    errno = _files(served).call(caller, "fd_close", arguments)
    if errno == _SUCCESS:
        _files(served).move(arguments[0], None)
    return errno


def _renumber(served: Served, caller: wasmtime.Caller, arguments: tuple[int, ...]) -> int:
    if any(0 <= descriptor <= _STREAMS for descriptor in arguments):
        return _ENOTSUP
    errno = _files(served).call(caller, "fd_renumber", arguments)
    if errno == _SUCCESS:
        _files(served).move(*arguments)
    return errno
