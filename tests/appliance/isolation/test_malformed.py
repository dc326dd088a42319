"""Real model files that end or stop ONNX Runtime itself: a few bytes each, found by fuzzing."""

import logging
import shutil
import time
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
import pytest

from appliance.isolation import IsolatedBackend
from appliance.isolation.process import Bounds
from tests.appliance import watguests as guests
from tests.appliance.service import ROOT, Service
from tests.appliance.test_bundles import zipped
from tests.appliance.test_crash import back
from wasi_nn.backend import Encoding, GraphOptions
from wasi_nn.backends.onnx import OnnxBackend
from wasi_nn.errors import RuntimeFailure

log = logging.getLogger(__name__)

DATA = ROOT / "tests" / "wasi_nn" / "backends" / "data"
MODEL_TOML = b'name = "NAME"\nfiles = [{encoding = "onnx", paths = ["model.onnx"]}]\n'


@pytest.fixture
def box(state: Path) -> Service:
    """A box with a good model, one that crashes when it runs, and a polite app."""
    shutil.rmtree(state, ignore_errors=True)
    for name, file in (("good", "scale.onnx"), ("bad", "crash_random_range.onnx")):
        folder = state / "models" / name / "1"
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes((DATA / file).read_bytes())
        (folder / "model.toml").write_bytes(MODEL_TOML.replace(b"NAME", name.encode()))
    return Service(state)


def ask(box: Service, model: str) -> httpx.Response:
    """Give a model four zeros."""
    zeros = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [0.0] * 4}
    return box.http.post(f"/v2/models/{model}/infer", json={"inputs": [zeros]})


def load(file: str, run_s: float = 60.0) -> None:
    """Load a model in a process of its own and run it once."""
    backend = IsolatedBackend(OnnxBackend(), Bounds(run_s=run_s))
    graph = backend.load([(DATA / file).read_bytes()], Encoding.ONNX, GraphOptions(num_threads=1))
    try:
        shape = [1 if side is None else side for side in graph.inputs[0].shape]
        graph.run([np.zeros(shape, graph.inputs[0].type.storage)])
    finally:
        graph.close()


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("crash_gather_nd.onnx", "ended by signal 11 while loading"),
        ("crash_split_outputs.onnx", "ended by signal 6 while loading"),
        ("crash_random_range.onnx", "ended by signal 6 while computing"),
    ],
)
def test_a_file_that_ends_its_runtime_ends_one_process(file: str, told: str) -> None:
    """Its callers get an error that says how."""
    with pytest.raises(RuntimeFailure, match=told):
        load(file)


def test_a_file_that_never_ends_is_stopped() -> None:
    """A window of 2**31 rows: it would compute for days."""
    with pytest.raises(RuntimeFailure, match="did not answer in time and was stopped"):
        load("hang_pool.onnx", run_s=1.0)


@pytest.mark.parametrize("name", ["crash_gather_nd", "crash_split_outputs"])
def test_an_upload_that_ends_its_runtime_is_refused(box: Service, name: str) -> None:
    """The box goes on in the same process, and nothing of the model is found."""
    content = zipped(("model.onnx", (DATA / f"{name}.onnx").read_bytes()))
    with box:
        pid = box.pid
        refused = box.http.put("/v1/models/crash/1", content=content)

        assert (422, "bad_model") == (refused.status_code, refused.json()["code"])
        assert "crashed (signal" in refused.json()["error"]
        assert 404 == box.http.get("/v1/models/crash").status_code
        assert (pid, 200) == (box.pid, ask(box, "good").status_code)


def test_a_foreign_model_that_crashes_costs_its_callers_an_error(box: Service) -> None:
    """Three of its processes, and it is given up; the box is untouched."""
    with box:
        pid = box.pid
        answers = [ask(box, "bad") for _ in range(4)]

        assert all(500 <= answer.status_code < 600 for answer in answers)
        assert (pid, 200) == (box.pid, ask(box, "good").status_code)
        assert not (box.state / "quarantine.json").exists()


def test_a_real_crash_of_the_box_is_survived(box: Service, picture: bytes) -> None:
    """In the service's own process it takes the box along, three times; then it is refused."""
    (box.state / "settings.toml").write_text('isolation = "none"\n')
    with box:
        box.deploy("polite", guests.STEADY)
        began_s = time.monotonic()
        for _ in range(3):
            pid = box.pid
            with suppress(httpx.TransportError):
                ask(box, "bad")
            back(box, pid)
            assert ["steady"] == box.labels("polite", picture)
        log.warning("quarantined after %.1f s", time.monotonic() - began_s)
        pid = box.pid
        refused = ask(box, "bad")

        assert "quarantined" in refused.text
        assert "SIGABRT" in box.http.get("/v1/models/bad").text
        assert (pid, 200) == (box.pid, ask(box, "good").status_code)
