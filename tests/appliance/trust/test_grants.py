"""What an app gets: never more than it asks, never more than the operator grants."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import Forbidden
from appliance.manifests import AppManifest, parse_app_manifest
from appliance.policies import PolicySettings
from appliance.trust.grants import Grants, grants_of
from wasi_nn.backend import Device, Encoding

MODELS = ("lite", "big", "odd")
FOLDERS = {name: {"path": f"/srv/{name}"} for name in ("photos", "results")}
ENCODINGS = [e for e in Encoding if e is not Encoding.AUTODETECT]
VARIABLES = ("SITE", "KEY")


def subsets(values: Any, max_size: int = 3) -> Any:
    return st.sets(st.sampled_from(sorted(values, key=str)), max_size=max_size)


def maybe(strategy: Any) -> Any:
    return st.none() | strategy


POLICY = st.fixed_dictionaries(
    {},
    optional={
        "models": maybe(subsets(MODELS)), "own_models": st.booleans(),
        "encodings": maybe(subsets(ENCODINGS)), "devices": maybe(subsets(Device)),
        "read": subsets(FOLDERS), "write": subsets(FOLDERS),
        "env": subsets(VARIABLES).map(lambda names: {name: f"{name} of the box" for name in names}),
        "clock": st.booleans(), "random": st.booleans(),
    },
)  # fmt: skip
POLICIES = st.tuples(POLICY, maybe(POLICY)).map(
    lambda pair: PolicySettings.model_validate(
        {**pair[0], "folders": FOLDERS, "apps": {} if pair[1] is None else {"cat": pair[1]}}
    )
)
SWITCH = maybe(st.booleans())
FOLDER = st.fixed_dictionaries({"name": st.sampled_from(sorted(FOLDERS)), "write": st.booleans()})
MANIFESTS = st.fixed_dictionaries({
    "name": st.sampled_from(["cat", "dog"]),
    "models": maybe(subsets(MODELS, 1).map(sorted)),
    "env_from": subsets(VARIABLES, 1).map(sorted),
    "folders": st.dictionaries(st.sampled_from(["/a", "/b"]), FOLDER, max_size=1),
    "wasi": st.fixed_dictionaries({"clock": SWITCH, "random": SWITCH}),
    "nn": st.fixed_dictionaries({
        "own_models": SWITCH, "encodings": maybe(subsets(ENCODINGS, 1)),
        "devices": maybe(subsets(Device, 1)),
    }),
}).map(AppManifest.model_validate)  # fmt: skip


def no_more(got: Any, bound: Any) -> bool:
    """Tell whether a choice is within a bound; None is everything."""
    return bound is None or (got is not None and set(got) <= set(bound))


def granted(manifest: AppManifest, policy: PolicySettings) -> Grants | None:
    try:
        return grants_of(manifest, policy)
    except Forbidden:
        return None


@given(MANIFESTS, POLICIES)
def test_a_grant_is_never_more_than_the_policy(
    manifest: AppManifest, policy: PolicySettings
) -> None:
    """Whatever an app asks; its own table beats the one for all, key by key."""
    got, allowed = granted(manifest, policy), policy.of_app(manifest.name)

    assert got is None or [] == [
        what
        for what, is_within in {
            "models": no_more(None if got.models is None else got.models.values(), allowed.models),
            "own models": allowed.own_models >= got.own_models,
            "encodings": no_more(got.encodings, allowed.encodings),
            "devices": no_more(got.devices, allowed.devices),
            "written": {f.name for f in got.folders if f.may_write} <= allowed.write,
            "read": {f.name for f in got.folders} <= allowed.read | allowed.write,
            "env": set(got.env) <= set(allowed.env),
            "clock": allowed.clock >= got.clock,
            "random": allowed.random >= got.random,
        }.items()
        if not is_within
    ]


@given(MANIFESTS, POLICIES)
def test_a_grant_is_never_more_than_was_asked(
    manifest: AppManifest, policy: PolicySettings
) -> None:
    """Where the manifest asks at all; folders and variables are there only if asked for."""
    got, nn, wasi = granted(manifest, policy), manifest.nn, manifest.wasi

    assert got is None or [] == [
        what
        for what, is_within in {
            "models": no_more(got.models, manifest.models),
            "own models": nn.own_models is not False or not got.own_models,
            "encodings": no_more(got.encodings, nn.encodings),
            "devices": no_more(got.devices, nn.devices),
            "folders": {f.guest: (f.name, f.may_write) for f in got.folders}
            == {guest: (f.name, f.write) for guest, f in manifest.folders.items()},
            "env": set(got.env) == set(manifest.env_from),
            "clock": wasi.clock is not False or not got.clock,
            "random": wasi.random is not False or not got.random,
        }.items()
        if not is_within
    ]


@given(MANIFESTS)
def test_what_is_asked_and_granted_is_given_in_full(manifest: AppManifest) -> None:
    """A policy that grants everything refuses nobody, and gives what was asked."""
    policy = PolicySettings.model_validate(
        {"folders": FOLDERS, "write": set(FOLDERS), "env": dict.fromkeys(VARIABLES, "x")}
    )
    got = grants_of(manifest, policy)

    assert manifest.models == got.models
    assert (manifest.nn.encodings, manifest.nn.devices) == (got.encodings, got.devices)


def test_by_default_nothing_is_withheld_from_a_lone_wasm() -> None:
    """Models by name and by bytes, on every device, the clock and random numbers; no folder."""
    assert Grants() == grants_of(parse_app_manifest(b"", default_name="cat"), PolicySettings())


@pytest.mark.parametrize(
    ("manifest", "policy", "sentence"),
    [
        pytest.param(
            'models = ["big"]', {"models": ["lite"]},
            "asks for model big, the policy grants lite; the operator may change models in",
            id="model",
        ),
        pytest.param(
            "nn.own_models = true", {"own_models": False}, "asks for nn.own_models, .* none",
            id="own models",
        ),
        pytest.param(
            'nn.devices = ["npu", "cpu"]', {"devices": ["cpu"]},
            "asks for nn.devices npu, the policy grants cpu; the operator may change devices",
            id="device",
        ),
        pytest.param(
            'nn.encodings = ["onnx"]', {"encodings": []}, "nn.encodings onnx, .* grants none",
            id="encoding",
        ),
        pytest.param('folders."/x" = "photos"', {}, "folder photos to read, .* none", id="folder"),
        pytest.param(
            'folders."/x" = {name = "photos", write = true}', {"read": ["photos"]},
            "folder photos to write, the policy grants none", id="folder to write",
        ),
        pytest.param('env_from = ["KEY"]', {"env": {"SITE": "x"}}, "KEY, .* SITE", id="variable"),
        pytest.param("wasi.random = true", {"random": False}, "wasi.random, .* none", id="random"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_was_asked_and_what_to_change(
    manifest: str, policy: dict[str, Any], sentence: str
) -> None:
    """The sentence names what was asked, what is granted, and the setting, for this app too."""
    parsed = parse_app_manifest(manifest.encode(), default_name="cat")
    table = PolicySettings.model_validate({"folders": FOLDERS, **policy})

    with pytest.raises(Forbidden, match=f"app cat: app.toml .*{sentence}.*policy.apps.cat"):
        grants_of(parsed, table)


def test_a_granted_model_is_granted_in_every_version() -> None:
    """The operator names models; a guest may name a version with it."""
    manifest = parse_app_manifest(b"", default_name="cat")
    models = grants_of(manifest, PolicySettings(models=frozenset({"lite"}))).models

    assert models is not None
    assert ("lite", "lite:2", None) == (models["lite"], models["lite:2"], models.get("big:2"))


def test_secrets_and_folders_of_the_machine_are_not_printed() -> None:
    """Neither a grant nor the settings show a variable's value; a grant shows no path."""
    policy = PolicySettings.model_validate(
        {"folders": FOLDERS, "read": ["photos"], "env": {"KEY": "hunter2"}}
    )
    manifest = parse_app_manifest(
        b'env_from = ["KEY"]\nfolders."/x" = "photos"', default_name="cat"
    )
    grants = grants_of(manifest, policy)

    assert {"KEY": "hunter2"} == grants.env
    assert "hunter2" not in f"{grants!r} {policy!r}"
    assert "/srv" not in repr(grants)
