"""`appliance serve` as a process: what it survives, and how it ends."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.appliance import watguests as guests
from tests.appliance.service import ROOT, Service, appliance


@pytest.fixture
def box(state: Path) -> Service:
    """A box over a fresh state folder, not started."""
    shutil.rmtree(state, ignore_errors=True)
    return Service(state)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_ends_it_in_order(box: Service, number: signal.Signals) -> None:
    """Status 0, no socket left, and the log's last word is that it stopped."""
    with box:
        assert 0 == box.end(number)

        assert not box.socket.exists()
        last = json.loads(box.log.read_text().splitlines()[-1])
        assert ("info", "box stopped") == (last["level"], last["message"])


def test_after_a_kill_the_next_start_has_everything(box: Service, picture: bytes) -> None:
    """The same app answers, and every acknowledged prediction is there with its id."""
    with box:
        version = box.deploy("steady", guests.STEADY).json()["version"]
        ids = [box.show("steady", picture).json()["predictions"][0]["id"] for _ in range(5)]
        (box.state / "apps" / "steady" / ".tmp-half").mkdir()
        (box.state / "apps" / "steady" / ".tmp-half" / "app.wasm").write_bytes(b"\0as")
        assert -signal.SIGKILL == box.end(signal.SIGKILL)
        assert box.socket.exists()

        box.start()

        answer = box.show("steady", picture).json()
        kept = box.http.get("/v1/predictions").json()["predictions"]
        assert version == answer["version"]
        assert [answer["predictions"][0]["id"], *ids[::-1]] == [row["id"] for row in kept]
        assert [] == list(box.state.rglob(".tmp-*"))


def test_a_broken_app_does_not_keep_the_box_down(box: Service, picture: bytes) -> None:
    """Damage on disk is reported with the app; the others come up, and a new deploy heals it."""
    with box:
        damaged = box.deploy("damaged", guests.labelled("whole")).json()["version"]
        box.deploy("steady", guests.STEADY)
        box.end()
        wasm = box.state / "apps" / "damaged" / damaged / "app.wasm"
        wasm.write_bytes(wasm.read_bytes()[:-3])

        box.start()
        (app, _) = box.http.get("/v1/apps").json()
        assert ("damaged", "failed") == (app["name"], app["state"])
        assert "damaged on disk; deploy the app again" in app["last_deploy_error"]
        assert ["steady"] == box.labels("steady", picture)

        box.deploy("damaged", guests.labelled("whole"))
        box.end()
        box.start()
        assert ["whole"] == box.labels("damaged", picture)


def test_a_second_box_on_the_same_state_is_refused(box: Service) -> None:
    """One sentence, status 1; the first box does not notice."""
    with box:
        second = appliance("serve", "--state", box.state)

        assert 1 == second.returncode
        told = second.stderr.decode().splitlines()
        assert [line for line in told if line.startswith("appliance: ")] == told[-1:]
        assert "another appliance answers there; stop it or use another --state" in told[-1]
        assert 200 == box.http.get("/healthz").status_code


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("max_pixel = 5", "unknown key, did you mean max_pixels?", id="key"),
        pytest.param("threads = 0", "threads: got 0", id="value"),
        pytest.param("][", "settings.toml: not TOML", id="syntax"),
    ],
)
def test_bad_settings_are_one_sentence(state: Path, text: str, words: str) -> None:
    """The box does not start with settings it does not understand."""
    state.mkdir(parents=True, exist_ok=True)
    (state / "settings.toml").write_text(text)
    done = appliance("serve", "--state", state)
    (state / "settings.toml").unlink()

    assert (1, b"") == (done.returncode, done.stdout)
    (sentence,) = done.stderr.decode().splitlines()
    assert words in sentence


def test_a_state_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    """A file where the folder should be ends the start, without a traceback."""
    (tmp_path / "file").write_text("")
    done = appliance("serve", "--state", tmp_path / "file")

    assert 1 == done.returncode
    assert "Traceback" not in done.stderr.decode()
    assert done.stderr.decode().splitlines()[-1].startswith("appliance: ")


def test_a_model_that_wants_more_than_the_box_has_fails_alone() -> None:
    """Its call ends with the runtime's error; the process goes on and computes the next."""
    program = """
import numpy as np
from pathlib import Path
from appliance.cli.serve import bound_memory
from wasi_nn.backend import Encoding, GraphOptions
from wasi_nn.backends.onnx import OnnxBackend
from wasi_nn.errors import NNError
bound_memory(1 << 30)
data = Path("tests/wasi_nn/backends/data")
for name, shape in (("greedy", (1,)), ("scale", (1, 4))):
    try:
        graph = OnnxBackend().load(
            [(data / f"{name}.onnx").read_bytes()], Encoding.ONNX, GraphOptions(num_threads=1))
        print(name, graph.run([np.ones(shape, np.float32)])[0].shape)
    except NNError as error:
        print(name, type(error).__name__)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT
    )

    assert ["greedy RuntimeFailure", "scale (1, 4)"] == done.stdout.splitlines(), done.stderr
