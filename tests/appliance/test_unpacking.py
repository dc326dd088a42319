"""Model archives: what comes out, what is refused, and that nothing ever leaves the folder."""

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from appliance.errors import ApplianceError, BadRequest, TooBig
from appliance.unpacking import Bounds, model_root, unpack
from tests.appliance.archives import gzipped, special, tarred, zipped

MIB = 1024 * 1024
MODEL = ("model.onnx", b"weights" * 100)
NESTED = ("weights/model.onnx", b"w")


def files_in(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def unpacked(tmp_path: Path, content: bytes, max_bytes: int = MIB) -> dict[str, bytes]:
    (tmp_path / "archive").write_bytes(content)
    (tmp_path / "out").mkdir()
    unpack(tmp_path / "archive", tmp_path / "out", Bounds(max_bytes))
    return files_in(tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "files"),
    [
        pytest.param(tarred(MODEL, NESTED), [MODEL, NESTED], id="tar"),
        pytest.param(gzipped(tarred(MODEL, NESTED)), [MODEL, NESTED], id="tar.gz"),
        pytest.param(zipped(MODEL, NESTED), [MODEL, NESTED], id="zip"),
        pytest.param(zipped(MODEL, method=zipfile.ZIP_STORED), [MODEL], id="stored zip"),
        pytest.param(tarred(MODEL, format=tarfile.GNU_FORMAT), [MODEL], id="GNU tar"),
        pytest.param(tarred(MODEL, format=tarfile.USTAR_FORMAT), [MODEL], id="ustar"),
        pytest.param(
            tarred(special(".", tarfile.DIRTYPE), ("./model.onnx", b"w")), [("model.onnx", b"w")],
            id="tar of .",
        ),
        pytest.param(
            tarred(special("cat", tarfile.DIRTYPE), ("cat/model.onnx", b"w")),
            [("cat/model.onnx", b"w")], id="tar of a folder",
        ),
        pytest.param(tarred((f"{'n' * 200}.txt", b"")), [(f"{'n' * 200}.txt", b"")], id="long"),
        pytest.param(tarred(("größe.txt", b"1")), [("größe.txt", b"1")], id="umlaut"),
        pytest.param(
            tarred(MODEL, ("._model.onnx", b"x"), (".DS_Store", b"x")), [MODEL], id="notes in tar"
        ),
        pytest.param(zipped(MODEL, ("__MACOSX/._model.onnx", b"x")), [MODEL], id="notes in zip"),
        pytest.param(zipped(("cat/", b""), ("cat/a", b"1")), [("cat/a", b"1")], id="zip folder"),
        pytest.param(zipped(), [], id="empty zip"),
        pytest.param(gzipped(tarred(MODEL) + bytes(8 * MIB)), [MODEL], id="zeros after the end"),
        pytest.param(tarred(("exact", bytes(MIB))), [("exact", bytes(MIB))], id="just fits"),
    ],
)  # fmt: skip
def test_files_come_out_as_they_went_in(
    tmp_path: Path, content: bytes, files: list[tuple[str, bytes]]
) -> None:
    """With the names they had."""
    assert dict(files) == unpacked(tmp_path, content)


def linked_zip() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        info = zipfile.ZipInfo("model.onnx")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    return packed.getvalue()


def negative_tar(name: str, size: int) -> bytes:
    """A header whose size is below zero, which makes a reader go back to where it was."""
    whole = bytearray(tarred(("first", b"x" * 512), (name, b"x" * 512)))
    header = whole[1024:1536]
    header[124:136] = b"\xff" * 10 + (size & 0xFFFF).to_bytes(2, "big")
    header[148:156] = b" " * 8
    header[148:155] = b"%06o\0" % sum(header)
    whole[1024:1536] = header
    return bytes(whole)


def greedy_pax(size: int) -> bytes:
    """A header that claims that gigabytes of attributes follow."""
    info = special("x", tarfile.XHDTYPE)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT) + tarred(MODEL)


def many_directories() -> bytes:
    return tarred(*(special(f"d{number}", tarfile.DIRTYPE) for number in range(1100)))


def sparse_tar() -> bytes:
    info = special("sparse", tarfile.GNUTYPE_SPARSE)
    return info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)


def entry(name: str) -> tuple[str, bytes]:
    return (name, b"x")


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        pytest.param(tarred(entry("../evil")), BadRequest, "got the name '../evil'", id="parent"),
        pytest.param(tarred(entry("/etc/evil")), BadRequest, "got the name", id="absolute"),
        pytest.param(tarred(entry("a/../../evil")), BadRequest, "got the name", id="inner parent"),
        pytest.param(tarred(entry("a//b")), BadRequest, "got the name", id="empty part"),
        pytest.param(tarred(entry("a\\b")), BadRequest, "got the name", id="backslash"),
        pytest.param(tarred(entry("a\x1b[2Jb")), BadRequest, "got the name", id="control"),
        pytest.param(tarred(entry("n" * 256)), BadRequest, "got the name", id="long part"),
        pytest.param(tarred(entry("a/" * 8 + "b")), BadRequest, "got the name", id="deep"),
        pytest.param(zipped(entry("../evil")), BadRequest, "got the name", id="zip parent"),
        pytest.param(zipped(entry("/etc/evil")), BadRequest, "got the name", id="zip absolute"),
        pytest.param(tarred(entry("a"), entry("a")), BadRequest, "'a' comes twice", id="twice"),
        pytest.param(tarred(entry("a"), entry("./a")), BadRequest, "comes twice", id="twice by ./"),
        pytest.param(tarred(entry("a"), entry("a/b")), BadRequest, "twice", id="file as folder"),
        pytest.param(tarred(entry("a/b"), entry("a")), BadRequest, "twice", id="folder as file"),
        pytest.param(zipped(entry("a"), entry("a")), BadRequest, "comes twice", id="zip twice"),
        pytest.param(
            tarred(special("l", tarfile.SYMTYPE, "/etc"), entry("l/evil")), BadRequest,
            "l is a link, a device or sparse", id="symlink",
        ),
        pytest.param(
            tarred(special("l", tarfile.LNKTYPE, "/etc/passwd")), BadRequest, "is a link",
            id="hard link",
        ),
        pytest.param(tarred(special("f", tarfile.FIFOTYPE)), BadRequest, "a device", id="fifo"),
        pytest.param(tarred(special("c", tarfile.CHRTYPE)), BadRequest, "a device", id="device"),
        pytest.param(sparse_tar(), BadRequest, "sparse", id="sparse"),
        pytest.param(linked_zip(), BadRequest, "is a link or a device", id="zip symlink"),
        pytest.param(
            tarred(*(entry(f"{n}.txt") for n in range(65))), TooBig, "over 64 files", id="many"
        ),
        pytest.param(
            zipped(*(entry(f"{n}.txt") for n in range(65))), TooBig, "over 64 files", id="zip many"
        ),
        pytest.param(many_directories(), TooBig, "over 1024 entries", id="many folders"),
        pytest.param(
            gzipped(tarred(("a", bytes(MIB + 1)))), TooBig, "over 1048576 bytes unpacked",
            id="a bomb of gzip",
        ),
        pytest.param(
            zipped(("a", bytes(MIB)), ("b", b"1")), TooBig, "over 1048576 bytes unpacked",
            id="all files together",
        ),
        pytest.param(greedy_pax(2**33), TooBig, "directory is too large", id="greedy header"),
        pytest.param(negative_tar("a", -1024), BadRequest, "ends within a", id="negative size"),
        pytest.param(negative_tar("._a", -512), TooBig, "over 1024 entries", id="negative skip"),
        pytest.param(
            zipped(entry("a"), method=zipfile.ZIP_BZIP2), BadRequest, "wanted deflate", id="bzip2"
        ),
        pytest.param(
            zipped(entry("a"), method=zipfile.ZIP_LZMA), BadRequest, "wanted deflate", id="lzma"
        ),
        pytest.param(b"\xfd7zXZ\0" + bytes(600), BadRequest, "got xz data, wanted a .tar", id="xz"),
        pytest.param(b"hello", BadRequest, "got no archive", id="text"),
        pytest.param(b"", BadRequest, "got no archive", id="empty"),
        pytest.param(tarred(), BadRequest, "got no archive", id="empty tar"),
        pytest.param(gzipped(b"hello"), BadRequest, "damaged", id="gzip of no tar"),
        pytest.param(b"\x1f\x8b", BadRequest, "damaged", id="two bytes"),
        pytest.param(tarred(MODEL)[:700], BadRequest, "damaged", id="cut tar"),
        pytest.param(gzipped(tarred(MODEL))[:-20], BadRequest, "damaged", id="cut gzip"),
    ],
)  # fmt: skip
def test_another_archive_is_refused(
    tmp_path: Path, content: bytes, error: type[ApplianceError], words: str
) -> None:
    """The sentence names what is wrong; outside the folder nothing happened."""
    with pytest.raises(error, match=words):
        unpacked(tmp_path, content)

    assert {"archive", "out"} == {path.name for path in tmp_path.iterdir()}


def test_a_header_may_not_skip_over_a_bomb(tmp_path: Path) -> None:
    """What is left out is skipped by decompressing it: only as far as the files may go."""
    note = tarfile.TarInfo("._note")
    note.size = 2**40
    content = gzipped(note.tobuf(tarfile.GNU_FORMAT) + bytes(4 * MIB))
    with pytest.raises(TooBig, match="goes on beyond what its files may have"):
        unpacked(tmp_path, content)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(tarred(("a/m", b"123456"), ("b", b"")), id="tar"),
        pytest.param(gzipped(tarred(("a/m", b"123456"), ("b", b""))), id="tar.gz"),
        pytest.param(zipped(("a/m", b"123456"), ("b", b"")), id="zip"),
    ],
)
def test_damage_anywhere_is_an_answer_never_a_crash(tmp_path: Path, content: bytes) -> None:
    """Bytes flipped and lengths cut: read, or refused with an error of ours, inside the folder."""
    # Most of a tar is padding; its headers begin every 512 bytes.
    places = range(len(content)) if len(content) < 600 else [
        place for block in range(0, 2048, 512) for place in range(block, block + 300, 7)
    ]  # fmt: skip
    damaged = [content[:at] + bytes([content[at] ^ 0x81]) + content[at + 1 :] for at in places]
    outcomes = set()
    for number, one in enumerate(damaged + [content[:at] for at in places]):
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            unpacked(folder, one)
            outcomes.add("read")
        except ApplianceError:
            outcomes.add("refused")
        assert {"archive", "out"} == {path.name for path in folder.iterdir()}

    assert {"read", "refused"} == outcomes


@pytest.mark.parametrize(
    ("names", "root"),
    [
        pytest.param(["model.onnx"], ".", id="files"),
        pytest.param(["cat/model.onnx", "cat/labels.txt"], "cat", id="a folder"),
        pytest.param(["cat/1/model.onnx"], "cat/1", id="name and version"),
        pytest.param(["weights/model.onnx", "model.toml"], ".", id="a folder beside files"),
        pytest.param([], ".", id="nothing"),
    ],
)
def test_the_model_is_found_in_the_folder_it_was_packed_in(
    tmp_path: Path, names: list[str], root: str
) -> None:
    """People pack a folder as often as its files."""
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")

    assert tmp_path / root == model_root(tmp_path)
