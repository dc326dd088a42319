"""What an app may do, and who signed it, as it travels."""

from collections.abc import Iterable
from enum import Enum

from appliance.api import shapes
from appliance.errors import Forbidden
from appliance.manifests import AppManifest
from appliance.policies import PolicySettings
from appliance.trust.gate import Admission
from appliance.trust.grants import grants_of


def grants_shape(manifest: AppManifest, policy: PolicySettings) -> shapes.Grants | None:
    """Say what an app may do; None if it asks for too much, and so may do nothing."""
    try:
        grants = grants_of(manifest, policy)
    except Forbidden:
        return None
    return shapes.Grants(
        models=None if grants.models is None else dict(grants.models),
        own_models=grants.own_models,
        encodings=_names(grants.encodings),
        devices=_names(grants.devices),
        folders=[
            shapes.GrantedFolder(
                guest=folder.guest, name=folder.name, max_bytes=folder.max_bytes,
                access="write" if folder.may_write else "read",
            )
            for folder in grants.folders
        ],
        env=sorted(grants.env),
        clock=grants.clock,
        random=grants.random,
    )  # fmt: skip


def _names(chosen: Iterable[Enum] | None) -> list[str] | None:
    return None if chosen is None else sorted(str(choice.value) for choice in chosen)


def signature_shape(admission: Admission | None) -> shapes.AppSignature | None:
    """Say who signed an app; None if nobody did."""
    if admission is None or admission.key_id is None:
        return None
    return shapes.AppSignature(signer=admission.signer, key_id=admission.key_id)
