"""Apps as models of platform wasm."""

import json

import numpy as np
import pytest

from appliance.errors import ApplianceError, BadRequest, NotFound
from appliance.oip.datatypes import Datatype
from appliance.oip.messages import InferRequest, Tensor, WantedOutput
from appliance.store import PredictionQuery
from tests.appliance import watguests as guests
from tests.appliance.inference.rig import Rig, values
from tests.appliance.workshop import png


def picture(*encoded: bytes, name: str = "image") -> Tensor:
    return Tensor(name, Datatype.BYTES, (len(encoded),), encoded)


def ask(rig: Rig, *inputs: Tensor, **rest: object) -> dict[str, object]:
    answer = rig.inference.infer(InferRequest("door", inputs, **rest))  # type: ignore[arg-type]
    return {output.name: values(output) for output in answer.outputs}


def test_an_app_answers_with_its_predictions(rig: Rig) -> None:
    """Label, score and the whole prediction, an element each; kept like any other frame's."""
    rig.deploy("door", guests.labelled("cat"))

    outputs = ask(rig, picture(png()))

    assert (b"cat",) == outputs["label"]
    (text,) = outputs["json"]  # type: ignore[misc]
    assert "cat" == json.loads(text)["label"]  # type: ignore[has-type]
    (kept,) = rig.store.query(PredictionQuery(app="door"))
    assert ("api", 0, "cat") == (kept.source, kept.sequence, kept.label)


def test_a_bare_picture_is_enough(rig: Rig) -> None:
    """As with a model's raw request."""
    rig.deploy("door", guests.labelled("cat"))

    assert (b"cat",) == ask(rig, raw=memoryview(png()))["label"]


def test_only_outputs_that_are_asked_for_are_given(rig: Rig) -> None:
    """In the client's order."""
    rig.deploy("door", guests.labelled("cat"))
    wanted = (WantedOutput("json"), WantedOutput("label"))

    assert ["json", "label"] == list(ask(rig, picture(png()), outputs=wanted))


def test_the_version_is_the_apps_own(rig: Rig) -> None:
    """A content hash, not a number; another one is not live."""
    rig.deploy("door", guests.labelled("cat"), "c37ba30b")

    assert ("c37ba30b",) == rig.inference.model_metadata("door").versions
    assert rig.inference.is_model_ready("door", "c37ba30b")
    with pytest.raises(NotFound, match="version c37ba30b is"):
        rig.inference.infer(InferRequest("door", (picture(png()),), version="1"))


def test_metadata_and_configuration_name_its_tensors(rig: Rig) -> None:
    """One picture in; as many predictions as there are out."""
    rig.deploy("door", guests.labelled("cat"))
    metadata, config = rig.inference.model_metadata("door"), rig.inference.model_config("door")

    assert ("wasm", "wasm", 0) == (metadata.platform, config.platform, config.max_batch_size)
    assert [("image", Datatype.BYTES, (1,))] == [
        (each.name, each.datatype, each.shape) for each in metadata.inputs
    ]
    assert ["label", "score", "json"] == [each.name for each in metadata.outputs]


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        pytest.param((), "got input none, wanted image BYTES [1]", id="none"),
        pytest.param((picture(png(), png()),), "got input image BYTES [2]", id="two pictures"),
        pytest.param((picture(png(), name="x"),), "got input x BYTES [1]", id="name"),
        pytest.param((picture(png()), picture(png())), "image BYTES [1], image", id="twice"),
        pytest.param(
            (Tensor("image", Datatype.FP32, (1,), np.zeros(1, np.float32)),), "image FP32 [1]",
            id="datatype",
        ),
        pytest.param((picture(b"GIF89a"),), "got a GIF, wanted a whole JPEG", id="no picture"),
    ],
)  # fmt: skip
def test_inputs_that_are_wrong_are_refused(
    rig: Rig, inputs: tuple[Tensor, ...], words: str
) -> None:
    """And nothing reaches the guest."""
    rig.deploy("door", guests.labelled("cat"))

    with pytest.raises(ApplianceError) as caught:
        ask(rig, *inputs)
    assert (400, True) == (caught.value.status, words in str(caught.value))


def test_an_apps_outputs_have_no_classes(rig: Rig) -> None:
    """They are classes already."""
    rig.deploy("door", guests.labelled("cat"))

    with pytest.raises(BadRequest, match="has no classes"):
        ask(rig, picture(png()), outputs=(WantedOutput("label", 3),))


def test_frames_are_counted(rig: Rig) -> None:
    """What came over the protocol, and the frames of the app."""
    rig.deploy("door", guests.labelled("cat"))
    ask(rig, picture(png()))
    with pytest.raises(ApplianceError, match="got a GIF"):
        ask(rig, picture(b"GIF89a"))

    (counted,) = rig.inference.statistics("door")

    assert (1, 1, 1) == (counted.success.count, counted.fail.count, counted.inference_count)


def test_an_app_is_not_unloaded(rig: Rig) -> None:
    """It is disabled, elsewhere; loading what is there is no error."""
    rig.deploy("door", guests.labelled("cat"))
    rig.inference.load("door")

    with pytest.raises(BadRequest, match="/v1/apps/door/disable"):
        rig.inference.unload("door")
