"""Ed25519 keys: made, kept in PEM files, and used. The only file that knows the library.

It is loaded when first wanted: a box without signed apps does without its 10 MB.

Source: RFC 8032 (Ed25519), RFC 8410 (its PEM); what `openssl genpkey -algorithm ed25519` writes.
"""

from dataclasses import dataclass, field
from hashlib import sha256

from appliance.errors import BadRequest

# Of our files 119 bytes; somebody else's may carry a comment.
MAX_KEY_BYTES = 4096
_ID_LENGTH = 16
_WANTED = "an Ed25519 key in PEM, such as `appliance keys new` makes"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """raw: its 32 bytes."""

    raw: bytes

    @property
    def id(self) -> str:
        """Name the key for people and logs; it decides nothing."""
        return sha256(self.raw).hexdigest()[:_ID_LENGTH]

    def pem(self) -> bytes:
        """Write it as a file."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        key = Ed25519PublicKey.from_public_bytes(self.raw)
        return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def has_signed(self, signature: bytes, message: bytes) -> bool:
        """Tell whether the signature is this key's over the message."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """raw: its 32 bytes, never printed."""

    raw: bytes = field(repr=False)

    @property
    def public(self) -> PublicKey:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        key = Ed25519PrivateKey.from_private_bytes(self.raw)
        return PublicKey(key.public_key().public_bytes_raw())

    def pem(self) -> bytes:
        """Write it as a file, in the clear: the file's rights protect it."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
        )

        key = Ed25519PrivateKey.from_private_bytes(self.raw)
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def sign(self, message: bytes) -> bytes:
        """Returns: the signature's 64 bytes."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Ed25519PrivateKey.from_private_bytes(self.raw).sign(message)


def new_key() -> PrivateKey:
    """Make a key of the system's random numbers."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return PrivateKey(Ed25519PrivateKey.generate().private_bytes_raw())


def read_public(pem: bytes, name: str) -> PublicKey:
    """Read a public key's file. name: the file's.   Raises: BadRequest if it is none."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    if b"PRIVATE KEY" in pem:
        raise BadRequest(f"{name}: got a private key, wanted the public one (.pub); keep it secret")
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise BadRequest(f"{name}: not a public key, wanted {_WANTED}") from exc
    if not isinstance(key, Ed25519PublicKey):
        raise BadRequest(f"{name}: got another kind of key, wanted {_WANTED}")
    return PublicKey(key.public_bytes_raw())


def read_private(pem: bytes, name: str) -> PrivateKey:
    """Read a private key's file. name: the file's.   Raises: BadRequest if it is none."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        why = "under a passphrase" if isinstance(exc, TypeError) else "not a private key"
        raise BadRequest(f"{name}: {why}, wanted {_WANTED}") from exc
    if not isinstance(key, Ed25519PrivateKey):
        raise BadRequest(f"{name}: got another kind of key, wanted {_WANTED}")
    return PrivateKey(key.private_bytes_raw())
