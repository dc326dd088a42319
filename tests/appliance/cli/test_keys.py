"""`appliance keys` and `appliance sign`, up to a box that believes them."""

import os
import stat
import zipfile
from pathlib import Path

import pytest

from appliance.bundles import read_bundle
from tests.appliance import watguests as guests
from tests.appliance.archives import zipped
from tests.appliance.cli.conftest import Command
from tests.appliance.service import Service


def rights(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def key(command: Command, tmp_path: Path) -> Path:
    """A new private key; the public one lies beside it."""
    command("keys", "new", tmp_path / "vendor")
    return tmp_path / "vendor.key"


def key_id(command: Command, key: Path) -> str:
    return command("keys", "show", key.with_suffix(".pub")).stdout.decode().split("\n")[0]


def test_a_new_key_is_its_owners_alone(command: Command, tmp_path: Path, key: Path) -> None:
    """Whatever the umask; the public one is for everybody, and nothing is written over."""
    before = key.read_bytes()
    again = command("keys", "new", tmp_path / "vendor")

    assert (0o600, 0o644) == (rights(key), rights(key.with_suffix(".pub")))
    assert (1, True) == (again.returncode, b"it is there already" in again.stderr)
    assert before == key.read_bytes()


def test_keys_are_trusted_listed_and_removed(command: Command, tmp_path: Path, key: Path) -> None:
    """In the state folder, without a box."""
    state = ("--state", tmp_path / "state")
    public = key.with_suffix(".pub")
    assert b"no key is trusted\n" == command("keys", "list", *state).stdout
    assert b"vendor " in command("keys", "trust", public, *state).stdout
    command("keys", "trust", public, "--name", "other", *state)
    listed = command("keys", "list", *state).stdout.decode()

    assert [word for word in ("vendor", "other", key_id(command, key)) if word not in listed] == []
    assert b"vendor removed\n" == command("keys", "remove", "vendor", *state).stdout
    gone = command("keys", "remove", "vendor", *state)
    assert (1, True) == (gone.returncode, b"trusted are other" in gone.stderr)


def test_a_private_key_is_not_trusted_by_mistake(
    command: Command, tmp_path: Path, key: Path
) -> None:
    """It would be copied to every box."""
    done = command("keys", "trust", key, "--state", tmp_path / "state")

    assert 1 == done.returncode
    assert b"got a private key, wanted the public one" in done.stderr
    assert not (tmp_path / "state").exists()


def test_a_key_that_others_may_read_does_not_sign(
    command: Command, tmp_path: Path, key: Path
) -> None:
    """As ssh does: it is no secret any more."""
    (tmp_path / "x.wasm").write_bytes(guests.STEADY)
    os.chmod(key, 0o640)
    done = command("sign", tmp_path / "x.wasm", "--key", key)

    assert (1, True) == (done.returncode, b"chmod 600" in done.stderr)
    assert not (tmp_path / "x.wasm.sig").exists()


def test_signing_again_replaces_the_signature(command: Command, tmp_path: Path, key: Path) -> None:
    """In a bundle, whose other members stay; the version stays, too."""
    bundle = tmp_path / "x.zip"
    bundle.write_bytes(zipped(
        ("a/app.wasm", guests.STEADY), ("a/app.toml", b'name = "cat"'), ("a/app.sig", b"old"),
        ("a/note.txt", b"hello"),
    ))  # fmt: skip
    version = read_bundle(bundle.read_bytes()).version
    done = command("sign", bundle, "--key", key)
    signed = read_bundle(bundle.read_bytes())

    assert f"cat {version} signed by {key_id(command, key)}: {bundle}\n" == done.stdout.decode()
    assert signed.signature is not None
    assert signed.signature.startswith(f"ed25519:{key_id(command, key)}:cat:".encode())
    assert b"hello" == zipfile.ZipFile(bundle).read("a/note.txt")


def test_the_manifests_name_is_the_name(command: Command, tmp_path: Path, key: Path) -> None:
    """Another one on the command line is a mistake that would show only at the box."""
    (tmp_path / "x.wasm").write_bytes(guests.STEADY)
    (tmp_path / "x.toml").write_text('name = "cat"')
    done = command("sign", tmp_path / "x.wasm", "--key", key, "--name", "dog")

    assert (1, True) == (
        done.returncode,
        b"--name: got dog, but the app.toml says cat" in done.stderr,
    )


@pytest.mark.parametrize("files", [{}, {"toml": b'args = ["a"]'}], ids=["lone", "with a manifest"])
def test_what_was_signed_is_deployed_and_shown(
    command: Command, service: Service, tmp_path: Path, key: Path, files: dict[str, bytes]
) -> None:
    """`deploy` takes the signature along; `app` says who signed and what the app may do."""
    at = ("--state", service.state)
    for suffix, content in {"wasm": guests.STEADY, **files}.items():
        (tmp_path / f"signed.{suffix}").write_bytes(content)
    command("keys", "trust", key.with_suffix(".pub"), "--name", f"vendor-{len(files)}", *at)
    command("sign", tmp_path / "signed.wasm", "--key", key)
    done = command("deploy", tmp_path / "signed.wasm", *at)
    shown = command("app", "signed", *at).stdout.decode()

    assert 0 == done.returncode, done.stderr
    assert key_id(command, key) in shown
    assert f"vendor-{len(files)}" in shown
    assert [word for word in ("all, its own", "clock", "yes") if word not in shown] == []
