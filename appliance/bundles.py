"""What a user drops: a lone `.wasm`, or a `.zip` with one and an `app.toml`.

Archives are read in memory, member by member, and never unpacked to disk: no path in one can
lead anywhere, and a bomb is stopped by its limit, not by the disk.
"""

import io
import lzma
import zipfile
import zlib
from dataclasses import dataclass, replace
from hashlib import sha256

from appliance.errors import BadGuest, BadRequest, TooBig
from appliance.manifests import APP_MANIFEST, MAX_MANIFEST_BYTES

MIB = 1024 * 1024
# A Python guest with its interpreter is 18 MB; chosen with room above that.
MAX_WASM_BYTES = 128 * MIB
MAX_MEMBERS = 64
_VERSION_LENGTH = 12
SIGNATURE_FILE = "app.sig"
# One line (trust.signing).
MAX_SIGNATURE_BYTES = 1024
METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
# What zipfile raises on damaged archives, found by changing every byte of one: beside its own
# error those of the decompressors, of seeking and of parsing its fields.
_DAMAGED = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, IndexError,
    NotImplementedError, RuntimeError,
)  # fmt: skip
# Where macOS puts its own notes about each member, under the member's name.
_MACOS_NOTES = "__MACOSX/"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A guest as it arrived.

    manifest: the bytes of its app.toml, if it brought one.
    signature: a line that says who signed it (`trust.signing`); no part of the version.
    """

    wasm: bytes
    manifest: bytes | None = None
    signature: bytes | None = None

    @property
    def version(self) -> str:
        """Name the content: the same wasm and manifest are the same version."""
        return self.digest[:_VERSION_LENGTH]

    @property
    def digest(self) -> str:
        """Name the content in full, which is what is signed: SHA-256, in hex."""
        digest = sha256(sha256(self.wasm).digest())
        digest.update(sha256(self.manifest or b"").digest())
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

    Raises: BadRequest for a damaged archive, BadGuest for one without exactly one .wasm, TooBig.
    """
    if not content.startswith(b"PK\x03\x04"):
        return Bundle(content)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return _read_zip(archive)
    except _DAMAGED as exc:
        raise BadRequest(f"bundle: the zip archive is damaged or encrypted: {exc}") from exc


def _read_zip(archive: zipfile.ZipFile) -> Bundle:
    members = [
        info
        for info in archive.infolist()
        if not info.is_dir() and not info.filename.startswith(_MACOS_NOTES)
    ]
    if len(members) > MAX_MEMBERS:
        raise TooBig(f"bundle: got {len(members)} files, wanted at most {MAX_MEMBERS}")
    guests = [info for info in members if info.filename.endswith(".wasm")]
    if len(guests) != 1:
        raise BadGuest(f"bundle: got {len(guests)} .wasm files, wanted exactly one")
    manifests = [info for info in members if info.filename.split("/")[-1] == APP_MANIFEST]
    if len(manifests) > 1:
        raise BadGuest(f"bundle: got {len(manifests)} {APP_MANIFEST} files, wanted at most one")
    manifest = _read(archive, manifests[0], MAX_MANIFEST_BYTES) if manifests else None
    signatures = [info for info in members if info.filename.split("/")[-1] == SIGNATURE_FILE]
    if len(signatures) > 1:
        raise BadGuest(f"bundle: got {len(signatures)} {SIGNATURE_FILE} files, wanted at most one")
    signature = _read(archive, signatures[0], MAX_SIGNATURE_BYTES) if signatures else None
    return Bundle(_read(archive, guests[0], MAX_WASM_BYTES), manifest, signature)


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, max_bytes: int) -> bytes:
    # zipfile asks bzip2 and LZMA for a bounded input, not a bounded output: 900 bytes took 2 GB.
    if info.compress_type not in METHODS:
        raise BadRequest(
            f"bundle: {info.filename} is packed by method {info.compress_type}, wanted deflate or "
            "none; pack it anew"
        )
    with archive.open(info) as member:
        # The size in the archive's directory is a claim; what comes out is counted.
        content = member.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise TooBig(f"bundle: {info.filename} is over {max_bytes} bytes unpacked")
    return content


def write_bundle(wasm: bytes, manifest: bytes | None, signature: bytes | None = None) -> bytes:
    """Pack a guest with its manifest and signature, for sending all as one body."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("app.wasm", wasm)
        if manifest is not None:
            archive.writestr(APP_MANIFEST, manifest)
        if signature is not None:
            archive.writestr(SIGNATURE_FILE, signature)
    return packed.getvalue()
