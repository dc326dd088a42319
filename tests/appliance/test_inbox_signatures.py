"""Signatures in the inbox: beside their guest, before it, after it, and for another one."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.bundles import Bundle, write_bundle
from appliance.inbox import Inbox
from appliance.policies import PolicySettings
from appliance.trust.gate import Gate
from appliance.trust.keys import new_key
from appliance.trust.signing import sign
from appliance.trust.trusted import TrustedKeys
from tests.appliance import watguests as guests
from tests.appliance.test_inbox import Place
from tests.appliance.workshop import Workshop

KEY = new_key()


@pytest.fixture(scope="module")
def signed() -> dict[str, bytes]:
    """A guest and its signature, as files."""
    line = sign(Bundle(guests.STEADY), "x", KEY).line()
    return {"x.wasm": guests.STEADY, "x.wasm.sig": line}


@pytest.fixture
def place(workshop: Workshop, tmp_path: Path) -> Iterator[Place]:
    """An inbox of a box that trusts the key."""
    made = Place(workshop, tmp_path)
    keys = TrustedKeys(tmp_path / "keys")
    keys.add("vendor", KEY.public)
    made.inbox = Inbox(made.folder, made.deployer, made.drops, gate=Gate(keys, PolicySettings()))
    made.deployer.restore()
    yield made
    made.table.close()


@pytest.mark.parametrize("order", [("x.wasm.sig", "x.wasm"), ("x.wasm", "x.wasm.sig")])
def test_a_signature_beside_goes_with_its_guest(
    place: Place, signed: dict[str, bytes], order: tuple[str, str]
) -> None:
    """Whichever comes first, also when the other one comes after the deploy."""
    for name in order:
        place.inbox.take(place.drop(name, signed[name]))

    place.inbox.take(place.drop("x.wasm", signed["x.wasm"]))
    assert {"x.wasm.status"} == place.names()
    assert signed["x.wasm.sig"] == place.deployer.bundle("x").signature


def test_a_signature_that_comes_late_is_found_by_itself(
    place: Place, signed: dict[str, bytes]
) -> None:
    """The watched folder: the guest is live and gone when its signature is dropped."""
    place.inbox.start()
    place.drop("x.wasm", signed["x.wasm"])
    first = place.wait_for("x.wasm", "live")
    (place.folder / "x.wasm.status").unlink()
    place.drop("x.wasm.sig", signed["x.wasm.sig"])
    second = place.wait_for("x.wasm", "live")
    place.inbox.stop()

    assert first["version"] == second["version"]
    assert signed["x.wasm.sig"] == place.deployer.bundle("x").signature
    assert {"x.wasm.status"} == place.names()


def test_a_signature_of_a_guest_that_is_not_there_waits(
    place: Place, signed: dict[str, bytes]
) -> None:
    """It is neither taken nor complained about."""
    place.inbox.take(place.drop("x.wasm.sig", signed["x.wasm.sig"]))

    assert {"x.wasm.sig"} == place.names()


def test_a_signature_for_the_next_version_is_not_for_this_one(
    place: Place, signed: dict[str, bytes]
) -> None:
    """It came before its guest: the old version is not to blame, and does not get it."""
    place.inbox.take(place.drop("x.wasm", guests.labelled("old")))
    place.inbox.take(place.drop("x.wasm.sig", signed["x.wasm.sig"]))

    assert None is place.deployer.bundle("x").signature
    assert () == place.deployer.failures()
    assert {"x.wasm.sig", "x.wasm.status"} == place.names()


def test_a_late_signature_switches_nothing_on(place: Place, signed: dict[str, bytes]) -> None:
    """What the operator disabled stays so."""
    place.inbox.take(place.drop("x.wasm", signed["x.wasm"]))
    place.deployer.disable("x")
    place.inbox.take(place.drop("x.wasm.sig", signed["x.wasm.sig"]))

    assert () == place.table.names()


def test_two_signatures_that_differ_are_refused(place: Place, signed: dict[str, bytes]) -> None:
    """One in the bundle and one beside it: somebody is mistaken."""
    place.drop("x.zip.sig", signed["x.wasm.sig"])
    place.inbox.take(place.drop("x.zip", write_bundle(signed["x.wasm"], None, b"other")))

    assert "got one beside the bundle and another" in place.status("x.zip")["reason"]
    assert {"x.zip", "x.zip.sig", "x.zip.status"} == place.names()
