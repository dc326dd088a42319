"""`appliance serve` as a process: what it survives, and how it ends."""

import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.appliance import watguests as guests
from tests.appliance.api.wire import Wire
from tests.appliance.service import ROOT, Service, appliance, wait_until

FRAME = "POST /v1/apps/steady/frames HTTP/1.1"


def answers(path: Path) -> bool:
    """Tell whether somebody listens on a socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(str(path)) == 0


def settle(box: Service, settings: str) -> None:
    """Write the settings of a box that is not started yet."""
    box.state.mkdir(parents=True)
    (box.state / "settings.toml").write_text(settings)


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


def test_who_asked_stands_in_the_log(box: Service) -> None:
    """The kernel says which user and process it was; the client's id finds the line."""
    with box, Wire(box.socket) as wire:
        reply = wire.ask("GET /v1/apps HTTP/1.1", "X-Request-Id: mine-1")
        box.end()

        (line,) = [entry for entry in box.log.read_text().splitlines() if "id=mine-1" in entry]
        assert "mine-1" == reply.headers["x-request-id"]
        peer = f"peer=uid:{os.getuid()},gid:{os.getgid()},pid:{os.getpid()} "
        assert peer in json.loads(line)["message"]


def test_a_request_under_way_is_finished_before_the_end(box: Service, picture: bytes) -> None:
    """Nobody new is let in meanwhile; then the status is 0."""
    with box:
        box.deploy("steady", guests.STEADY)
        with Wire(box.socket) as under_way:
            length = f"Content-Length: {len(picture)}"
            # The box answers 100 when it reads the body: then the request is under way.
            asked = under_way.ask(FRAME, length, "Expect: 100-continue")
            box.tell(signal.SIGTERM)
            wait_until(lambda: not answers(box.socket))
            under_way.send(picture)
            reply = under_way.reply()

        assert (100, 200, "close") == (asked.status, reply.status, reply.headers["connection"])
        assert 0 == box.wait()


def test_a_request_that_does_not_end_is_cut_off(box: Service, picture: bytes) -> None:
    """After the grace period, and the box still ends in order."""
    settle(box, "stop_grace_s = 0.1")
    with box:
        box.deploy("steady", guests.STEADY)
        with Wire(box.socket) as stuck:
            stuck.ask(FRAME, "Content-Length: 99", "Expect: 100-continue")

            assert 0 == box.end()
            assert stuck.is_over()
        assert "requests cut off at the stop count=1" in box.log.read_text()


def test_a_stopping_box_says_so_and_a_second_signal_ends_it(box: Service) -> None:
    """While it settles it still serves, on new connections too; the socket does not stay."""
    settle(box, "stop_settle_s = 3600")
    with box:
        box.tell(signal.SIGTERM)
        wait_until(lambda: box.http.get("/readyz").status_code == 503)
        refusal = box.http.get("/readyz").json()
        health = box.http.get("/healthz")

        assert -signal.SIGINT == box.end(signal.SIGINT)
        assert ("unavailable", 200) == (refusal["code"], health.status_code)
        assert "the box is stopping" in refusal["error"]
        assert not box.socket.exists()


def test_the_folder_of_the_socket_is_closed_to_others(box: Service) -> None:
    """0750, even if it was made wider before."""
    (box.state / "run").mkdir(parents=True)
    (box.state / "run").chmod(0o777)
    with box:
        assert 0o750 == (box.state / "run").stat().st_mode & 0o777


def test_the_log_can_be_read_over_the_socket(box: Service) -> None:
    """The life of the box; chosen by level."""
    with box:
        said = box.http.get("/v1/logs", params={"lines": 200}).json()
        errors = box.http.get("/v1/logs", params={"level": "error"}).json()

        assert any("box started" in line["text"] for line in said["lines"])
        assert {"at", "level", "logger", "text"} == set(said["lines"][0])
        assert {"lines": [], "dropped": 0} == errors


def test_level_and_style_of_the_log_are_options(state: Path) -> None:
    """Text although nobody watches, and nothing below the level."""
    state.mkdir(parents=True, exist_ok=True)
    (state / "settings.toml").write_text("[tcp]\nport = 0\n")
    done = appliance("serve", "--state", state, "--log-level", "error", "--log-style", "text")
    (state / "settings.toml").unlink()

    assert 1 == done.returncode
    assert done.stderr.decode().startswith("appliance: tcp: no token;")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another libc, another allocator")
def test_the_buffers_of_a_frame_are_kept_for_the_next() -> None:
    """Decoding in a thread takes no pages from the kernel once it has some."""
    program = """
import resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from appliance.cli.serve import keep_freed_memory
from appliance.pictures import decode
keep_freed_memory()
picture = Path("models/samples/coffee.jpg").read_bytes()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        decode(picture, max_pixels=10**6)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 20
with ThreadPoolExecutor(1) as threads:
    print([threads.submit(faults).result() for _ in range(2)][1])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )

    # The pixels alone are 600 * 400 * 3 bytes: 176 pages.
    assert float(done.stdout) < 100
