"""The `[policy]` table: what it takes, and how it says what it does not."""

from pathlib import Path

import pytest

from appliance.errors import BadSettings
from appliance.policies import AppPolicy, PolicySettings
from appliance.settings import load_settings


def policy_of(state: Path, text: str) -> PolicySettings:
    (state / "settings.toml").write_text(text)
    return load_settings(state=state).policy


def test_an_apps_own_table_replaces_key_by_key(tmp_path: Path) -> None:
    """What it does not say is as for every app; the others do not notice."""
    policy = policy_of(
        tmp_path,
        '[policy]\nown_models = false\nmodels = ["lite"]\n[policy.env]\nA = "1"\n'
        '[policy.apps.cat]\nmodels = []\nenv = { B = "2" }\n',
    )
    cat, dog = policy.of_app("cat"), policy.of_app("dog")

    assert (frozenset(), False, ["B"]) == (cat.models, cat.own_models, list(cat.env))
    assert (frozenset({"lite"}), False, ["A"]) == (dog.models, dog.own_models, list(dog.env))


def test_what_is_not_said_grants_what_cannot_leave_the_box(tmp_path: Path) -> None:
    """No folder and no variable; the rest as ever."""
    assert AppPolicy() == policy_of(tmp_path, "").of_app("cat")
    assert AppPolicy(
        models=None, own_models=True, encodings=None, devices=None, read=frozenset(),
        write=frozenset(), env={}, signed_by=None, clock=True, random=True,
    ) == AppPolicy()  # fmt: skip


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        pytest.param("own_modls = true", "policy.own_modls: .* did you mean own_models", id="key"),
        pytest.param(
            'apps.cat.red = ["a"]', "policy.apps.cat.red: .* did you mean read", id="app's key"
        ),
        pytest.param(
            'folders.a = { path = "/srv", max_byte = 1 }', "a.max_byte: .* did you mean max_bytes",
            id="folder's key",
        ),
        pytest.param(
            'apps.cat.write = ["b"]\nfolders.a = { path = "/srv" }',
            r"policy.folders\] names \(a\), not b; add it there", id="unknown folder",
        ),
        pytest.param('folders.a = { path = "srv" }', "wanted an absolute path", id="relative"),
        pytest.param('apps.Cat.read = []', "wanted a name of 1..63", id="no name"),
        pytest.param('devices = ["tpux"]', "policy.devices", id="no device"),
        pytest.param('folders.a = { path = "/" }', "outside of the box's own", id="root"),
    ],
)  # fmt: skip
def test_a_mistake_is_named(tmp_path: Path, text: str, sentence: str) -> None:
    """The key, and the nearest known one; the box does not start with half a policy."""
    with pytest.raises(BadSettings, match=sentence):
        policy_of(tmp_path, f"[policy]\n{text}")


@pytest.mark.parametrize("part", [".", "keys", "..", "link"])
def test_the_boxs_own_folder_is_nobodys_to_grant(tmp_path: Path, part: str) -> None:
    """Nor what lies in it, nor what it lies in, nor a link to it: there are keys and apps."""
    state = tmp_path / "state"
    (state / "keys").mkdir(parents=True)
    (state / "link").symlink_to(state / "keys")

    with pytest.raises(BadSettings, match="a guest could reach keys and apps"):
        policy_of(state, f'[policy.folders]\na = {{ path = "{state / part}" }}')


@pytest.mark.parametrize(
    "text",
    ['[policy.env]\nKEY = ["hunter2"]', '[policy]\nenv = "hunter2"',
     '[policy]\nread = ["x"]\nenv = { KEY = "hunter2" }',
     '[policy.apps.cat]\nread = ["x"]\nenv = { KEY = "hunter2" }'],
    ids=["list", "text", "with a folder", "of an app"],
)  # fmt: skip
def test_a_mistake_tells_no_secret(tmp_path: Path, text: str) -> None:
    """Variables may be passwords, and messages are printed and logged."""
    with pytest.raises(BadSettings) as raised:
        policy_of(tmp_path, text)

    assert "hunter2" not in str(raised.value)


def test_a_child_gets_all_of_it(tmp_path: Path) -> None:
    """Values too, and who said what; printed otherwise it keeps them."""
    policy = policy_of(
        tmp_path,
        '[policy]\nclock = false\n[policy.folders]\na = { path = "/srv" }\n'
        '[policy.apps.cat]\nread = ["a"]\nenv = { KEY = "hunter2" }\n',
    )
    there = PolicySettings.model_validate_json(policy.for_child())

    assert policy == there
    assert policy.of_app("cat") == there.of_app("cat")
    assert "hunter2" == there.of_app("cat").env["KEY"].get_secret_value()
    assert "hunter2" not in policy.model_dump_json()
