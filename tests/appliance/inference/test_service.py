"""The service as transports call it: who answers, how it is refused, and what is counted."""

import threading
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

import numpy as np
import pytest

from appliance.errors import BadRequest, ModelFailed, NotFound, Unavailable, Unsupported
from appliance.oip.datatypes import Datatype
from appliance.oip.messages import IndexEntry, SharedSlice, Tensor, WantedOutput
from appliance.sharedmemory import Region
from appliance.standings import AppState, Failure, Standing
from tests.appliance import watguests as guests
from tests.appliance.inference.rig import NOW, Make, Rig, image, request, values
from wasi_nn.executor import Cancellation


def test_an_answer_says_who_gave_it_and_where_the_time_went(rig: Rig) -> None:
    """Model, version, the request's id, and times that fit into the whole."""
    answer = rig.inference.infer(request(id="7"))

    assert ("tiny", "1", "7") == (answer.model, answer.version, answer.id)
    timing = answer.timing
    assert 0 <= timing.queue_s + timing.input_s + timing.compute_s <= timing.total_s
    assert 0 < timing.compute_s


def test_the_server_lists_only_what_it_has(make_rig: Make) -> None:
    """Shared memory is an extension only where the operator allows it."""
    with_shared = set(make_rig().inference.server_metadata().extensions)

    assert {"binary_tensor_data", "classification", "statistics", "system_shared_memory"} <= (
        with_shared
    )
    assert not {"trace", "logging", "cuda_shared_memory", "sequence"} & with_shared


def test_metadata_say_how_a_picture_becomes_the_input(rig: Rig) -> None:
    """What is needed to prepare a tensor oneself, and what the outputs mean."""
    metadata = rig.inference.model_metadata("tiny")

    assert ("tiny", ("1",), "onnx_onnxv1") == (metadata.name, metadata.versions, metadata.platform)
    assert [("image", Datatype.FP32, (-1, 3, 2, 4))] == [
        (each.name, each.datatype, each.shape) for each in metadata.inputs
    ]
    said = metadata.properties
    assert ("4x2", "NCHW", "rgb") == (
        said["image.size_wh"], said["image.layout"], said["image.color"]
    )  # fmt: skip
    assert ("1,2,3", "4,5,6") == (said["image.mean"], said["image.std"])
    assert ("logits", "3") == (said["scores.kind"], said["scores.labels"])


def test_the_configuration_leaves_the_batch_dimension_out(rig: Rig) -> None:
    """As Triton's does where max_batch_size is above 0."""
    config = rig.inference.model_config("tiny")

    assert (128, (3, 2, 4), "fake") == (
        config.max_batch_size, config.inputs[0].shape, config.backend
    )  # fmt: skip
    assert ({"scores": "labels.txt"}, {"image": "NCHW"}) == (config.labels, config.image_layout)


@pytest.mark.parametrize(
    ("name", "version"), [("nobody", ""), ("tiny", "9"), ("tiny:1", ""), ("../tiny", "")],
    ids=["name", "version", "a version in the name", "a path"],
)  # fmt: skip
def test_what_is_not_there_is_not_found_by_any_method(rig: Rig, name: str, version: str) -> None:
    """Triton's words, in every method."""
    service = rig.inference
    for ask in (
        service.model_metadata, service.model_config, service.is_model_ready, service.statistics,
    ):  # fmt: skip
        with pytest.raises(NotFound, match="Request for unknown model"):
            ask(name, version)
    with pytest.raises(NotFound, match="Request for unknown model"):
        service.infer(request(model=name, version=version))


def test_a_full_queue_refuses_at_once(rig: Rig) -> None:
    """One computes, one waits, the next is told to come again, in Triton's words."""
    started, go = threading.Event(), threading.Event()

    def hold(_: float) -> None:
        started.set()
        go.wait()

    rig.workshop.gate = hold
    rig.put("slow", delay_s=1)
    with ThreadPoolExecutor(3) as threads:
        first = threads.submit(rig.inference.infer, request(model="slow"))
        started.wait()
        others = [threads.submit(rig.inference.infer, request(model="slow")) for _ in range(2)]
        refused, queued = wait(others, return_when=FIRST_COMPLETED)
        go.set()

        (error,) = [each.exception() for each in refused]
        assert isinstance(error, Unavailable)
        assert "Exceeds maximum queue size" in str(error)
        assert 0 < error.retry_after_s
        assert values(image(1.0)) == values(first.result().outputs[0])
        assert [values(image(1.0))] == [values(each.result().outputs[0]) for each in queued]


def test_a_request_whose_time_is_over_is_not_computed(rig: Rig) -> None:
    """timeout counts microseconds, in the queue."""
    started, go = threading.Event(), threading.Event()

    def hold(_: float) -> None:
        started.set()
        go.wait()

    rig.workshop.gate = hold
    rig.put("slow", delay_s=1)
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(rig.inference.infer, request(model="slow"))
        started.wait()
        with pytest.raises(Unavailable, match="Request timeout expired"):
            rig.inference.infer(request(model="slow", timeout_us=1))
        go.set()
        first.result()

    assert 1 == rig.inference.statistics("slow")[0].execution_count


def test_a_client_that_left_is_not_computed_for(rig: Rig) -> None:
    """Its cancellation stops what has not begun."""
    gone = Cancellation()
    gone.cancel()

    with pytest.raises(Unavailable, match="nobody waits"):
        rig.inference.infer(request(), gone)


def test_a_model_that_fails_is_to_blame_itself(rig: Rig) -> None:
    """Not the request, not the box; the next request is computed."""
    rig.put("moody", fail_on_run=1)

    with pytest.raises(ModelFailed, match="model moody: compute: the fake fails"):
        rig.inference.infer(request(model="moody"))
    rig.inference.infer(request(model="moody"))


def test_requests_are_counted_with_their_fates(rig: Rig) -> None:
    """Success and failure, rows and runs, the time of the last."""
    rig.inference.infer(request(image(1, 2, 3)))
    rig.inference.infer(request())
    with pytest.raises(BadRequest, match="has none such"):
        rig.inference.infer(request(image(1, name="x")))

    (counted,) = rig.inference.statistics("tiny")

    assert (2, 1) == (counted.success.count, counted.fail.count)
    assert (4, 2) == (counted.inference_count, counted.execution_count)
    assert {1: 1, 3: 1} == {rows: each.count for rows, each in counted.batches.items()}
    assert int(NOW * 1000) == counted.last_inference_ms
    assert counted.success.ns >= counted.compute_infer.ns > 0
    assert 2 == counted.compute_input.count == counted.compute_output.count == counted.queue.count


def test_counts_survive_an_unload(rig: Rig) -> None:
    """What was computed was computed; a graph that comes again is not counted twice."""
    rig.inference.infer(request())
    rig.inference.unload("tiny")
    before = rig.inference.statistics("tiny")[0].execution_count
    rig.inference.load("tiny")
    rig.inference.infer(request())

    assert (1, 2) == (before, rig.inference.statistics("tiny")[0].execution_count)


def test_a_graph_that_guests_hold_is_counted_once(rig: Rig) -> None:
    """It keeps its own counts while clients let it go and take it again."""
    held = rig.workshop.registry.load_named("tiny")
    rig.inference.infer(request())
    for _ in range(3):
        rig.inference.unload("tiny")
        rig.inference.load("tiny")
    held.release()

    assert 1 == rig.inference.statistics("tiny")[0].execution_count


def test_statistics_without_a_name_are_of_all(rig: Rig) -> None:
    """Every model and every app, used or not."""
    rig.put("other")
    rig.deploy("door", guests.STEADY)

    assert ["other", "tiny", "door"] == [each.name for each in rig.inference.statistics()]


def test_the_index_shows_models_apps_and_why_one_is_not_ready(rig: Rig) -> None:
    """Broken folders, failed deploys and apps that are switched off, with their reasons."""
    (rig.put("broken") / "model.onnx").unlink()
    rig.deploy("door", guests.STEADY, "abc")
    failure = Failure("window", "def", "it does not compile", NOW)
    rig.others = (
        Standing("window", AppState.FAILED, "def", failure),
        Standing("gate", AppState.DISABLED, "fed"),
    )

    index = {each.name: each for each in rig.inference.index()}

    assert IndexEntry("tiny", "1", "READY") == index["tiny"]
    assert IndexEntry("door", "abc", "READY") == index["door"]
    assert IndexEntry("window", "def", "UNAVAILABLE", "it does not compile") == index["window"]
    assert IndexEntry("gate", "fed", "UNAVAILABLE", "disabled") == index["gate"]
    assert ("UNAVAILABLE", True) == (index["broken"].state, bool(index["broken"].reason))
    assert {"tiny", "door"} == {each.name for each in rig.inference.index(only_ready=True)}


def test_a_model_goes_before_an_app_of_its_name(rig: Rig) -> None:
    """Both are in the index, under their versions."""
    rig.deploy("tiny", guests.STEADY, "abc")

    assert "onnx_onnxv1" == rig.inference.model_metadata("tiny").platform
    assert {"1", "abc"} == {each.version for each in rig.inference.index()}


def test_after_the_end_nothing_is_ready(rig: Rig) -> None:
    """Requests are refused, and no graph is held."""
    rig.inference.infer(request())
    rig.inference.close()

    assert not rig.inference.is_ready()
    assert not rig.inference.is_model_ready("tiny")
    with pytest.raises(Unavailable, match="Server exiting"):
        rig.inference.infer(request())
    assert 0 == rig.workshop.backend.open_graphs


def test_tensors_are_read_from_and_written_to_shared_memory(rig: Rig) -> None:
    """The answer names the place; nothing of it is in the message."""
    array = image(1, 2).values
    assert isinstance(array, np.ndarray)
    (rig.objects / "io").write_bytes(array.tobytes() + bytes(array.nbytes + 5))
    rig.inference.regions.register(Region("io", "/io", 0, 2 * array.nbytes + 5))
    shared = Tensor("image", Datatype.FP32, array.shape, SharedSlice("io", 0, array.nbytes))
    wanted = WantedOutput("scores", 0, SharedSlice("io", array.nbytes, array.nbytes + 5))

    (output,) = rig.inference.infer(request(shared, outputs=(wanted,))).outputs

    assert SharedSlice("io", array.nbytes, array.nbytes) == output.values
    assert 2 * array.tobytes() + bytes(5) == (rig.objects / "io").read_bytes()


def test_shared_memory_is_refused_where_it_is_switched_off(make_rig: Make) -> None:
    """With what the operator can do about it."""
    rig = make_rig(is_shared=False)
    rig.put()
    shared = Tensor("image", Datatype.FP32, (1, 3, 2, 4), SharedSlice("io", 0, 96))

    with pytest.raises(Unsupported, match="shared_memory = true"):
        rig.inference.infer(request(shared))
