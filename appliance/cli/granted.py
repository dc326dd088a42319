"""What an app may do, in lines for people."""

from collections.abc import Iterable

from appliance.api import shapes


def granted_lines(detail: shapes.AppDetail) -> list[tuple[str, str]]:
    """Say who signed an app and what it may do; a line that is empty is left out."""
    signature, grants = detail.signature, detail.grants
    lines = [] if signature is None else [("signed by", _signer(signature))]
    if grants is None:
        return lines
    models = "all" if grants.models is None else _listed(grants.models)
    return [
        *lines,
        ("models", models + (", its own" if grants.own_models else ", none of its own")),
        ("encodings", _listed(grants.encodings)),
        ("devices", _listed(grants.devices)),
        ("folders", _listed(_folder(folder) for folder in grants.folders)),
        ("variables", _listed(grants.env)),
        ("clock", "yes" if grants.clock else "withheld"),
        ("random numbers", "yes" if grants.random else "withheld"),
    ]


def _signer(signature: shapes.AppSignature) -> str:
    if signature.signer is None:
        return f"a key that is not trusted, {signature.key_id}"
    return f"{signature.signer} ({signature.key_id})"


def _folder(folder: shapes.GrantedFolder) -> str:
    bound = f", up to {folder.max_bytes} bytes" if folder.access == "write" else ""
    return f"{folder.guest} is {folder.name} ({folder.access}{bound})"


def _listed(names: Iterable[str] | None) -> str:
    return "all" if names is None else ", ".join(names) or "none"
