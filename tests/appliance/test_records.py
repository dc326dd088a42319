import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from appliance.records import (
    MAX_DEPTH,
    MAX_OUTPUT_BYTES,
    Frame,
    Prediction,
    json_object,
    prediction_from_output,
)


def make_frame(**changes: Any) -> Frame:
    pixels = np.zeros((2, 3, 3), np.uint8)
    given: dict[str, Any] = {
        "source": "door", "sequence": 7, "captured_at": 100.0, "captured_monotonic_s": 5.0,
        "pixels": pixels,
    }  # fmt: skip
    return Frame(**(given | changes))


def predict(output: bytes | str) -> Prediction:
    return prediction_from_output(
        output, app="cat", version="v1", frame=make_frame(), emitted_at=101.0
    )


def test_a_frame_makes_its_pixels_read_only() -> None:
    """Whoever shares a frame cannot change it; the maker's own array is left alone."""
    pixels = np.zeros((2, 3, 3), np.uint8)
    frame = make_frame(pixels=pixels)

    assert not frame.pixels.flags.writeable
    assert pixels.flags.writeable
    assert (frame.width, frame.height) == (3, 2)


def test_a_frames_repr_never_shows_bytes() -> None:
    """The repr has sizes only."""
    frame = make_frame(encoded=b"secret", media_type="image/jpeg")

    assert repr(frame) == "<Frame door #7 3x2 image/jpeg 6 bytes>"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"pixels": np.zeros((2, 3), np.uint8)}, id="no channels"),
        pytest.param({"pixels": np.zeros((2, 3, 4), np.uint8)}, id="alpha"),
        pytest.param({"pixels": np.zeros((2, 3, 3), np.float32)}, id="floats"),
        pytest.param({"pixels": np.zeros((0, 3, 3), np.uint8)}, id="empty"),
        pytest.param({"source": ""}, id="no source"),
        pytest.param({"sequence": -1}, id="negative sequence"),
        pytest.param({"sequence": 2**63}, id="sequence over 63 bits"),
        pytest.param({"encoded": b"x"}, id="no media type"),
    ],
)
def test_a_frame_is_valid_by_construction(changes: dict[str, Any]) -> None:
    """What is no frame cannot be made."""
    with pytest.raises(ValueError, match="frame"):
        make_frame(**changes)


def test_json_is_kept_as_data() -> None:
    """A JSON object stays whole; label and score are picked up."""
    prediction = predict(b'{"label": "tabby", "score": 0.5, "box": [1, 2]}\r\n')

    assert prediction.data == {"label": "tabby", "score": 0.5, "box": [1, 2]}
    assert (prediction.label, prediction.score) == ("tabby", 0.5)
    assert (prediction.app, prediction.version, prediction.source) == ("cat", "v1", "door")
    assert (prediction.sequence, prediction.captured_at, prediction.emitted_at) == (7, 100.0, 101.0)
    assert prediction.id is None


@pytest.mark.parametrize(
    ("output", "label", "score"),
    [
        pytest.param('{"label": 5, "score": "0.5"}', None, None, id="wrong types"),
        pytest.param('{"label": true, "score": true}', None, None, id="booleans"),
        pytest.param('{"label": "", "score": 3}', None, 3.0, id="empty label, whole score"),
        pytest.param('{"label": "a\\nb"}', None, None, id="unprintable label"),
        pytest.param(json.dumps({"label": "x" * 257}), None, None, id="long label"),
        pytest.param('{"label": "Kätzchen"}', "Kätzchen", None, id="not ascii"),
        pytest.param('{"score": 1' + "0" * 400 + "}", None, None, id="score beyond a float"),
    ],
)
def test_label_and_score_need_the_right_type(
    output: str, label: str | None, score: float | None
) -> None:
    """Keys of another type stay in data and are not picked up."""
    prediction = predict(output)

    assert (prediction.label, prediction.score) == (label, score)
    assert "text" not in prediction.data


@pytest.mark.parametrize(
    "output",
    [
        pytest.param("tabby 0.5", id="words"),
        pytest.param("", id="nothing"),
        pytest.param("[1, 2]", id="array"),
        pytest.param('"word"', id="string"),
        pytest.param('{"label": ', id="broken"),
        pytest.param("{}{}", id="two objects"),
        pytest.param('{"score": NaN}', id="NaN"),
        pytest.param('{"score": -Infinity}', id="Infinity"),
        pytest.param('{"score": 1e999}', id="float that overflows"),
        pytest.param('{"n": 1' + "0" * 5000 + "}", id="integer over Python's limit"),
        pytest.param('{"label": "\\ud800"}', id="lone surrogate"),
        pytest.param('{"\\ud800": 1}', id="lone surrogate in a key"),
        pytest.param('{"a":' * (MAX_DEPTH + 1) + "1" + "}" * (MAX_DEPTH + 1), id="too deep"),
        pytest.param('{"a":' + "[" * 60_000, id="depth that would recurse"),
        pytest.param('{"a":' + "[" * 30_000 + "]" * 30_000 + "}", id="whole, and very deep"),
    ],
)
def test_everything_else_is_kept_as_text(output: str) -> None:
    """What is no JSON object within the limits is text, unchanged."""
    prediction = predict(output)

    assert prediction.data == {"text": output}
    assert (prediction.label, prediction.score) == (None, None)


def test_the_deepest_allowed_json_is_kept() -> None:
    """The limit of levels is inclusive."""
    prediction = predict('{"a":' * MAX_DEPTH + "1" + "}" * MAX_DEPTH)

    assert list(prediction.data) == ["a"]


def test_an_empty_object_is_an_object() -> None:
    """{} is data, not text."""
    assert predict("{}").data == {}


def test_invalid_utf8_is_replaced() -> None:
    """Foreign bytes become U+FFFD."""
    assert predict(b"caf\xe9").data == {"text": "caf\ufffd"}


def test_over_long_output_is_cut_and_marked() -> None:
    """Even JSON is cut text then, and says so."""
    prediction = predict('{"label": "' + "x" * MAX_OUTPUT_BYTES + '"}')

    assert prediction.data["truncated"] is True
    assert len(prediction.data["text"]) == MAX_OUTPUT_BYTES


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"score": float("nan")}, id="score"),
        pytest.param({"emitted_at": float("inf")}, id="time"),
        pytest.param({"label": "a\0b"}, id="label"),
        pytest.param({"app": ""}, id="app"),
        pytest.param({"data": {"x": float("nan")}}, id="NaN in data"),
        pytest.param({"data": {"x": b""}}, id="bytes in data"),
        pytest.param({"data": {1: 2}}, id="key that is no text"),
    ],
)
def test_a_prediction_is_valid_by_construction(changes: dict[str, Any]) -> None:
    """What could not be written as JSON cannot be made."""
    prediction = predict("{}")

    with pytest.raises(ValueError, match=r"prediction|JSON"):
        replace(prediction, **changes)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-32", "utf-8-sig", "latin-1"])
def test_a_json_object_is_utf8(encoding: str) -> None:
    """Other encodings are not guessed at."""
    assert json_object('{"label": "é"}'.encode(encoding)) is None


def test_a_json_object_is_bounded() -> None:
    """The limit of bytes is inclusive."""
    longest = b'{"a": "' + b"x" * (MAX_OUTPUT_BYTES - 9) + b'"}'

    assert json_object(longest) is not None
    assert json_object(longest + b" ") is None
