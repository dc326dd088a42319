"""Signatures of apps: what is signed, and how a signature is written.

Signed is the app's name with the digest of its wasm and its app.toml, behind a prefix of our own,
so that a signature for one thing can never be taken for one for another. The name is in it: what
an app may do hangs on its name (`[policy.apps.NAME]`), and a lone `.wasm` gets its name from
whoever deploys it.

A signature is one line, in `app.sig` of a bundle, beside a guest as `x.wasm.sig`, or in the HTTP
header `X-App-Signature`:

    ed25519:4d1ef2c07c0f1f25:classifier:BASE64     the key's id, the app's name, 64 bytes

Not prevented: that an old version, once signed, is deployed again. Who wants that gone removes the
key.
"""

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Self

from appliance.bundles import Bundle
from appliance.errors import Forbidden
from appliance.trust.keys import PrivateKey, PublicKey

_PREFIX = b"edge-inference-appliance app signature v1\0"
_LINE = re.compile(rb"ed25519:([0-9a-f]{16}):([a-z0-9][a-z0-9-]{0,62}):([A-Za-z0-9+/]{86}==)")


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature. key_id: of the key that made it, as it says.   name: the app's."""

    key_id: str
    name: str
    raw: bytes

    @classmethod
    def parse(cls, line: bytes) -> Self:
        """Read a line. Raises: Forbidden if it is no signature, whatever little is wrong."""
        found = _LINE.fullmatch(line.removesuffix(b"\n"))
        try:
            if found is not None:
                key_id, name, packed = found.groups()
                raw = base64.b64decode(packed, validate=True)
                # Several texts give the same bytes; only one is the signature.
                if base64.b64encode(raw) == packed:
                    return cls(key_id.decode(), name.decode(), raw)
        except binascii.Error:
            pass
        raise Forbidden("signature: not one that `appliance sign` makes; sign the app again")

    def line(self) -> bytes:
        """Write it."""
        packed = base64.b64encode(self.raw)
        return b"ed25519:%s:%s:%s\n" % (self.key_id.encode(), self.name.encode(), packed)

    def is_by(self, key: PublicKey, bundle: Bundle) -> bool:
        """Tell whether this key signed this bundle under this name."""
        return key.has_signed(self.raw, message_of(bundle, self.name))


def message_of(bundle: Bundle, name: str) -> bytes:
    """Give what is signed of an app."""
    return _PREFIX + name.encode() + b"\0" + bytes.fromhex(bundle.digest)


def sign(bundle: Bundle, name: str, key: PrivateKey) -> Signature:
    """Sign an app under its name."""
    return Signature(key.public.id, name, key.sign(message_of(bundle, name)))
