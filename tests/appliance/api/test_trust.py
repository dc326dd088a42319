"""Policy and signatures on a running box, as clients and a restart meet them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.bundles import Bundle, write_bundle
from appliance.trust.keys import new_key
from appliance.trust.signing import sign
from appliance.trust.trusted import TrustedKeys
from tests.appliance import watguests as guests
from tests.appliance.service import Service
from tests.appliance.workshop import fake_model

KEY = new_key()
SETTINGS = """
[policy]
devices = ["cpu"]
env = {{ SITE = "the secret site" }}
[policy.folders]
photos = {{ path = "{folder}" }}
[policy.apps.cat]
read = ["photos"]
own_models = false
"""
MANIFEST = b'env_from = ["SITE"]\nfolders."/photos" = "photos"'
GRANTS = {
    "models": None, "own_models": False, "encodings": None, "devices": ["cpu"],
    "folders": [
        {"guest": "/photos", "name": "photos", "access": "read", "max_bytes": 64 << 20},
    ],
    "env": ["SITE"], "clock": True, "random": True,
}  # fmt: skip


def line_of(bundle: Bundle, name: str) -> str:
    return sign(bundle, name, KEY).line().decode().strip()


@pytest.fixture(scope="module")
def service(state: Path) -> Iterator[Service]:
    """A box with a policy and a trusted key."""
    photos = state.with_name("photos")
    photos.mkdir(parents=True)
    TrustedKeys(state / "keys").add("vendor", KEY.public)
    (state / "settings.toml").write_text(SETTINGS.format(folder=photos))
    with Service(state) as running:
        yield running


def test_the_detail_says_what_an_app_may_do(service: Service) -> None:
    """What is granted, by names; neither the variable's value nor the folder's path."""
    service.deploy("cat", guests.STEADY, MANIFEST)
    answer = service.http.get("/v1/apps/cat")

    assert GRANTS == answer.json()["grants"]
    assert None is answer.json()["signature"]
    assert [] == [word for word in ("secret", str(service.state.parent)) if word in answer.text]


def test_asking_for_more_is_refused(service: Service) -> None:
    """403 with the sentence; nothing of it is on the box."""
    answer = service.deploy("dog", guests.STEADY, MANIFEST)

    assert (403, "forbidden") == (answer.status_code, answer.json()["code"])
    assert (
        "app dog: app.toml asks for folder photos to read, the policy grants none"
        in (answer.json()["error"])
    )
    assert not (service.state / "apps" / "dog").exists()


def loading(content: bytes) -> bytes:
    """Load a model's bytes as ONNX on the CPU, and return the errno."""
    body = (
        f"(i32.store (i32.const 0) (i32.const {guests.TEXT_AT}))"
        f" (i32.store (i32.const 4) (i32.const {len(content)}))"
        " (call $load (i32.const 0) (i32.const 1) (i32.const 1) (i32.const 0) (i32.const 8))"
    )
    text = "".join(f"\\{byte:02x}" for byte in content)
    return guests.wasm(
        '(module (import "wasi_ephemeral_nn" "load"'
        " (func $load (param i32 i32 i32 i32 i32) (result i32)))"
        f' (memory (export "memory") 2) (data (i32.const {guests.TEXT_AT}) "{text}")'
        f' (func (export "appliance_on_frame") (param i32) (result i32) {body}))'
    )


def test_a_model_of_its_own_needs_a_grant(service: Service, picture: bytes) -> None:
    """Errno 6 and why; an app that is granted it gets as far as the backend, which knows better."""
    service.deploy("cat", loading(fake_model()), MANIFEST)
    service.deploy("dog", loading(fake_model()))
    refused, tried = (service.show(name, picture).json()["error"] for name in ("cat", "dog"))

    assert "returned 6, wanted 0; its last failed call: load: bytes of its own: this app may" in (
        refused
    )
    assert "by name only" not in tried


def test_a_signature_comes_in_a_header(service: Service) -> None:
    """For a lone wasm; who signed it is shown, and logged."""
    bundle = Bundle(guests.labelled("signed"))
    done = service.http.put(
        "/v1/apps/fox", content=bundle.wasm, headers={"X-App-Signature": line_of(bundle, "fox")}
    )

    assert 200 == done.status_code
    assert {"signer": "vendor", "key_id": KEY.public.id} == (
        service.http.get("/v1/apps/fox").json()["signature"]
    )
    assert "app signed app=fox" in service.log.read_text()


@pytest.mark.parametrize(
    ("name", "line", "sentence"),
    [
        pytest.param("owl", line_of(Bundle(b"other"), "owl"), "by vendor is wrong", id="wrong"),
        pytest.param("owl", line_of(Bundle(guests.STEADY), "elk"), "for the app elk", id="name"),
        pytest.param("owl", "é" * 3, "not one that `appliance sign` makes", id="latin"),
        pytest.param("owl", "x" * 5000, "not one that `appliance sign` makes", id="long"),
    ],
)
def test_a_wrong_signature_is_refused(
    service: Service, name: str, line: str, sentence: str
) -> None:
    """Though this box requires none."""
    answer = service.http.put(
        f"/v1/apps/{name}", content=guests.STEADY, headers={"X-App-Signature": line.encode()}
    )

    assert (403, "forbidden") == (answer.status_code, answer.json()["code"])
    assert sentence in answer.json()["error"]


def test_trust_is_not_to_be_had_over_the_socket(service: Service) -> None:
    """No route reads or writes keys, and no bundle's member gets out of its folder."""
    before = sorted(path.name for path in (service.state / "keys").iterdir())
    service.http.put("/v1/apps/cow", content=write_bundle(guests.STEADY, None, b"../keys"))
    routes = " ".join(service.http.get("/openapi.json").json()["paths"])

    assert "key" not in routes
    assert before == sorted(path.name for path in (service.state / "keys").iterdir())


def test_required_signatures_hold_after_a_restart(service: Service, picture: bytes) -> None:
    """What is signed comes up; what is not says why, and can neither be enabled nor deployed."""
    service.deploy("cat", guests.labelled("plain"), MANIFEST)
    service.end()
    settings = service.state / "settings.toml"
    settings.write_text("require_signature = true\n" + settings.read_text())
    service.start()
    cat = service.http.get("/v1/apps/cat").json()
    enabled = service.http.post("/v1/apps/cat/enable")
    again = service.deploy("cat", guests.labelled("plain"), MANIFEST)
    rolled = service.http.post("/v1/apps/cat/rollback")

    assert ["signed"] == service.labels("fox", picture)
    assert "vendor" == service.http.get("/v1/apps/fox").json()["signature"]["signer"]
    assert "failed" == cat["state"]
    assert "app cat: not signed, and this box takes signed apps only" in cat["reason"]
    assert [403, 403, 403] == [answer.status_code for answer in (enabled, again, rolled)]
