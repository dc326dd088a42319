"""Which versions passed their trial, over restarts: cache/trials.json.

An entry counts only while everything it was tried with is the same: what stands in its key, and
the models it asked for. A damaged file costs new trials, no more.
"""

import hashlib
import json
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from appliance.errors import ApplianceError, Unavailable
from appliance.files import make_dirs, read_bounded, write_atomic

log = logging.getLogger(__name__)

# More versions than a box keeps; the one used longest ago is forgotten.
KEPT = 200
_MAX_BYTES = 1024 * 1024
_MAX_SHOWN = 500
_MAX_WARNINGS = 8


@dataclass(frozen=True, slots=True)
class Trial:
    """What a trial found.

    picture: the sample's name, "" for the box's own.   label, score: what was said first about it.
    models: those that were asked for.   is_remembered: it passed before.
    """

    picture: str
    seconds: float
    label: str | None = None
    score: float | None = None
    warnings: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    is_remembered: bool = False

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read one. Raises: ValueError, KeyError or TypeError for what is none."""
        label, score = value["label"], value["score"]
        return cls(
            str(value["picture"]), float(value["seconds"]),
            None if label is None else str(label)[:_MAX_SHOWN],
            None if score is None else float(score),
            tuple(str(text)[:_MAX_SHOWN] for text in value["warnings"][:_MAX_WARNINGS]),
            tuple(str(name)[:_MAX_SHOWN] for name in value["models"]),
        )  # fmt: skip


def key_of(*parts: object) -> str:
    """Name what a trial depends on."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


class TrialBook:
    """Trials that were passed. Thread-safe.

    print_of: what changes when a model does, by its name; "" if there is none.
    """

    def __init__(self, file: Path, print_of: Callable[[str], str]) -> None:
        self._file = file
        self._print_of = print_of
        self._lock = threading.Lock()
        # The one used last comes last.
        self._entries: dict[str, tuple[Trial, dict[str, str]]] | None = None

    def find(self, key: str) -> Trial | None:
        """Find a trial that still counts."""
        with self._lock:
            entries = self._opened()
            entry = entries.pop(key, None)
            if entry is None:
                return None
            entries[key] = entry
        trial, prints = entry
        is_same = all(self._print_of(name) == known for name, known in prints.items())
        return trial if is_same else None

    def note(self, key: str, trial: Trial) -> None:
        """Remember a trial that was passed; a full disk costs the next start a trial."""
        prints = {name: self._print_of(name) for name in trial.models}
        with self._lock:
            entries = self._opened()
            entries.pop(key, None)
            entries[key] = (trial, prints)
            while len(entries) > KEPT:
                del entries[next(iter(entries))]
            content = json.dumps([[k, asdict(t), p] for k, (t, p) in entries.items()])
            try:
                make_dirs(self._file.parent)
                write_atomic(self._file, content.encode())
            except Unavailable as exc:
                log.warning("trial not remembered reason=%s", exc)

    def _opened(self) -> dict[str, tuple[Trial, dict[str, str]]]:
        """Under the lock. Read the file when it is first needed."""
        if self._entries is None:
            self._entries = _read(self._file)
        return self._entries


def _read(file: Path) -> dict[str, tuple[Trial, dict[str, str]]]:
    try:
        entries = json.loads(read_bounded(file, max_bytes=_MAX_BYTES))
        return {
            str(key): (Trial.from_json(trial), {str(n): str(p) for n, p in prints.items()})
            for key, trial, prints in entries
        }
    except (ApplianceError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def print_of_folder(folder: Path) -> str:
    """Tell, at the cost of a stat a file, whether anything in a folder changed.

    The change time: a file that is written in place, replaced, or copied with its old date has
    another.
    """
    try:
        found = [
            (path.relative_to(folder).as_posix(), status.st_size, status.st_ctime_ns)
            for path in sorted(folder.rglob("*"))
            for status in (path.stat(),)
        ]
    except OSError:
        return ""
    return key_of(str(folder), *found)
