"""Showing a model a picture: its answer as labels and scores, whatever the output is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from appliance.errors import ApplianceError, BadModel, NotFound, Unavailable
from appliance.manifests import OutputKind, load_model_folder
from appliance.sampling import Sight, Subject, look, refused
from tests.appliance.workshop import MODEL_TOML, put_model
from wasi_nn import errors as nn
from wasi_nn.backend import Device, Encoding
from wasi_nn.executor import DirectExecutor, Ticket
from wasi_nn.tensor import Quantization, TensorSpec, TensorType

IMAGE = TensorSpec("image", TensorType.F32, (None, 3, 2, 4))
PIXELS = np.full((2, 4, 3), 9, np.uint8)
PLAIN = MODEL_TOML.replace(b"outputs", b"# outputs")
PROBABLE = MODEL_TOML.replace(b"logits", b"probabilities")


@dataclass(slots=True)
class Oracle:
    """A graph that has its answer ready."""

    answer: list[float]
    outputs: tuple[TensorSpec, ...] = (TensorSpec("scores", TensorType.F32, (None, 4)),)
    inputs: tuple[TensorSpec, ...] = (IMAGE,)
    batch_axis: int | None = None
    device: Device = Device.CPU

    def run(self, inputs: Any) -> list[Any]:
        """See `Graph.run`."""
        assert [(1, 3, 2, 4)] == [array.shape for array in inputs]
        return [np.array([self.answer], self.outputs[0].type.storage)]

    def close(self) -> None:
        """See `Graph.close`."""


def seen(folder: Path, graph: Oracle, toml: bytes = MODEL_TOML) -> Sight:
    home = put_model(folder)
    (home / "model.toml").write_bytes(toml)
    subject = Subject(load_model_folder(home), Encoding.ONNX, graph)
    return look(PIXELS, subject, DirectExecutor(), Ticket())


def test_logits_become_probabilities(tmp_path: Path) -> None:
    """Best first, of equals the first; a class beyond the labels has no name."""
    sight = seen(tmp_path, Oracle([0.0, 0.0, 0.0, 1000.0]))

    assert [(3, None), (0, "zero"), (1, "übung"), (2, "two")] == [
        (score.index, score.label) for score in sight.top
    ]
    assert [1.0, 0.0, 0.0, 0.0] == [score.score for score in sight.top]
    assert OutputKind.LOGITS is sight.kind
    assert sight.compute_s > 0


@pytest.mark.parametrize(
    ("toml", "kind"),
    [
        pytest.param(PROBABLE, OutputKind.PROBABILITIES, id="probabilities"),
        pytest.param(PLAIN, None, id="not said"),
    ],
)
def test_other_numbers_are_left_as_they_are(
    tmp_path: Path, toml: bytes, kind: OutputKind | None
) -> None:
    """Nobody guesses what they mean; five at most are given."""
    sight = seen(tmp_path, Oracle([0.5, 0.25, 0.125, 0.0, -1.0, -2.0]), toml)

    assert ([0.5, 0.25, 0.125, 0.0, -1.0], kind) == (
        [score.score for score in sight.top], sight.kind
    )  # fmt: skip


def test_integers_stand_for_what_the_model_says(tmp_path: Path) -> None:
    """Scale and zero point of the output are applied."""
    output = TensorSpec("scores", TensorType.U8, (1, 2), Quantization(0.5, 10))
    sight = seen(tmp_path, Oracle([8, 12], (output,)), PROBABLE)

    assert [(1, 1.0), (0, -1.0)] == [(score.index, score.score) for score in sight.top]


@pytest.mark.parametrize(
    ("graph", "toml", "words"),
    [
        pytest.param(Oracle([float("nan")]), MODEL_TOML, "numbers that are none", id="NaN"),
        pytest.param(Oracle([float("inf")]), MODEL_TOML, "numbers that are none", id="infinite"),
        pytest.param(
            Oracle([1.0], inputs=(IMAGE, IMAGE)), MODEL_TOML, "its 2 inputs", id="two inputs"
        ),
        pytest.param(
            Oracle([1.0]), MODEL_TOML.replace(b"inputs", b"# inputs"), "one ..inputs..",
            id="not described",
        ),
        pytest.param(
            Oracle([1.0]), MODEL_TOML.replace(b"[4, 2]", b"[2, 4]"), "correct size_wh", id="size"
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_shown_is_explained(
    tmp_path: Path, graph: Oracle, toml: bytes, words: str
) -> None:
    """Never a number that JSON does not have."""
    with pytest.raises(BadModel, match=words):
        seen(tmp_path, graph, toml)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (nn.NotFound("x"), NotFound),
        (nn.Busy("x"), Unavailable),
        (nn.RuntimeFailure("x"), BadModel),
        (nn.InvalidArgument("x"), BadModel),
    ],
    ids=["not found", "busy", "runtime", "argument"],
)
def test_a_runtimes_refusal_is_one_of_ours(error: nn.NNError, kind: type[ApplianceError]) -> None:
    """With its sentence; a busy box may be asked again."""
    assert (kind, "x") == (type(refused(error)), str(refused(error)))
