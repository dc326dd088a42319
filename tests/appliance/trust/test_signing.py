"""Signatures: what they cover, and that nothing near them passes."""

from dataclasses import replace
from pathlib import Path

import pytest

from appliance.bundles import Bundle, read_bundle, write_bundle
from appliance.errors import ApplianceError, Forbidden
from appliance.manifests import parse_app_manifest
from appliance.policies import PolicySettings
from appliance.trust.gate import Gate
from appliance.trust.keys import new_key
from appliance.trust.signing import Signature, message_of, sign
from appliance.trust.trusted import TrustedKeys
from tests.appliance import watguests as guests

KEY = new_key()
BUNDLE = Bundle(guests.STEADY, b'args = ["a"]')
LINE = sign(BUNDLE, "cat", KEY).line()
SIGNED = replace(BUNDLE, signature=LINE)


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    """A gate that trusts the key, and lets nothing in without a signature."""
    keys = TrustedKeys(tmp_path)
    keys.add("vendor", KEY.public)
    return Gate(keys, PolicySettings(), is_required=True)


def admit(gate: Gate, bundle: Bundle, name: str = "cat") -> str | None:
    manifest = parse_app_manifest(bundle.manifest or b"", default_name=name)
    return gate(bundle, manifest).signer


def flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def refused(gate: Gate, bundle: Bundle) -> bool:
    """Tell whether a bundle is refused, by the gate or before it."""
    try:
        admit(gate, bundle)
    except ApplianceError:
        return True
    return False


def test_a_signed_app_is_let_in(gate: Gate) -> None:
    """The key's name on this box is who signed it."""
    assert "vendor" == admit(gate, SIGNED)
    assert "vendor" == admit(gate, read_bundle(write_bundle(
        SIGNED.wasm, SIGNED.manifest, SIGNED.signature
    )))  # fmt: skip


@pytest.mark.parametrize("part", ["wasm", "manifest", "signature"])
def test_every_byte_counts(gate: Gate, part: str) -> None:
    """One bit of any byte of guest, manifest or signature, and the app is refused."""
    content: bytes = getattr(SIGNED, part)
    changed = [replace(SIGNED, **{part: flipped(content, at)}) for at in range(len(content))]

    assert [] == [at for at, bundle in enumerate(changed) if not refused(gate, bundle)]


@pytest.mark.parametrize("part", ["wasm", "manifest"])
def test_a_wrong_signature_is_refused_where_none_is_required(gate: Gate, part: str) -> None:
    """Who signs means it: a signed app that was changed does not count as unsigned."""
    gate.is_required = False
    content: bytes = getattr(SIGNED, part)
    changed = [replace(SIGNED, **{part: flipped(content, at)}) for at in range(len(content))]

    assert [] == [at for at, bundle in enumerate(changed) if not refused(gate, bundle)]


def test_parts_are_not_exchangeable(gate: Gate) -> None:
    """The manifest taken away, emptied, or moved into the guest is another app."""
    assert refused(gate, replace(SIGNED, manifest=None))
    assert refused(gate, replace(SIGNED, manifest=b""))
    assert refused(gate, replace(SIGNED, wasm=BUNDLE.wasm + b'args = ["a"]', manifest=None))


def test_a_signature_is_for_one_name(gate: Gate) -> None:
    """Deployed under another name, or its line changed to say so, it is refused."""
    with pytest.raises(Forbidden, match="app dog: its signature is for the app cat"):
        admit(gate, SIGNED, "dog")
    claimed = replace(SIGNED, signature=LINE.replace(b":cat:", b":dog:"))
    with pytest.raises(Forbidden, match="app dog: its signature by vendor is wrong"):
        admit(gate, claimed, "dog")


def test_an_unknown_key_is_nobody(gate: Gate) -> None:
    """Refused where signatures are required, unsigned where not; its id is told."""
    other = new_key()
    bundle = replace(BUNDLE, signature=sign(BUNDLE, "cat", other).line())
    with pytest.raises(Forbidden, match=f"key {other.public.id}, which this box does not trust"):
        admit(gate, bundle)
    gate.is_required = False

    admission = gate(bundle, parse_app_manifest(b"", default_name="cat"))
    assert (None, other.public.id) == (admission.signer, admission.key_id)


def test_a_key_cannot_borrow_an_id(gate: Gate) -> None:
    """The id in a signature only says where to look."""
    forged = sign(BUNDLE, "cat", new_key())
    line = Signature(KEY.public.id, "cat", forged.raw).line()

    with pytest.raises(Forbidden, match="its signature by vendor is wrong"):
        admit(gate, replace(BUNDLE, signature=line))


@pytest.mark.parametrize(
    "line",
    [b"", b"\n", b"ed25519", b"\xff" * 200, LINE[:-3], b" " + LINE,
     LINE + b"\n", LINE.replace(b"ed25519", b"rsa4096")],
    ids=["empty", "newline", "word", "bytes", "cut", "space", "two newlines", "other"],
)  # fmt: skip
def test_what_is_no_signature_is_refused(gate: Gate, line: bytes) -> None:
    """Also where none is required: somebody meant to sign."""
    gate.is_required = False

    with pytest.raises(Forbidden, match="signature: not one that `appliance sign` makes"):
        admit(gate, replace(BUNDLE, signature=line))


def test_what_is_signed_is_ours_alone() -> None:
    """A prefix keeps it from being anything else's message; name and digest cannot run together."""
    message = message_of(BUNDLE, "cat")

    assert message.startswith(b"edge-inference-appliance app signature v1\0cat\0")
    assert bytes.fromhex(BUNDLE.digest) == message[-32:]
    assert BUNDLE.digest.startswith(BUNDLE.version)


def test_the_gate_remembers_why(gate: Gate) -> None:
    """For whoever shows it; of what it refused there is nothing."""
    admit(gate, SIGNED)
    admission = gate.admission("cat", SIGNED.version)

    assert admission is not None
    assert ("vendor", KEY.public.id) == (admission.signer, admission.key_id)
    assert None is gate.admission("dog", SIGNED.version)


def test_an_app_may_be_bound_to_its_signer(gate: Gate, tmp_path: Path) -> None:
    """Though nothing else needs a signature: neither unsigned nor another trusted key will do."""
    other = new_key()
    TrustedKeys(tmp_path).add("other", other.public)
    table = {"apps": {"cat": {"signed_by": ["vendor"]}}}
    bound = Gate(TrustedKeys(tmp_path), PolicySettings.model_validate(table))

    assert "vendor" == admit(bound, SIGNED)
    assert None is admit(bound, BUNDLE, "dog")
    with pytest.raises(Forbidden, match="app cat: not signed by a trusted key, wanted one of ven"):
        admit(bound, BUNDLE)
    with pytest.raises(Forbidden, match="app cat: signed by other, wanted one of vendor"):
        admit(bound, replace(BUNDLE, signature=sign(BUNDLE, "cat", other).line()))
