"""What WASI gives an instance: arguments, variables, folders; of the machine's own, nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import wasmtime

from appliance.asks import FRAME_FOLDER
from appliance.errors import Unavailable
from appliance.guests.program import Program
from appliance.guests.quotas import FolderSpace

# Descriptors of opened folders count from here, in order; the engine's way and WASI's custom.
_FIRST_FOLDER = 3


@dataclass(frozen=True, slots=True)
class WasiSetup:
    """What an instance is given. spaces: descriptor of an opened folder -> what it takes from."""

    config: wasmtime.WasiConfig
    spaces: dict[int, FolderSpace] = field(default_factory=dict)


def set_up(program: Program, arguments: Sequence[str], frame: Path | None = None) -> WasiSetup:
    """Give an instance what its app is granted.

    frame: the frame's file, its standard input; the folder around it is opened for reading.
    Raises: Unavailable if a granted folder is not there.
    """
    config = wasmtime.WasiConfig()
    config.argv = [program.name, *arguments]
    # The operator knows better than the one who wrote the app.
    config.env = list({**program.manifest.env, **program.grants.env}.items())
    opened = _FIRST_FOLDER
    if frame is not None:
        config.stdin_file = frame
        config.preopen_dir(str(frame.parent), FRAME_FOLDER, False)
        opened += 1
    spaces = {}
    for descriptor, folder in enumerate(program.grants.folders, opened):
        try:
            config.preopen_dir(str(folder.path), folder.guest, folder.may_write)
        except wasmtime.WasmtimeError as exc:
            raise Unavailable(
                f"app {program.name}: folder {folder.name} cannot be opened on this box; see "
                "[policy.folders] in its settings.toml",
            ) from exc
        if folder.may_write:
            spaces[descriptor] = program.host.spaces.of(folder.path, folder.max_bytes)
    return WasiSetup(config, spaces)
