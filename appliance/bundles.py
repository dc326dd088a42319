"""What a user drops: a lone `.wasm`, or a .zip, .tar or .tar.gz with one and an `app.toml`.

Archives are read in memory, file by file, and never unpacked to disk: no path in one can lead
anywhere, and a bomb is stopped by its limit, not by the disk (`archives`). Of other files those
are kept that the manifest names, such as the picture of its sample.
"""

import io
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from types import MappingProxyType

from appliance.archives import Bounds, Visitor, is_archive, visit
from appliance.errors import BadGuest, BadRequest, TooBig
from appliance.golden import files_named
from appliance.manifests import APP_MANIFEST, MAX_MANIFEST_BYTES

MIB = 1024 * 1024
# A Python guest with its interpreter is 18 MB; chosen with room above that.
MAX_WASM_BYTES = 128 * MIB
MAX_MEMBERS = 64
# A picture as a camera makes it; chosen, not measured.
MAX_FILE_BYTES = 8 * MIB
# How far an archive may go on with files that nobody wants, such as the guest's sources.
_REACH_BYTES = 4 * MAX_WASM_BYTES
_VERSION_LENGTH = 12
SIGNATURE_FILE = "app.sig"
# One line (trust.signing).
MAX_SIGNATURE_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Bundle:
    """A guest as it arrived.

    manifest: the bytes of its app.toml, if it brought one.   files: what the manifest names, by
    the names it has there.
    signature: a line that says who signed it (`trust.signing`); no part of the version.
    """

    wasm: bytes
    manifest: bytes | None = None
    signature: bytes | None = None
    files: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}), hash=False)

    @property
    def version(self) -> str:
        """Name the content: the same wasm, manifest and files are the same version."""
        return self.digest[:_VERSION_LENGTH]

    @property
    def digest(self) -> str:
        """Name the content in full, which is what is signed: SHA-256, in hex."""
        digest = sha256(sha256(self.wasm).digest())
        digest.update(sha256(self.manifest or b"").digest())
        for name in sorted(self.files):
            digest.update(sha256(name.encode()).digest())
            digest.update(sha256(self.files[name]).digest())
        return digest.hexdigest()

    def signed(self, signature: bytes | None) -> "Bundle":
        """Add a signature that came beside. Raises: BadRequest if it has another one."""
        if signature is None or signature == self.signature:
            return self
        if self.signature is not None:
            raise BadRequest(
                f"signature: got one beside the bundle and another {SIGNATURE_FILE} in it; "
                "send one of them"
            )
        return replace(self, signature=signature)


def read_bundle(content: bytes) -> Bundle:
    """Take apart what was dropped; anything that is no archive is taken for wasm.

    Raises: BadRequest for a damaged archive, BadGuest for one without exactly one .wasm or without
    a file that its app.toml names, TooBig.
    """
    return _Reader(content).bundle() if is_archive(content[:512]) else Bundle(content)


class _Reader:
    """Reads one archive, twice if it has files beside the two: which ones the manifest says."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._members: list[str] = []
        self._kept: dict[str, bytes] = {}

    def bundle(self) -> Bundle:
        """Raises: see `read_bundle`."""
        self._pass(self._wants_main, _limit_of)
        guest = self._the_guest()
        named = self._at_most_one(APP_MANIFEST, _is_manifest)
        signed = self._at_most_one(SIGNATURE_FILE, _is_signature)
        manifest = None if named is None else self._kept[named]
        signature = None if signed is None else self._kept[signed]
        # As the manifest names them: relative to itself.
        home = "" if named is None else named.removesuffix(APP_MANIFEST)
        places = {home + name: name for name in files_named(manifest)}
        wasm = self._kept.pop(guest)
        if places:
            self._pass(lambda name: name in places, lambda _: MAX_FILE_BYTES)
        for place, name in places.items():
            if place not in self._kept:
                raise BadGuest(
                    f"bundle: {APP_MANIFEST} names {name}, which is not in the archive beside it; "
                    "pack it, too"
                )
        files = {name: self._kept[place] for place, name in places.items()}
        return Bundle(wasm, manifest, signature, MappingProxyType(files))

    def _pass(self, wants: Callable[[str], bool], limit_of: Callable[[str], int]) -> None:
        def take(name: str, pieces: Iterator[bytes]) -> None:
            content = bytearray()
            for piece in pieces:
                content += piece
                if len(content) > limit_of(name):
                    raise TooBig(f"bundle: {name} is over {limit_of(name)} bytes unpacked")
            self._kept[name] = bytes(content)

        # Each file has its own limit; all together these.
        bounds = Bounds(_REACH_BYTES, MAX_MEMBERS, "bundle", "")
        visit(io.BytesIO(self._content), bounds, Visitor(wants, take, _REACH_BYTES))

    def _wants_main(self, name: str) -> bool:
        """Take the first guest and the first manifest; more of them are counted and refused."""
        self._members.append(name)
        if len(self._members) > MAX_MEMBERS:
            raise TooBig(f"bundle: got over {MAX_MEMBERS} files, wanted at most that")
        return any(
            is_kind(name) and not any(map(is_kind, self._kept))
            for is_kind in (_is_guest, _is_manifest, _is_signature)
        )

    def _the_guest(self) -> str:
        found = [name for name in self._members if _is_guest(name)]
        if len(found) != 1:
            raise BadGuest(f"bundle: got {len(found)} .wasm files, wanted exactly one")
        return found[0]

    def _at_most_one(self, what: str, is_kind: Callable[[str], bool]) -> str | None:
        found = [name for name in self._members if is_kind(name)]
        if len(found) > 1:
            raise BadGuest(f"bundle: got {len(found)} {what} files, wanted at most one")
        return found[0] if found else None


def _is_guest(name: str) -> bool:
    return name.endswith(".wasm")


def _is_manifest(name: str) -> bool:
    return name.split("/")[-1] == APP_MANIFEST


def _is_signature(name: str) -> bool:
    return name.split("/")[-1] == SIGNATURE_FILE


def _limit_of(name: str) -> int:
    if _is_guest(name):
        return MAX_WASM_BYTES
    return MAX_SIGNATURE_BYTES if _is_signature(name) else MAX_MANIFEST_BYTES


def write_bundle(
    wasm: bytes, manifest: bytes | None, signature: bytes | None = None,
    files: Mapping[str, bytes] = MappingProxyType({}),
) -> bytes:  # fmt: skip
    """Pack a guest with its manifest, what that names, and signature, for sending as one body."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("app.wasm", wasm)
        if manifest is not None:
            archive.writestr(APP_MANIFEST, manifest)
        if signature is not None:
            archive.writestr(SIGNATURE_FILE, signature)
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()
