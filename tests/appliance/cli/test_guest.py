"""`appliance run` and `compile`: one guest, no box."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from appliance.guests.aot import AotCache
from appliance.guests.engine import GuestEngine
from appliance.shipped import models_folder
from tests.appliance import watguests as guests
from tests.appliance.cli.conftest import Command
from tests.appliance.guests.test_command import strings
from tests.appliance.service import ROOT, appliance

MODEL = models_folder() / "efficientnet-lite0" / "1"
CLASSIFY = ROOT / "wasi_nn" / "guest" / "examples" / "classify.wasm"
CAT = {281, 282, 285}


@pytest.fixture(scope="session")
def cat_rgb(read_sample: Callable[[str], bytes]) -> bytes:
    """The cat's middle as 224 by 224 RGB bytes: what a plain command guest reads."""
    picture = Image.open(io.BytesIO(read_sample("chelsea.jpg"))).convert("RGB")
    side = min(picture.size)
    left, top = (picture.width - side) / 2, (picture.height - side) / 2
    return picture.resize((224, 224), box=(left, top, left + side, top + side)).tobytes()


def put(folder: Path, wasm: bytes) -> Path:
    path = folder / "guest.wasm"
    path.write_bytes(wasm)
    return path


@pytest.fixture(scope="module")
def answers(cat_rgb: bytes) -> dict[str, list[dict[str, float]]]:
    """What the plain command says about the cat, by encoding."""
    found = {}
    for encoding, files, layout in (
        ("onnx", ["model.onnx"], "nchw"),
        ("openvino", ["model.xml", "model.bin"], "nchw"),
        ("tensorflowlite", ["model.tflite"], "nhwc"),
    ):
        paths = ":".join(str(MODEL / name) for name in files)
        done = appliance(
            "run", "--nn-preload", f"net:{encoding}:cpu:{paths}", CLASSIFY,
            "--layout", layout, "--json", "net", stdin=cat_rgb,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode()
        found[encoding] = json.loads(done.stdout)["top"]
    return found


@pytest.mark.parametrize("encoding", ["onnx", "openvino", "tensorflowlite"])
def test_the_plain_command_knows_the_cat_on_every_backend(
    answers: dict[str, list[dict[str, float]]], encoding: str
) -> None:
    """The same five classes in the same order, and scores that agree."""
    top, reference = answers[encoding], answers["onnx"]

    assert top[0]["index"] in CAT
    assert [entry["index"] for entry in reference] == [entry["index"] for entry in top]
    assert [entry["score"] for entry in reference] == pytest.approx(
        [entry["score"] for entry in top], abs=0.01
    )


def test_model_files_come_through_a_folder(cat_rgb: bytes) -> None:
    """--dir gives the guest files; --statistics says on stderr what the run took."""
    done = appliance(
        "run", "--dir", f"/m:{MODEL}", "--statistics", CLASSIFY, "--labels", "/m/labels.txt",
        "/m/model.onnx", stdin=cat_rgb,
    )  # fmt: skip

    assert 0 == done.returncode
    assert b"cat" in done.stdout.splitlines()[0]
    told = dict(line.split(": ", 1) for line in done.stderr.decode().splitlines())
    assert {"wall", "instructions (fuel)", "linear memory", "wasi-nn computes"} <= set(told)
    assert "1" == told["wasi-nn computes"]
    assert int(told["instructions (fuel)"]) > 1_000_000
    assert told["call wasi_ephemeral_nn.compute"].startswith("1 times, ")
    moved_in, moved_out = told["wasi-nn bytes"].replace(" in", "").replace(" out", "").split(", ")
    assert int(moved_in) == 3 * 224 * 224 * 4 + (MODEL / "model.onnx").stat().st_size
    assert int(moved_out) == 1000 * 4


def test_an_unknown_model_is_one_sentence_of_ours(cat_rgb: bytes) -> None:
    """Beside whatever the guest itself says."""
    done = appliance("run", CLASSIFY, "nowhere", stdin=cat_rgb)

    assert 1 == done.returncode
    ours = [line for line in done.stderr.decode().splitlines() if not line.startswith("classify:")]
    (sentence,) = ours
    assert "load_by_name gave errno 8: model nowhere: not found; models on this box" in sentence


def test_a_compiled_guest_runs_at_once(command: Command, tmp_path: Path) -> None:
    """`compile` makes a .cwasm beside it or at -o, and `run` takes it."""
    wasm = put(tmp_path, guests.printing(b"hello\n"))
    for arguments, target in (
        ([], tmp_path / "guest.cwasm"),
        (["-o", tmp_path / "x.cwasm"], tmp_path / "x.cwasm"),
    ):
        made = command("compile", wasm, *arguments)
        assert (0, True) == (made.returncode, made.stdout.startswith(bytes(target)))
        done = command("run", target)
        assert (0, b"hello\n") == (done.returncode, done.stdout)


def test_a_compiled_guest_that_is_not_whole_is_not_run(command: Command, tmp_path: Path) -> None:
    """Half a download of machine code would do anything."""
    wasm = put(tmp_path, guests.printing(b"hello\n"))
    assert 0 == command("compile", wasm).returncode
    target = wasm.with_suffix(".cwasm")
    target.write_bytes(target.read_bytes()[:-1000])
    done = command("run", target)

    assert (1, b"") == (done.returncode, done.stdout)
    assert b"this .cwasm is damaged, or `appliance compile` did not make it" in done.stderr


def test_guests_are_compiled_into_the_cache_of_a_box(command: Command, tmp_path: Path) -> None:
    """As that box will want them: one whose app counts instructions has other code."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.wasm").write_bytes(guests.labelled(name))
    (tmp_path / "b.toml").write_text("[limits]\nfuel = 1000")
    done = command(
        "compile", "--into-cache", "--state", tmp_path / "s", *tmp_path.glob("*.wasm")
    )  # fmt: skip

    assert (0, 2) == (done.returncode, len(done.stdout.splitlines())), done.stderr
    engine = GuestEngine()
    plain = AotCache(tmp_path / "s" / "cache" / "aot", engine)
    counting = plain.for_engine(engine.counting())
    held = [cache.holds(guests.labelled(n)) for cache in (plain, counting) for n in ("a", "b")]
    assert [True, False, False, True] == held


def test_a_cache_that_cannot_be_filled_is_a_failure(command: Command, tmp_path: Path) -> None:
    """A box would run without it; who fills it in advance must know."""
    (tmp_path / "cache").write_bytes(b"no folder")
    wasm = put(tmp_path, guests.STEADY)
    done = command("compile", "--into-cache", "--state", tmp_path, wasm)

    assert 1 == done.returncode
    assert b"guest.wasm: compiled, but not kept; check the disk" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["--into-cache", "-o", "x"], b"got both, wanted one", id="both"),
        pytest.param(["-o", "x", "other.wasm"], b"got 2 guests for one file", id="one file"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    command: Command, tmp_path: Path, arguments: list[str], words: bytes
) -> None:
    """Before anything is compiled."""
    done = command("compile", tmp_path / "missing.wasm", *arguments)

    assert (1, True) == (done.returncode, words in done.stderr)


def test_a_compiled_guest_gives_its_statistics_too(command: Command, tmp_path: Path) -> None:
    """Counting instructions needs other code; a .cwasm without it is run without the count."""
    wasm = put(tmp_path, guests.printing(b"hello\n"))
    assert 0 == command("compile", wasm).returncode
    done = command("run", "--statistics", wasm.with_suffix(".cwasm"))

    assert (0, b"hello\n") == (done.returncode, done.stdout), done.stderr.decode()
    assert b"wall: " in done.stderr


def test_the_environment_is_what_was_given(command: Command, tmp_path: Path) -> None:
    """--env, and nothing of ours."""
    wasm = put(tmp_path, strings("environ"))
    done = command("run", "--env", "A=b=c", "--env", "D=", wasm)

    assert (0, b"A=b=c\0D=\0") == (done.returncode, done.stdout)


def test_a_folder_may_be_written(command: Command, tmp_path: Path) -> None:
    """By hand a guest may do what the user allows; in a box it may not."""
    wasm = put(tmp_path, guests.writing_into_preopen())
    done = command("run", "--dir", f"/:{tmp_path}", wasm)

    assert (0, True) == (done.returncode, (tmp_path / "evil").exists())


@pytest.mark.parametrize("status", [0, 3, 42])
def test_the_guests_exit_status_is_ours(command: Command, tmp_path: Path, status: int) -> None:
    """What it printed comes through as bytes."""
    done = command("run", put(tmp_path, guests.printing(b"\xff\0\n", status)))

    assert (status, b"\xff\0\n") == (done.returncode, done.stdout)


def test_a_reactor_is_shown_pictures(command: Command, tmp_path: Path, picture: bytes) -> None:
    """One emitted line for each."""
    (tmp_path / "a.png").write_bytes(picture)
    done = command("run", put(tmp_path, guests.STEADY), *[tmp_path / "a.png"] * 2)

    assert 0 == done.returncode
    assert ["steady"] * 2 == [json.loads(line)["label"] for line in done.stdout.splitlines()]


def test_a_reactor_without_a_picture_says_what_to_give(command: Command, tmp_path: Path) -> None:
    """Doing nothing and ending well would look like success."""
    done = command("run", put(tmp_path, guests.STEADY))

    assert 0 != done.returncode
    assert b"picture" in done.stderr


def test_a_reader_that_leaves_is_no_traceback(tmp_path: Path) -> None:
    """`appliance run ... | head`."""
    wasm = put(tmp_path, guests.flooding_stdout(is_stubborn=True))
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        [sys.executable, "-m", "appliance", "run", str(wasm)],
        stdin=subprocess.DEVNULL, stdout=write_end, stderr=subprocess.PIPE, check=False,
    )  # fmt: skip
    os.close(write_end)

    assert b"Traceback" not in done.stderr
