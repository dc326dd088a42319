"""Keys in files: ours, OpenSSL's, damaged ones, and other people's kinds."""

from pathlib import Path

import pytest

from appliance.errors import BadRequest, Conflict, NotFound, Unavailable
from appliance.trust.keys import new_key, read_private, read_public
from appliance.trust.trusted import TrustedKeys

KEY = new_key()


def test_a_key_survives_its_file() -> None:
    """Private and public, and nobody prints the private one."""
    again = read_private(KEY.pem(), "a.key")

    assert KEY == again
    assert KEY.public == read_public(KEY.public.pem(), "a.pub")
    assert KEY.raw.hex() not in repr(KEY)
    assert repr(KEY.raw) not in repr(KEY)


def test_signing_is_as_the_standard_says() -> None:
    """RFC 8032, 7.1, test 2."""
    secret = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"
    wanted = (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    key = type(KEY)(bytes.fromhex(secret))
    signature = key.sign(b"\x72")

    assert wanted == signature.hex()
    assert key.public.has_signed(signature, b"\x72")
    assert not key.public.has_signed(signature, b"\x73")


def test_the_files_are_those_of_the_standard() -> None:
    """RFC 8410, 10.1 and 10.3: what OpenSSL reads and writes, too."""
    private = (
        b"-----BEGIN PRIVATE KEY-----\n"
        b"MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n"
        b"-----END PRIVATE KEY-----\n"
    )
    public = (
        b"-----BEGIN PUBLIC KEY-----\n"
        b"MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n"
        b"-----END PUBLIC KEY-----\n"
    )
    key = read_private(private, "a.key")

    assert (private, public) == (key.pem(), key.public.pem())
    assert key.public == read_public(public, "a.pub")


@pytest.mark.parametrize(
    ("pem", "sentence"),
    [
        pytest.param(b"", "a.pub: not a public key, wanted an Ed25519 key", id="empty"),
        pytest.param(b"ssh-ed25519 AAAA me@here", "a.pub: not a public key", id="of ssh"),
        pytest.param(KEY.public.pem()[:-40], "a.pub: not a public key", id="cut"),
        pytest.param(KEY.pem(), "a.pub: got a private key, .* keep it secret", id="private"),
    ],
)
def test_what_is_no_public_key_is_refused(pem: bytes, sentence: str) -> None:
    """With what it is, where that can be told; never with its content."""
    with pytest.raises(BadRequest, match=sentence):
        read_public(pem, "a.pub")


def test_keys_come_and_go(tmp_path: Path) -> None:
    """Trusting twice is trusting; a name is for one key; a removed key is gone at once."""
    keys = TrustedKeys(tmp_path / "keys")
    assert () == keys.all()
    keys.add("vendor", KEY.public)
    keys.add("vendor", KEY.public)

    assert (("vendor", KEY.public),) == keys.of_id(KEY.public.id)
    with pytest.raises(Conflict, match="key vendor: another key has this name"):
        keys.add("vendor", new_key().public)
    keys.remove("vendor")
    assert () == keys.of_id(KEY.public.id)
    with pytest.raises(NotFound, match="key vendor: not trusted here; trusted are none"):
        keys.remove("vendor")


def test_a_damaged_key_trusts_nobody_and_harms_nobody(tmp_path: Path) -> None:
    """It is listed; the others count; what is no .pub is not looked at."""
    keys = TrustedKeys(tmp_path)
    keys.add("vendor", KEY.public)
    (tmp_path / "odd.pub").write_bytes(b"odd")
    (tmp_path / "mine.key").write_bytes(KEY.pem())
    (tmp_path / "folder.pub").mkdir()

    assert [("folder", None), ("odd", None), ("vendor", KEY.public)] == [
        (trusted.name, trusted.key) for trusted in keys.all()
    ]
    assert (("vendor", KEY.public),) == keys.of_id(KEY.public.id)


@pytest.mark.parametrize("name", ["", "..", "a/b", "../apps", "A", "a" * 64])
def test_a_name_stays_in_the_folder(tmp_path: Path, name: str) -> None:
    """It is a name as apps have."""
    with pytest.raises(BadRequest, match="key name: got "):
        TrustedKeys(tmp_path / "keys").add(name, KEY.public)
    assert [] == list(tmp_path.iterdir())


def test_keys_that_cannot_be_read_are_no_trust(tmp_path: Path) -> None:
    """A file where the folder should be: nobody is trusted, and it is said."""
    (tmp_path / "keys").touch()

    with pytest.raises(Unavailable, match="trusted keys: cannot be read: Not a directory"):
        TrustedKeys(tmp_path / "keys").of_id(KEY.public.id)
