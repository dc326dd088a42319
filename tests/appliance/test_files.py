import os
from pathlib import Path

import pytest

from appliance import files
from appliance.errors import BadRequest, Conflict, NotFound, TooBig, Unavailable


def test_writing_replaces_the_whole_content(tmp_path: Path) -> None:
    """The new content and rights stand under the name, and nothing else is left."""
    path = tmp_path / "app.toml"
    path.write_bytes(b"old and longer")

    files.write_atomic(path, b"new", mode=0o604)

    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o604
    assert os.listdir(tmp_path) == ["app.toml"]


def test_a_failed_write_keeps_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that refuses the fsync leaves the old file, no temporary, and Unavailable."""
    path = tmp_path / "app.toml"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left")))

    with pytest.raises(Unavailable, match=r"^cannot write app\.toml: No space left"):
        files.write_atomic(path, b"new")

    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["app.toml"]


def test_a_write_is_fsynced_before_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First the content, then the name, then the folder is made safe."""
    path = tmp_path / "x"
    events: list[str] = []
    fsync = os.fsync

    def spy(descriptor: int) -> None:
        kind = "folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file"
        events.append(f"{kind} {path.exists()}")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    files.write_atomic(path, b"x")

    assert events == ["file False", "folder True"]


def test_a_pointer_names_a_neighbour(tmp_path: Path) -> None:
    """What was written last is what is read."""
    files.replace_pointer(tmp_path / "current", "1f3a")
    files.replace_pointer(tmp_path / "current", "2b00")

    assert files.read_pointer(tmp_path / "current") == "2b00"


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"..", b"a/b", b"\xff", b"a\0b", b"x" * 300], ids=repr
)
def test_a_damaged_pointer_names_nothing(tmp_path: Path, content: bytes) -> None:
    """A pointer that a stranger wrote never leads out of its folder."""
    (tmp_path / "current").write_bytes(content)

    assert files.read_pointer(tmp_path / "current") is None


def test_no_pointer_names_nothing(tmp_path: Path) -> None:
    """A missing pointer is no error."""
    assert files.read_pointer(tmp_path / "current") is None


def test_a_pointer_to_elsewhere_is_a_broken_promise(tmp_path: Path) -> None:
    """Our own code never points out of the folder."""
    with pytest.raises(AssertionError, match="plain name"):
        files.replace_pointer(tmp_path / "current", "../x")


def test_folders_are_made_with_their_parents(tmp_path: Path) -> None:
    """Making them twice does nothing."""
    files.make_dirs(tmp_path / "a" / "b" / "c")
    files.make_dirs(tmp_path / "a" / "b" / "c")

    assert (tmp_path / "a" / "b" / "c").is_dir()


def test_a_file_in_the_way_of_a_folder_is_told(tmp_path: Path) -> None:
    """The sentence names what could not be made."""
    (tmp_path / "a").write_bytes(b"")

    with pytest.raises(Unavailable, match=r"^cannot write a: File exists"):
        files.make_dirs(tmp_path / "a" / "b")


def test_a_prepared_folder_is_published(tmp_path: Path) -> None:
    """It moves as a whole; links and FIFOs in it are not followed."""
    destination = tmp_path / "v1"
    temporary = files.temporary_beside(destination)
    (temporary / "sub").mkdir(parents=True)
    (temporary / "sub" / "f").write_bytes(b"x")
    (temporary / "link").symlink_to("/nowhere")
    os.mkfifo(temporary / "fifo")

    files.publish(temporary, destination)

    assert (destination / "sub" / "f").read_bytes() == b"x"
    assert not temporary.exists()


def test_publishing_never_replaces(tmp_path: Path) -> None:
    """An existing version stays what it is."""
    (tmp_path / "v1").mkdir()
    temporary = files.temporary_beside(tmp_path / "v1")
    temporary.mkdir()

    with pytest.raises(Conflict, match=r"^v1: exists already"):
        files.publish(temporary, tmp_path / "v1")

    assert temporary.is_dir()


def test_removing_tells_whether_there_was_anything(tmp_path: Path) -> None:
    """A folder goes with its content, a link without its target."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "f").write_bytes(b"")
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "kept")

    removed = [files.remove_tree(tmp_path / name) for name in ("full", "link", "absent")]

    assert removed == [True, True, False]
    assert os.listdir(tmp_path) == ["kept"]


def test_the_sweep_takes_only_temporaries(tmp_path: Path) -> None:
    """What a crash left is removed, files and folders; everything else stays."""
    files.temporary_beside(tmp_path / "x").mkdir()
    files.temporary_beside(tmp_path / "x").write_bytes(b"")
    (tmp_path / "app").mkdir()

    assert files.sweep_temporaries(tmp_path) == 2
    assert os.listdir(tmp_path) == ["app"]
    assert files.sweep_temporaries(tmp_path / "absent") == 0


def test_reading_is_bounded(tmp_path: Path) -> None:
    """The limit is inclusive."""
    (tmp_path / "f").write_bytes(b"12345")

    assert files.read_bounded(tmp_path / "f", max_bytes=5) == b"12345"
    with pytest.raises(TooBig, match=r"^f: got over 4 bytes, wanted at most 4$"):
        files.read_bounded(tmp_path / "f", max_bytes=4)


def test_a_fifo_does_not_hang_the_reader(tmp_path: Path) -> None:
    """Only regular files are read."""
    os.mkfifo(tmp_path / "fifo")

    with pytest.raises(BadRequest, match=r"^fifo: not a regular file$"):
        files.read_bounded(tmp_path / "fifo", max_bytes=1)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    """A folder is refused by name when it is read."""
    with pytest.raises(BadRequest, match="cannot be read: Is a directory"):
        files.read_bounded(tmp_path, max_bytes=1)


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    """The sentence has the name and no folder."""
    with pytest.raises(NotFound, match=r"^f: no such file$"):
        files.read_bounded(tmp_path / "f", max_bytes=1)
    with pytest.raises(NotFound, match=r"^f: no such file$"):
        files.sha256_of_file(tmp_path / "f")


def test_sha256_is_the_standard_one(tmp_path: Path) -> None:
    """Lower-case hex of the content. Source: FIPS 180-2, appendix B.1."""
    (tmp_path / "f").write_bytes(b"abc")

    assert files.sha256_of_file(tmp_path / "f") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_what_is_set_aside_keeps_its_content_and_gets_a_name_of_its_own(tmp_path: Path) -> None:
    """Dated, and never over another one."""
    for content in ("first", "second"):
        (tmp_path / "x.json").write_text(content)
        assert files.set_aside(tmp_path / "x.json") is not None

    kept = sorted(tmp_path.glob("x.json.corrupt-*"), key=lambda path: path.stat().st_mtime_ns)
    assert ["first", "second"] == [path.read_text() for path in kept]
    assert not (tmp_path / "x.json").exists()


def test_what_is_not_there_is_not_set_aside(tmp_path: Path) -> None:
    """The caller goes on without."""
    assert files.set_aside(tmp_path / "x.json") is None


def test_a_folder_in_the_way_of_a_file_is_set_aside(tmp_path: Path) -> None:
    """With what is in it."""
    (tmp_path / "current" / "inside").mkdir(parents=True)
    files.replace_pointer(tmp_path / "current", "v1")

    (aside,) = tmp_path.glob("current.corrupt-*")
    assert (aside / "inside").is_dir()
    assert "v1" == files.read_pointer(tmp_path / "current")


def test_a_folder_is_no_pointer(tmp_path: Path) -> None:
    """Nor an error: it is as one that is lost."""
    (tmp_path / "current").mkdir()

    assert files.read_pointer(tmp_path / "current") is None


def test_a_folder_that_can_be_written_is_not_read_only(tmp_path: Path) -> None:
    """Trying leaves nothing, and a folder that is not there is no read-only one."""
    assert not files.is_read_only(tmp_path)
    assert not files.is_read_only(tmp_path / "absent")
    assert [] == os.listdir(tmp_path)
