"""Which graphs are kept for clients, and until when."""

import os
import shutil
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from appliance.errors import ModelFailed, NotFound, Unavailable
from tests.appliance.inference.rig import Make, Rig, request
from tests.appliance.workshop import Workshop, fake_model
from wasi_nn.backend import Backend, Buffer, Encoding, Graph, GraphOptions
from wasi_nn.errors import RuntimeFailure
from wasi_nn.registry import Origin, Registry


def ready(rig: Rig) -> dict[str, str]:
    return {each.name: each.state for each in rig.inference.index()}


def long_ago(folder: Path) -> Path:
    """Let a model have lain there for long: what is new is looked at more closely."""
    os.utime(folder.parent, (1, 1))
    os.utime(folder, (1, 1))
    return folder


def test_a_graph_is_loaded_once(rig: Rig) -> None:
    """Eight clients at once, and again."""
    with ThreadPoolExecutor(8) as threads:
        for _ in range(2):
            list(threads.map(rig.inference.infer, [request()] * 8))

    assert (1, 1) == (rig.workshop.backend.loads, rig.workshop.backend.open_graphs)


def test_the_least_recently_used_is_let_go(make_rig: Make) -> None:
    """Never more than the bound, and a pinned one stays."""
    rig = make_rig(max_loaded=2)
    for name in ("a", "b", "c"):
        rig.put(name, offset=ord(name))
    rig.inference.load("a")
    for name in ("b", "c", "b", "a", "b"):
        rig.inference.infer(request(model=name))

    # a once, b, c, then b anew: c took its place.
    assert (4, 2) == (rig.workshop.backend.loads, rig.workshop.backend.open_graphs)


def test_as_many_may_be_pinned_as_are_kept(make_rig: Make) -> None:
    """One more is refused; unloading one makes room."""
    rig = make_rig(max_loaded=1)
    rig.put("a")
    rig.put("b", offset=1)
    rig.inference.load("a")

    with pytest.raises(Unavailable, match="1 models are pinned"):
        rig.inference.load("b")
    rig.inference.unload("a")
    rig.inference.load("b")
    assert {"a": "UNAVAILABLE", "b": "READY"} == ready(rig)


def test_an_unloaded_model_is_refused_until_it_is_loaded(rig: Rig) -> None:
    """Its memory is given back."""
    rig.inference.infer(request())
    rig.inference.unload("tiny")

    assert 0 == rig.workshop.backend.open_graphs
    assert not rig.inference.is_model_ready("tiny")
    with pytest.raises(Unavailable, match="unloaded; POST /v2/repository/models/tiny/load"):
        rig.inference.infer(request())
    rig.inference.load("tiny")
    rig.inference.infer(request())


def test_guests_keep_what_is_unloaded(rig: Rig) -> None:
    """Their graph is theirs."""
    held = rig.workshop.registry.load_named("tiny")
    rig.inference.unload("tiny")

    assert 1 == rig.workshop.backend.open_graphs
    held.release()


def test_a_graph_in_use_outlives_its_unload(rig: Rig) -> None:
    """The request that computes is answered."""
    started, go = threading.Event(), threading.Event()

    def hold(_: float) -> None:
        started.set()
        go.wait()

    rig.workshop.gate = hold
    rig.put("slow", delay_s=1)
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(rig.inference.infer, request(model="slow"))
        started.wait()
        rig.inference.unload("slow")
        go.set()
        assert 1 == len(answer.result().outputs)

    assert 0 == rig.workshop.backend.open_graphs


def test_a_changed_folder_is_loaded_anew(rig: Rig) -> None:
    """The next request is answered by what lies there now."""
    rig.inference.infer(request())
    file = rig.workshop.models / "tiny" / "1" / "model.onnx"
    file.write_bytes(fake_model(fail_on_run=1))

    with pytest.raises(ModelFailed, match="the fake fails on run 1"):
        rig.inference.infer(request())
    assert (2, 1) == (rig.workshop.backend.loads, rig.workshop.backend.open_graphs)


def test_a_new_version_is_seen_at_once(make_rig: Make) -> None:
    """Though not every file is looked at for every request."""
    rig = make_rig(recheck_s=3600)
    folder = long_ago(rig.put())
    versions = [rig.inference.infer(request()).version]
    shutil.copytree(folder, rig.workshop.models / "new")
    (rig.workshop.models / "new").rename(rig.workshop.models / "tiny" / "2")
    versions.append(rig.inference.infer(request()).version)
    shutil.rmtree(rig.workshop.models / "tiny" / "2")
    versions.append(rig.inference.infer(request()).version)

    assert ["1", "2", "1"] == versions


def test_a_file_that_is_written_in_place_is_seen_by_the_next_look(make_rig: Make) -> None:
    """Which is soon, but not at once: this is what the looks save."""
    seen = []
    for recheck_s in (3600, 0):
        rig = make_rig(recheck_s=recheck_s)
        folder = long_ago(rig.put(f"m{recheck_s}"))
        ask = request(model=f"m{recheck_s}")
        rig.inference.infer(ask)
        (folder / "labels.txt").write_text("other\n")
        rig.inference.infer(ask)
        seen.append(rig.inference.model_metadata(ask.model).properties["scores.labels"])

    assert ["3", "1"] == seen


def test_a_file_that_is_replaced_is_seen_at_once(make_rig: Make) -> None:
    """By a rename, as files are replaced that must never be half there."""
    rig = make_rig(recheck_s=3600)
    folder = long_ago(rig.put())
    rig.inference.infer(request())
    (folder / "beside").write_bytes(fake_model(fail_on_run=1))
    (folder / "beside").rename(folder / "model.onnx")

    with pytest.raises(ModelFailed, match="the fake fails on run 1"):
        rig.inference.infer(request())


def test_a_model_that_is_gone_is_let_go(rig: Rig) -> None:
    """Nobody can ask for it any more, so nothing of it is held."""
    rig.inference.infer(request())
    for file in (rig.workshop.models / "tiny" / "1").iterdir():
        file.unlink()
    (rig.workshop.models / "tiny" / "1").rmdir()

    with pytest.raises(NotFound, match="unknown model"):
        rig.inference.infer(request())
    assert 0 == rig.workshop.backend.open_graphs


def test_a_load_that_failed_is_not_tried_by_every_request(rig: Rig) -> None:
    """Only by `load`, or once the folder has changed."""
    file = rig.put("broken") / "model.onnx"
    file.write_bytes(b"FAKE\n{}")
    for _ in range(2):
        with pytest.raises(Unavailable, match="not at ready state: fake model: damaged"):
            rig.inference.infer(request(model="broken"))

    assert (1, "UNAVAILABLE") == (
        rig.workshop.registry.statistics().failures, ready(rig)["broken"]
    )  # fmt: skip
    assert not rig.inference.is_model_ready("broken")
    with pytest.raises(Unavailable, match="damaged"):
        rig.inference.load("broken")
    assert 2 == rig.workshop.registry.statistics().failures
    file.write_bytes(fake_model())
    rig.inference.infer(request(model="broken"))
    assert "READY" == ready(rig)["broken"]


def test_a_broken_folder_is_no_unknown_model(rig: Rig) -> None:
    """It is there and not ready, with the reason."""
    (rig.workshop.models / "tiny" / "1" / "model.toml").write_text("name = 1")

    assert not rig.inference.is_model_ready("tiny")
    with pytest.raises(Unavailable, match=r"not at ready state.*model\.toml") as caught:
        rig.inference.infer(request())
    assert isinstance(caught.value.__cause__, RuntimeFailure)
    with pytest.raises(Unavailable, match="not at ready state"):
        rig.inference.load("tiny")


def test_a_model_that_is_being_loaded_says_so(workshop: Workshop, make_rig: Make) -> None:
    """LOADING, seen by another client meanwhile."""
    seen = []

    def look(backend: Backend, builders: Sequence[Buffer], encoding: Encoding,
             options: GraphOptions, _: Origin) -> Graph:  # fmt: skip
        seen.append(ready(rig)["tiny"])
        return backend.load(builders, encoding, options)

    workshop.registry = Registry((workshop.backend,), workshop.repository, look)
    rig = make_rig()
    rig.put()
    rig.inference.infer(request())

    assert (["LOADING"], "READY") == (seen, ready(rig)["tiny"])


def test_labels_that_do_not_match_the_output_are_told(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """Else a wrong file gives wrong answers with high confidence; once a load, not a request."""
    for _ in range(2):
        rig.inference.infer(request())

    (record,) = [each for each in caplog.records if "labels do not match" in each.message]
    assert "model=tiny:1 output=scores labels=3 classes=4" in record.message
