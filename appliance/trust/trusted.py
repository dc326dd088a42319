"""The folder of trusted keys: `<state>/keys/NAME.pub`, one PEM file each.

It is read at every question, so a key that comes or goes counts from the next deploy on. Only who
may write into the state folder changes it; no request does.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

from appliance.errors import ApplianceError, BadRequest, Conflict, NotFound, Unavailable
from appliance.fields import check_name
from appliance.files import make_dirs, read_bounded, write_atomic
from appliance.trust.keys import MAX_KEY_BYTES, PublicKey, read_public

log = logging.getLogger(__name__)

SUFFIX = ".pub"


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """One file. key: None if it is damaged, and trusts nobody then."""

    name: str
    key: PublicKey | None


class TrustedKeys:
    """The keys of a folder; it need not be there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def all(self) -> tuple[TrustedKey, ...]:
        """List the keys by name, damaged ones too. Raises: Unavailable."""
        try:
            paths = sorted(path for path in self._folder.iterdir() if path.suffix == SUFFIX)
        except FileNotFoundError:
            return ()
        except OSError as exc:
            raise Unavailable(f"trusted keys: cannot be read: {exc.strerror}") from exc
        return tuple(TrustedKey(path.stem, self._read(path)) for path in paths)

    def of_id(self, key_id: str) -> tuple[tuple[str, PublicKey], ...]:
        """Find the keys that have an id, with their names: one, unless somebody forged ids."""
        return tuple(
            (trusted.name, trusted.key)
            for trusted in self.all()
            if trusted.key is not None and trusted.key.id == key_id
        )

    def add(self, name: str, key: PublicKey) -> None:
        """Trust a key. Raises: BadRequest for a bad name, Conflict if another key has it."""
        path = self._path(name)
        if path.exists() and self._read(path) != key:
            raise Conflict(f"key {name}: another key has this name; choose one, or remove that")
        make_dirs(self._folder.parent)
        # Public as what is in it: the box may run as somebody else than who trusts.
        make_dirs(self._folder, mode=0o755)
        write_atomic(path, key.pem(), mode=0o644)

    def remove(self, name: str) -> None:
        """Trust a key no more. Raises: NotFound naming those there are."""
        try:
            self._path(name).unlink()
        except FileNotFoundError as exc:
            known = ", ".join(trusted.name for trusted in self.all()) or "none"
            raise NotFound(f"key {name}: not trusted here; trusted are {known}") from exc

    def _path(self, name: str) -> Path:
        try:
            return self._folder / f"{check_name(name)}{SUFFIX}"
        except ValueError as exc:
            raise BadRequest(f"key name: got {name[:80]!r}, wanted {exc}") from exc

    def _read(self, path: Path) -> PublicKey | None:
        try:
            return read_public(read_bounded(path, max_bytes=MAX_KEY_BYTES), path.name)
        except ApplianceError as exc:
            log.warning("trusted key ignored reason=%s", exc)
            return None
