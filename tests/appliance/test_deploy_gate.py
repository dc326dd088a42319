"""The deployer asks the gate: first of all at a deploy, and of everything that comes back."""

from dataclasses import replace
from pathlib import Path

import pytest

from appliance.bundles import Bundle
from appliance.errors import Forbidden
from appliance.policies import PolicySettings
from appliance.records import Frame
from appliance.standings import AppState
from appliance.trust.gate import Gate
from appliance.trust.keys import new_key
from appliance.trust.signing import sign
from appliance.trust.trusted import TrustedKeys
from tests.appliance import watguests as guests
from tests.appliance.deploybench import Bench, answer
from tests.appliance.workshop import Workshop

KEY = new_key()


def signed(label: str, name: str = "cat") -> Bundle:
    bundle = Bundle(guests.labelled(label))
    return replace(bundle, signature=sign(bundle, name, KEY).line())


@pytest.fixture
def keys(tmp_path: Path) -> TrustedKeys:
    """A folder that trusts the vendor."""
    made = TrustedKeys(tmp_path / "keys")
    made.add("vendor", KEY.public)
    return made


@pytest.fixture
def gate(keys: TrustedKeys) -> Gate:
    """A gate that lets everything in that is not signed wrongly."""
    return Gate(keys, PolicySettings())


@pytest.fixture
def bench(workshop: Workshop, tmp_path: Path, gate: Gate) -> Bench:
    """A deployer with a gate."""
    return Bench(workshop, tmp_path, gate=gate)


def test_a_refused_app_changes_nothing(bench: Bench, gate: Gate, frame: Frame) -> None:
    """The old one answers, nothing is on disk, the reason is shown."""
    bench.deployer.deploy(signed("old"), "cat")
    gate.is_required = True
    before = bench.files()
    with pytest.raises(Forbidden, match="app cat: not signed, and this box takes signed apps"):
        bench.deployer.deploy(Bundle(guests.labelled("new")), "cat")

    assert answer("old") == bench.labels("cat", frame)
    assert before == bench.files()
    assert "not signed" in bench.deployer.failures()[0].reason


def test_a_wrong_signature_is_refused_for_what_is_live_too(bench: Bench) -> None:
    """The same content, live already, with a signature that is another's."""
    bench.deployer.deploy(signed("old"), "cat")
    wrong = replace(signed("old"), signature=signed("new").signature)

    with pytest.raises(Forbidden, match="its signature by vendor is wrong"):
        bench.deployer.deploy(wrong, "cat")
    assert signed("old") == bench.deployer.bundle("cat")


def test_a_signature_may_come_later(bench: Bench) -> None:
    """Deploying the same content again with a signature keeps it; without one loses none."""
    unsigned = replace(signed("old"), signature=None)
    bench.deployer.deploy(unsigned, "cat")
    again = bench.deployer.deploy(signed("old"), "cat")
    bench.deployer.deploy(Bundle(guests.labelled("new")), "cat")
    bench.deployer.deploy(unsigned, "cat")

    assert not again.is_new
    assert signed("old") == bench.deployer.bundle("cat")


def test_a_rollback_to_an_unsigned_version_is_refused(
    bench: Bench, gate: Gate, frame: Frame
) -> None:
    """Once signatures are required; the signed version still answers."""
    bench.deployer.deploy(Bundle(guests.labelled("old")), "cat")
    bench.deployer.deploy(signed("new"), "cat")
    gate.is_required = True

    with pytest.raises(Forbidden, match="app cat: not signed"):
        bench.deployer.rollback("cat")
    assert answer("new") == bench.labels("cat", frame)


def test_a_restart_brings_up_what_is_signed_only(
    bench: Bench, workshop: Workshop, tmp_path: Path, gate: Gate, keys: TrustedKeys, frame: Frame
) -> None:
    """An unsigned app, one signed for another name, one changed on disk: each with its reason."""
    bench.deployer.deploy(signed("good", "good"), "good")
    bench.deployer.deploy(Bundle(guests.labelled("plain")), "plain")
    bench.deployer.deploy(signed("odd", "odd"), "odd")
    bench.table.close()
    (version,) = bench.deployer.versions("odd")
    file = bench.folder / "odd" / version.version / "app.sig"
    file.write_bytes(file.read_bytes().replace(b":odd:", b":cat:"))
    gate.is_required = True
    again = Bench(workshop, tmp_path, gate=gate)
    again.deployer.restore()

    reasons = {f.name: f.reason for f in again.deployer.failures()}
    assert answer("good") == again.labels("good", frame)
    assert ("good",) == again.table.names()
    assert "app plain: not signed" in reasons["plain"]
    assert "app odd: its signature is for the app cat" in reasons["odd"]
    assert AppState.FAILED is again.deployer.standing("plain").state
    again.table.close()


def test_a_key_that_is_trusted_no_more_brings_nothing_up(
    bench: Bench, workshop: Workshop, tmp_path: Path, gate: Gate, keys: TrustedKeys
) -> None:
    """Removing a key is how what it signed is taken off the boxes; trusting it brings it back."""
    gate.is_required = True
    bench.deployer.deploy(signed("good"), "cat")
    bench.table.close()
    keys.remove("vendor")
    again = Bench(workshop, tmp_path, gate=gate)
    again.deployer.restore()
    assert () == again.table.names()
    assert "which this box does not trust" in again.deployer.failures()[0].reason

    keys.add("vendor", KEY.public)
    again.deployer.enable("cat")
    assert ("cat",) == again.table.names()
    again.table.close()
