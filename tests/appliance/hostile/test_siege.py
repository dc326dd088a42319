"""Twelve hostile guests and a sleeper beside one polite app on a real box, by one and all at once.

The bound here is loose, for a test machine may do anything meanwhile; `scripts/bench hostile`
holds the box to 0.9.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import pytest

from appliance.shipped import classifier_folder
from tests.appliance.hostile.attackers import ATTACKERS, Attacker
from tests.appliance.hostile.siege import Siege, attacked_by
from tests.appliance.service import Service

_KEPT = 0.5


@pytest.fixture(scope="module")
def coffee(read_sample: Callable[[str], bytes]) -> bytes:
    return read_sample("coffee.jpg")


@pytest.fixture(scope="module", autouse=True)
def _polite(service: Service, coffee: bytes) -> None:
    """An app that classifies, warm."""
    wasm = (classifier_folder() / "classifier.wasm").read_bytes()
    manifest = (classifier_folder() / "app.toml").read_bytes()
    assert service.deploy("classifier", wasm, manifest).status_code == 200
    assert service.show("classifier", coffee).status_code == 200


def connect(service: Service) -> httpx.Client:
    """Open a connection of the attacker's own."""
    transport = httpx.HTTPTransport(uds=str(service.socket))
    return httpx.Client(transport=transport, base_url="http://box", timeout=60)


@pytest.fixture
def client(service: Service) -> Iterator[httpx.Client]:
    with connect(service) as opened:
        yield opened


def hostile_call(client: httpx.Client, attacker: Attacker, picture: bytes) -> Callable[[], object]:
    """Give what the attacker does again and again."""
    if not attacker.is_deployable:
        return lambda: client.put(f"/v1/apps/{attacker.name}", content=attacker.wasm)
    return lambda: client.post(f"/v1/apps/{attacker.name}/frames", content=picture)


@pytest.mark.parametrize("attacker", ATTACKERS, ids=lambda attacker: attacker.name)
def test_a_hostile_app_ends_with_its_reason_and_the_polite_one_goes_on(
    service: Service, client: httpx.Client, picture: bytes, coffee: bytes, attacker: Attacker
) -> None:
    """The polite app keeps its rate, loses no frame, and the box says which limit held."""
    service.deploy(attacker.name, attacker.wasm, attacker.manifest.encode())

    def show() -> None:
        assert service.show("classifier", coffee).status_code == 200

    kept = Siege(
        show, lambda: attacked_by([hostile_call(client, attacker, picture)]), 0.15, 0.3
    ).kept_at_best(3, _KEPT)

    detail = service.http.get(f"/v1/apps/{attacker.name}").json()
    reasons = set(detail["failures"]) - {"suspended"}
    assert attacker.reasons >= reasons
    assert bool(attacker.reasons) == bool(reasons)
    assert attacker.words in detail["last_error"] + detail["last_deploy_error"]
    assert attacker.limits >= set(detail["breaches"])
    assert bool(attacker.limits) == bool(detail["breaches"])
    assert bool(attacker.limits) == (detail["last_breach"] is not None)
    assert kept >= _KEPT
    assert service.http.delete(f"/v1/apps/{attacker.name}").status_code == 204


def test_all_at_once_end_with_their_reasons_and_the_polite_one_goes_on(
    service: Service, picture: bytes, coffee: bytes
) -> None:
    """Each on a connection of its own: the polite app loses no frame, and each has its reason."""
    for attacker in ATTACKERS:
        service.deploy(attacker.name, attacker.wasm, attacker.manifest.encode())

    def show() -> None:
        assert service.show("classifier", coffee).status_code == 200

    with ExitStack() as opened:
        clients = [opened.enter_context(connect(service)) for _ in ATTACKERS]
        calls = tuple(
            hostile_call(client, attacker, picture)
            for client, attacker in zip(clients, ATTACKERS, strict=True)
        )
        kept = Siege(show, lambda: attacked_by(calls), 0.3, 1.0).kept_at_best(1, _KEPT / 2)

    details = {a.name: service.http.get(f"/v1/apps/{a.name}").json() for a in ATTACKERS}
    said = {name: d["last_error"] + d["last_deploy_error"] for name, d in details.items()}
    assert {a.name: a.words in said[a.name] for a in ATTACKERS} == dict.fromkeys(said, True)
    assert kept >= _KEPT / 2
    for attacker in ATTACKERS:
        assert service.http.delete(f"/v1/apps/{attacker.name}").status_code == 204
