"""What a user drops is taken apart in memory, and nothing in it is believed."""

import zipfile
from collections.abc import Callable
from tarfile import SYMTYPE, TarInfo

import pytest

from appliance import bundles
from appliance.bundles import Bundle, read_bundle, write_bundle
from appliance.errors import ApplianceError, BadGuest, BadRequest, TooBig
from tests.appliance import watguests as guests
from tests.appliance.archives import gzipped, special, tarred, zipped

TOML = b'name = "cat"\n'


WASM = ("app.wasm", guests.STEADY)
MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("content", "bundle"),
    [
        pytest.param(guests.STEADY, Bundle(guests.STEADY), id="lone wasm"),
        pytest.param(b"whatever", Bundle(b"whatever"), id="no archive"),
        pytest.param(zipped(WASM), Bundle(guests.STEADY), id="zip without manifest"),
        pytest.param(
            zipped(WASM, ("app.toml", TOML)), Bundle(guests.STEADY, TOML), id="zip with manifest"
        ),
        pytest.param(
            zipped(("cat/", b""), ("cat/cat.wasm", guests.STEADY), ("cat/app.toml", TOML)),
            Bundle(guests.STEADY, TOML),
            id="in a folder",
        ),
        pytest.param(
            zipped(WASM, ("README.md", b"hello")), Bundle(guests.STEADY), id="other files"
        ),
        pytest.param(
            zipped(WASM, ("__MACOSX/._app.wasm", b"\0\5\x16\7")),
            Bundle(guests.STEADY),
            id="macOS's notes",
        ),
        pytest.param(
            write_bundle(guests.STEADY, TOML), Bundle(guests.STEADY, TOML), id="our own writing"
        ),
    ],
)
def test_a_bundle_is_read(content: bytes, bundle: Bundle) -> None:
    """One .wasm and at most one app.toml, wherever they lie in the archive."""
    assert bundle == read_bundle(content)


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        pytest.param(zipped(("a.txt", b"")), BadGuest, "got 0 .wasm files", id="no wasm"),
        pytest.param(zipped(WASM, ("b.wasm", b"")), BadGuest, "got 2 .wasm", id="two wasm"),
        pytest.param(
            zipped(WASM, ("a/app.toml", b""), ("b/app.toml", b"")), BadGuest,
            "got 2 app.toml files, wanted at most one", id="two manifests",
        ),
        pytest.param(
            zipped(WASM, *((f"{n}.txt", b"") for n in range(64))), TooBig, "got over 64 files",
            id="many files",
        ),
        pytest.param(
            zipped(WASM, ("app.toml", bytes(2**20))), TooBig, "app.toml is over 65536",
            id="a bomb for a manifest",
        ),
        pytest.param(
            zipped(WASM, method=zipfile.ZIP_BZIP2), BadRequest, "by method 12, wanted deflate",
            id="bzip2, whose bombs take the memory before they can be counted",
        ),
        pytest.param(
            zipped(WASM, method=zipfile.ZIP_LZMA), BadRequest, "by method 14", id="lzma, too"
        ),
        pytest.param(zipped(WASM)[:-30], BadRequest, "damaged or encrypted", id="cut"),
        pytest.param(b"PK\x03\x04", BadRequest, "damaged or encrypted", id="four bytes"),
    ],
)  # fmt: skip
def test_another_archive_is_refused(
    content: bytes, error: type[ApplianceError], words: str
) -> None:
    """The sentence counts what it found."""
    with pytest.raises(error, match=words):
        read_bundle(content)


def test_a_bomb_is_stopped_by_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes out is counted; the size in the directory is a claim."""
    monkeypatch.setattr(bundles, "MAX_WASM_BYTES", 1000)
    with pytest.raises(TooBig, match=r"app\.wasm is over 1000 bytes unpacked"):
        read_bundle(zipped(("app.wasm", bytes(1001))))

    assert 1000 == len(read_bundle(zipped(("app.wasm", bytes(1000)))).wasm)


@pytest.mark.parametrize(
    "method",
    [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED],
    ids=["stored", "deflate"],
)
def test_damage_anywhere_is_an_answer_never_a_crash(method: int) -> None:
    """Every byte flipped, every length cut: read, or refused with an error of ours."""
    whole = zipped(("app.wasm", b"\0asm\1\0\0\0" * 4), ("app.toml", TOML), method=method)
    damaged = [whole[:at] + bytes([whole[at] ^ 0x81]) + whole[at + 1 :] for at in range(len(whole))]
    cut = [whole[:at] for at in range(len(whole))]
    outcomes = set()
    for content in damaged + cut:
        try:
            outcomes.add(type(read_bundle(content)))
        except ApplianceError:
            outcomes.add(ApplianceError)

    assert {Bundle, ApplianceError} == outcomes


SAMPLE_TOML = b'[sample]\npicture = "pics/cat.png"\n'
PICTURE = ("pics/cat.png", b"a picture")


@pytest.mark.parametrize(
    "pack",
    [
        pytest.param(zipped, id="zip"),
        pytest.param(tarred, id="tar"),
        pytest.param(lambda *files: gzipped(tarred(*files)), id="tar.gz"),
    ],
)
@pytest.mark.parametrize("home", ["", "cat/", "./"], ids=["top", "folder", "dot"])
def test_files_that_the_manifest_names_come_along(pack: Callable[..., bytes], home: str) -> None:
    """Relative to it, wherever it lies and in whatever order; others stay behind."""
    members = [PICTURE, ("app.toml", SAMPLE_TOML), WASM, ("README.md", b"hello")]
    content = pack(*((home + name, body) for name, body in members))

    assert Bundle(guests.STEADY, SAMPLE_TOML, files=dict([PICTURE])) == read_bundle(content)


def test_our_own_writing_keeps_the_files() -> None:
    """What is sent as one body arrives whole."""
    bundle = Bundle(guests.STEADY, SAMPLE_TOML, files=dict([PICTURE]))

    assert bundle == read_bundle(write_bundle(bundle.wasm, SAMPLE_TOML, files=bundle.files))


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        pytest.param(
            tarred(WASM, ("app.toml", SAMPLE_TOML)), BadGuest,
            r"app\.toml names pics/cat\.png, which is not in the archive", id="missing",
        ),
        pytest.param(
            zipped(WASM, ("app.toml", SAMPLE_TOML), ("x/pics/cat.png", b"")), BadGuest,
            "not in the archive beside it", id="elsewhere",
        ),
        pytest.param(
            zipped(("../../etc/x.wasm", guests.STEADY)), BadRequest,
            "wanted a plain relative one", id="path",
        ),
        pytest.param(
            tarred(WASM, ("app.toml", SAMPLE_TOML), special("pics/cat.png", SYMTYPE, "/etc/x")),
            BadRequest, "is a link", id="link",
        ),
        pytest.param(
            tarred(special("app.wasm", SYMTYPE, "/etc/x")), BadRequest, "is a link", id="guest link"
        ),
        pytest.param(
            tarred(WASM, ("app.toml", SAMPLE_TOML), ("pics/cat.png", bytes(8 * MIB + 1))), TooBig,
            r"pics/cat\.png is over 8388608 bytes", id="big picture",
        ),
        pytest.param(
            zipped(WASM, ("app.toml", SAMPLE_TOML), PICTURE, PICTURE), BadRequest, "comes twice",
            id="twice",
        ),
        pytest.param(tarred(WASM)[:700], BadRequest, "damaged", id="cut tar"),
        pytest.param(gzipped(tarred(WASM))[:60], BadRequest, "damaged", id="cut gzip"),
        pytest.param(b"\x1f\x8b", BadRequest, "damaged", id="two bytes"),
    ],
)  # fmt: skip
def test_a_wrong_file_refuses_the_bundle(
    content: bytes, error: type[ApplianceError], words: str
) -> None:
    """Nothing is followed, guessed or left out."""
    with pytest.raises(error, match=words):
        read_bundle(content)


def test_what_nobody_wants_may_be_large_but_not_endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is decompressed all the same, in order to skip it."""
    note = TarInfo("film.mp4")
    note.size = 2**40
    content = gzipped(note.tobuf() + bytes(4 * MIB))
    with pytest.raises(TooBig, match="bundle: the archive goes on beyond"):
        read_bundle(content)


def test_a_picture_makes_another_version() -> None:
    """By its name and by its content; without one the version is as it ever was."""
    plain = Bundle(b"a", b"m")
    versions = {
        plain.version, Bundle(b"a", b"m", None, {"x": b"1"}).version,
        Bundle(b"a", b"m", None, {"x": b"2"}).version,
        Bundle(b"a", b"m", None, {"y": b"1"}).version,
    }  # fmt: skip

    assert 4 == len(versions)
    assert plain.version == plain.digest[:12]
    assert "98e0687db068" == plain.version


def test_the_version_is_the_content() -> None:
    """Same guest and manifest, same version; either one changed, another."""
    versions = [
        Bundle(b"a").version, Bundle(b"b").version, Bundle(b"a", b"m").version,
        Bundle(b"a", b"n").version, Bundle(b"am").version,
    ]  # fmt: skip

    assert 5 == len(set(versions))
    assert versions[0] == Bundle(b"a").version
    assert {12} == {len(version) for version in versions}


def test_a_signature_is_no_part_of_the_version() -> None:
    """Signing an app does not make it another; it travels in the bundle."""
    packed = write_bundle(guests.STEADY, TOML, b"line\n")

    assert Bundle(guests.STEADY, TOML, b"line\n") == read_bundle(packed)
    assert Bundle(guests.STEADY, TOML).version == read_bundle(packed).version


@pytest.mark.parametrize(
    ("members", "error"),
    [
        pytest.param([("app.sig", b"a"), ("x/app.sig", b"b")], BadGuest, id="two"),
        pytest.param([("app.sig", bytes(2000))], TooBig, id="huge"),
    ],
)
def test_a_bundle_has_one_small_signature(
    members: list[tuple[str, bytes]], error: type[ApplianceError]
) -> None:
    """It is one line."""
    with pytest.raises(error, match=r"app\.sig"):
        read_bundle(zipped(WASM, *members))
