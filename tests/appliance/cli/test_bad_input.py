"""Bad input on the command line: one clear sentence on stderr, a status that is not 0."""

import gc
import subprocess
from pathlib import Path

import pytest

from tests.appliance import watguests as guests
from tests.appliance.api.test_bad_pictures import png_header
from tests.appliance.cli.conftest import Command
from tests.appliance.service import Service, appliance
from tests.appliance.workshop import png


def check(done: "subprocess.CompletedProcess[bytes]", *words: str) -> None:
    """One sentence of ours, without a traceback, and not a success."""
    told = done.stderr.decode()
    assert done.returncode not in (0, -11), told
    assert "Traceback" not in told
    sentences = [line for line in told.splitlines() if line.startswith("appliance: ")]
    assert len(sentences) == 1 == len(told.splitlines()), told
    assert [word for word in words if word not in told] == [], told


@pytest.fixture(scope="module", autouse=True)
def _steady(service: Service) -> None:
    assert service.deploy("steady", guests.STEADY).status_code == 200


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(guests.NOT_WASM, ["not wasm"], id="not wasm"),
        pytest.param(guests.WAT_TEXT, ["not wasm"], id="wat text"),
        pytest.param(b"", ["empty"], id="empty"),
        pytest.param(guests.TRUNCATED, ["does not compile"], id="truncated"),
        pytest.param(guests.component(), ["component"], id="component"),
        pytest.param(guests.unknown_import(), ["env.magic", "this box offers"], id="import"),
        pytest.param(guests.unknown_function(), ["wasi_ephemeral_nn.train"], id="function"),
        pytest.param(guests.wrong_signature(), ["another signature"], id="signature"),
        pytest.param(guests.no_entry(), ["_start", "appliance_on_frame"], id="no entry"),
        pytest.param(guests.wrong_on_frame(), ["(i32) -> (i32)"], id="on_frame"),
        pytest.param(guests.hungry(), ["memory_bytes"], id="memory"),
    ],
)
def test_a_guest_that_cannot_run_is_refused(
    command: Command,
    service: Service,
    tmp_path: Path,
    picture: bytes,
    content: bytes,
    words: list[str],
) -> None:
    """The box's sentence, and the old version answers."""
    (tmp_path / "steady.wasm").write_bytes(content)
    before = service.files()

    check(command("deploy", tmp_path / "steady.wasm", "--state", service.state), *words)
    assert ["steady"] == service.labels("steady", picture)
    assert before == service.files()


@pytest.mark.parametrize(
    ("wasm", "status", "words"),
    [
        pytest.param(guests.command("unreachable"), 1, ["unreachable"], id="traps"),
        pytest.param(guests.command(guests.LOOP), 1, ["0.2 s"], id="loops forever"),
        pytest.param(
            guests.command("(call $f)", rest="(func $f (call $f) (call $f))"), 1, ["stack"],
            id="recursion",
        ),
        pytest.param(guests.command(guests.GROW), 1, ["48 MiB"], id="takes all memory"),
        pytest.param(guests.hungry(is_command=True), 1, ["memory_bytes"], id="begins too large"),
        pytest.param(guests.unknown_import(), 1, ["env.magic", "offers"], id="import"),
        pytest.param(guests.NOT_WASM, 1, ["not wasm"], id="not wasm"),
        pytest.param(b"\x7fELF garbage", 1, [".cwasm", "compile it again"], id="no .cwasm"),
    ],
)  # fmt: skip
def test_run_says_what_became_of_a_guest(
    command: Command, tmp_path: Path, wasm: bytes, status: int, words: list[str]
) -> None:
    """The same reasons as in a box."""
    (tmp_path / "x.wasm").write_bytes(wasm)
    done = command("run", "--timeout", "0.2", "--max-memory", "48MiB", tmp_path / "x.wasm")

    check(done, *words)
    assert status == done.returncode


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"a letter", ["JPEG"], id="no picture"),
        pytest.param(png(64, 64)[:-40], ["damaged"], id="truncated"),
        pytest.param(png_header(60000, 60000), ["50000000 pixels"], id="bomb"),
        pytest.param(b"", ["empty"], id="empty"),
        pytest.param(bytes(33 * 2**20), ["33554432"], id="too big"),
    ],
)
def test_a_bad_picture_is_refused(
    command: Command,
    service: Service,
    tmp_path: Path,
    picture: bytes,
    content: bytes,
    words: list[str],
) -> None:
    """With the file's name: of ten pictures the user must find the one."""
    (tmp_path / "bad.jpg").write_bytes(content)
    done = command("predict", tmp_path / "bad.jpg", "--app", "steady", "--state", service.state)

    check(done, *words, "bad.jpg")
    assert ["steady"] == service.labels("steady", picture)


# httpcore 1.0 does not close a Unix socket whose connect failed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "words", [["apps"], ["predict", "{}"], ["predictions"], ["deploy", "{}"]], ids=" ".join
)
def test_without_a_box_the_user_is_told_to_start_one(
    command: Command, tmp_path: Path, picture: bytes, words: list[str]
) -> None:
    """Not "connection refused"."""
    file = tmp_path / "a.png"
    file.write_bytes(picture)
    arguments = [word.format(file) for word in words]

    done = command(*arguments, "--state", tmp_path / "none")
    check(done, "no appliance answers on", "appliance serve")
    gc.collect()  # here, where the warning is expected


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["run", "missing.wasm"], ["missing.wasm", "No such file"], id="no guest"),
        pytest.param(["run", "--dir", "x", "a"], ["--dir x", "two parts"], id="dir"),
        pytest.param(["run", "--env", "=x", "a"], ["--env =x"], id="env"),
        pytest.param(["run", "--max-memory", "much", "a"], ["64MiB"], id="memory"),
        pytest.param(["run", "--nn-preload", "a:b", "a"], ["NAME:ENCODING"], id="preload"),
        pytest.param(
            ["run", "--nn-preload", "a:onnx:cpu:/none", "a"], ["no file at /none"], id="weights"
        ),
        pytest.param(["run", "--nn-preload", "a:xxx:cpu:/n", "a"], ["got encoding"], id="encoding"),
        pytest.param(["compile", "text"], ["not wasm"], id="compile"),
        pytest.param(["dance"], ["dance"], id="no command"),
    ],
)
def test_a_wrong_argument_is_named(
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: list[str],
) -> None:
    """Whatever its layout, the message has the option, the value and what is wanted."""
    (tmp_path / "a").write_bytes(guests.command(""))
    (tmp_path / "text").write_bytes(guests.WAT_TEXT)
    monkeypatch.chdir(tmp_path)
    done = command(*arguments)

    told = " ".join(done.stderr.decode().replace("│", " ").split())
    assert 0 != done.returncode
    assert "Traceback" not in told
    assert [word for word in words if word not in told] == [], told


def test_run_names_the_picture_that_is_bad(command: Command, tmp_path: Path) -> None:
    """As `predict` does."""
    (tmp_path / "bad.jpg").write_bytes(b"a letter")
    (tmp_path / "x.wasm").write_bytes(guests.STEADY)

    check(command("run", tmp_path / "x.wasm", tmp_path / "bad.jpg"), "bad.jpg", "JPEG")
    check(command("run", tmp_path / "x.wasm", tmp_path / "none"), "none", "No such file")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(guests.TRUNCATED, "does not compile", id="refused"),
        pytest.param(guests.command("unreachable"), "unreachable", id="failed"),
    ],
)
def test_a_real_process_ends_the_same(tmp_path: Path, content: bytes, words: str) -> None:
    """The tests above run in this process; this is what a shell sees."""
    (tmp_path / "x.wasm").write_bytes(content)

    check(appliance("run", tmp_path / "x.wasm"), words)
