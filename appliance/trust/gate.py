"""The gate: asked about an app before anything of it is used, at deploy and at every restore.

Rules:
1. A signature by a trusted key that does not fit is refused, also where none is required; so is
   one for another app, and what is no signature at all.
2. Where signatures are required, none and one by an unknown key are refused. Where not, an
   unknown key is nobody: the app counts as unsigned.
3. Where the policy names who may sign an app (`signed_by`), nobody else's counts.
4. A manifest that asks for more than the policy grants is refused.
"""

import logging
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Self

from appliance.bundles import Bundle
from appliance.errors import Forbidden, Unavailable
from appliance.manifests import AppManifest
from appliance.policies import PolicySettings
from appliance.settings import Settings
from appliance.trust.grants import Grants, grants_of
from appliance.trust.signing import Signature
from appliance.trust.trusted import TrustedKeys

log = logging.getLogger(__name__)

# Versions whose admission is remembered, to be shown; a box has some dozens.
_KEPT = 1000


@dataclass(frozen=True, slots=True)
class Admission:
    """Why a version was let in.

    signer: the name of the trusted key that signed it; None if none did.
    key_id: of whatever key its signature names; None without one.
    """

    grants: Grants
    signer: str | None = None
    key_id: str | None = None


class Gate:
    """Lets apps in, or not. Thread-safe.

    keys: who is trusted.   is_required: whether an app needs a signature.
    """

    def __init__(
        self, keys: TrustedKeys, policy: PolicySettings, *, is_required: bool = False
    ) -> None:
        self._keys = keys
        self._policy = policy
        self.is_required = is_required
        self._lock = threading.Lock()
        self._admitted: OrderedDict[tuple[str, str], Admission] = OrderedDict()

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Make the gate that the operator asks for."""
        keys = TrustedKeys(settings.keys)
        return cls(keys, settings.policy, is_required=settings.require_signature)

    def __call__(self, bundle: Bundle, manifest: AppManifest) -> Admission:
        """Let an app in. Raises: Forbidden; Unavailable if a folder it asks for is not there."""
        name, version = manifest.name, bundle.version
        signer, key_id = self._signature(bundle, name)
        wanted = self._policy.of_app(name).signed_by
        if wanted is not None and signer not in wanted:
            raise Forbidden(
                f"app {name}: {f'signed by {signer}' if signer else 'not signed by a trusted key'},"
                f" wanted one of {', '.join(sorted(wanted)) or 'none'}; see signed_by in "
                f"[policy.apps.{name}] of settings.toml"
            )
        grants = grants_of(manifest, self._policy)
        for folder in grants.folders:
            if not os.path.isdir(folder.path):
                raise Unavailable(
                    f"app {name}: folder {folder.name} is not there on this box; see "
                    "[policy.folders] in its settings.toml"
                )
        admission = Admission(grants, signer, key_id)
        with self._lock:
            known = self._admitted.pop((name, version), None)
            self._admitted[name, version] = admission
            if len(self._admitted) > _KEPT:
                self._admitted.popitem(last=False)
        if signer is not None and known != admission:
            log.info("app signed app=%s version=%s signer=%s key=%s", name, version, signer, key_id)
        elif key_id is not None and known != admission:
            log.warning(
                "app signed by an unknown key app=%s version=%s key=%s", name, version, key_id
            )
        return admission

    def admission(self, name: str, version: str) -> Admission | None:
        """Say why a version was let in; None if it was not asked about since the start."""
        with self._lock:
            return self._admitted.get((name, version))

    def signer_of(self, bundle: Bundle, name: str) -> str | None:
        """Tell which trusted key signed an app; None if none did. Raises: Forbidden."""
        return self._signature(bundle, name)[0]

    def _signature(self, bundle: Bundle, name: str) -> tuple[str | None, str | None]:
        """Find out who signed it. Returns: the trusted key's name, and the key's id."""
        if bundle.signature is None:
            if self.is_required:
                raise Forbidden(
                    f"app {name}: not signed, and this box takes signed apps only "
                    "(require_signature); sign it with `appliance sign`"
                )
            return None, None
        signature = Signature.parse(bundle.signature)
        if signature.name != name:
            raise Forbidden(
                f"app {name}: its signature is for the app {signature.name}; sign it again "
                f"with --name {name}, or deploy it as {signature.name}"
            )
        candidates = self._keys.of_id(signature.key_id)
        for signer, key in candidates:
            if signature.is_by(key, bundle):
                return signer, signature.key_id
        if candidates:
            raise Forbidden(
                f"app {name}: its signature by {candidates[0][0]} is wrong: wasm or app.toml are "
                "not what was signed; get both anew, or sign them again"
            )
        if self.is_required:
            raise Forbidden(
                f"app {name}: signed by key {signature.key_id}, which this box does not trust; "
                "the operator may trust it with `appliance keys trust`"
            )
        return None, signature.key_id
