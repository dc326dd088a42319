"""Pictures of a folder, or of a pattern, by name: one pass."""

import glob
import sys
from collections.abc import Iterator
from pathlib import Path

from appliance.cameras.scaling import picture_of
from appliance.cameras.shots import Shot, SourceError, Tally
from appliance.cameras.wire import Job, Opened
from appliance.errors import ApplianceError
from appliance.files import read_bounded
from appliance.pictures import decode

_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
_MAX_FILES = 100_000
_MAX_FILE_BYTES = 64 << 20
# Of a picture as it lies there; it is then scaled down as every frame is.
_MAX_PIXELS = 50_000_000
_DEFAULT_FPS = 1.0


class Stills:
    """The pictures that are there when it is made; one that is damaged is counted and left out.

    Raises: SourceError if there is none.
    """

    is_finite = True

    def __init__(self, job: Job, tally: Tally) -> None:
        self._tally = tally
        self._paths = _list(job.source.address)
        self._fps = job.source.number("fps", _DEFAULT_FPS)
        if not self._paths:
            raise SourceError("no JPEG, PNG or WebP there")
        self.opened = Opened("pictures", 0, 0, self._fps)

    def shots(self) -> Iterator[Shot]:
        """Decode one after the other; see `shots.ShotSource`."""
        shown = 0
        for path in self._paths:
            try:
                pixels, _ = decode(
                    read_bounded(path, max_bytes=_MAX_FILE_BYTES), max_pixels=_MAX_PIXELS
                )
            except ApplianceError as exc:
                self._tally.corrupt += 1
                sys.stderr.write(f"{path.name}: {exc}\n")
                continue
            yield Shot(picture_of(pixels), shown / self._fps)
            shown += 1
        if not shown:
            raise SourceError(f"none of {len(self._paths)} pictures is whole")

    def close(self) -> None:
        """Nothing is open between two pictures."""


def _list(address: str) -> list[Path]:
    is_pattern = bool(set("*[") & set(address))
    found = glob.iglob(address) if is_pattern else glob.iglob(f"{glob.escape(address)}/*")
    paths = []
    for name in found:
        path = Path(name)
        if path.suffix.lower() in _SUFFIXES and path.is_file():
            paths.append(path)
        if len(paths) > _MAX_FILES:
            raise SourceError(f"over {_MAX_FILES} pictures there; wanted fewer")
    return sorted(paths)
