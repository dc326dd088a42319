"""How long a dropped file must not change before it is taken for whole.

The kernel knows whether somebody still writes a file, and tells its owner: a read lease is given
only on a file that nobody has open for writing. Where it cannot be had (the file is another user's,
or lies on a disk of another machine), time has to tell, as for any file that is written in turns.
"""

import fcntl
import os
import signal
from pathlib import Path

from appliance.manifests import APP_MANIFEST

# A copy over a slow link pauses longer now and then: it is then refused once and deployed when it
# is whole.
QUIET_S = 0.25
# `cp x.wasm x.toml inbox/` writes the guest before its manifest; chosen, ten times what that takes.
ALONE_S = 0.1
# A zip archive names its members at its end: some dozens of names.
_DIRECTORY_BYTES = 4096


def quiet_s_of(path: Path) -> float:
    """Say how long a dropped file must not change, in seconds; 0 if it is whole now.

    A guest whose manifest is there, beside it or in the archive, waits for nothing else.
    """
    manifest, signature = path.with_suffix(".toml"), Path(f"{path}.sig")
    parts = [path, *(beside for beside in (manifest, signature) if os.path.lexists(beside))]
    if not all(is_closed(part) for part in parts):
        return QUIET_S
    return 0.0 if manifest in parts or _brings_manifest(path) else ALONE_S


def is_closed(path: Path) -> bool:
    """Tell whether a file has content and surely no writer; False also if nobody can say."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        # Whoever opens the file for writing while we hold the lease makes the kernel send us this:
        # the default would end the process, this one is ignored.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return os.fstat(descriptor).st_size > 0
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _brings_manifest(path: Path) -> bool:
    """Tell whether the end of a file, where an archive has its directory, names a manifest."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _DIRECTORY_BYTES))
            return APP_MANIFEST.encode() in file.read(_DIRECTORY_BYTES)
    except OSError:
        return False
