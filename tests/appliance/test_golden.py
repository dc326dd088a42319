"""Golden samples: what an app must say about its own picture."""

import numpy as np
import pytest

from appliance.errors import BadManifest
from appliance.golden import AppSample, files_named
from appliance.manifests import parse_app_manifest
from appliance.records import Frame, Prediction, prediction_from_output

FRAME = Frame("trial", 0, 1.0, 1.0, np.zeros((1, 1, 3), np.uint8))


def said(*outputs: str) -> list[Prediction]:
    return [
        prediction_from_output(text, app="a", version="1", frame=FRAME, emitted_at=1.0)
        for text in outputs
    ]


CAT = '{"label": "cat", "score": 0.7}'
DOG = '{"label": "dog", "score": 0.2}'
BARE = '{"label": "cat"}'


@pytest.mark.parametrize(
    ("sample", "outputs", "complaint"),
    [
        pytest.param({}, [], "", id="nothing wanted"),
        pytest.param({"label": "cat"}, [CAT], "", id="right"),
        pytest.param({"label": ["dog", "cat"]}, [CAT], "", id="one of several"),
        pytest.param({"label": "cat"}, [DOG, CAT], "", id="the best score counts"),
        pytest.param({"label": "cat"}, [BARE], "", id="no score"),
        pytest.param({"label": "dog"}, [CAT, DOG], "got cat at 0.700, wanted dog", id="wrong"),
        pytest.param(
            {"label": ["a", "b"]}, [BARE], "got cat without a score, wanted a or b", id="of several"
        ),
        pytest.param({"label": "cat"}, [], "got nothing, wanted cat", id="silent"),
        pytest.param({"label": "cat"}, ["hello"], "got no label, wanted cat", id="text"),
        pytest.param({"label": "cat", "score": 0.74}, [CAT], "", id="near"),
        pytest.param(
            {"label": "cat", "score": 0.8}, [CAT],
            "got cat at 0.700, wanted a score of 0.8 give or take 0.05", id="far",
        ),
        pytest.param({"label": "cat", "score": 0.8, "tolerance": 0.2}, [CAT], "", id="tolerant"),
        pytest.param(
            {"label": "cat", "score": 0.8}, [BARE], "got cat without a score, wanted a score",
            id="score wanted",
        ),
    ],
)  # fmt: skip
def test_the_first_answer_is_compared(
    sample: dict[str, object], outputs: list[str], complaint: str
) -> None:
    """By its label, and by its score if one is wanted."""
    wanted = AppSample.model_validate({"picture": "s.png", **sample})
    got = wanted.complaint(said(*outputs))

    assert bool(complaint) == bool(got)
    assert complaint in got


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        pytest.param("[sample]", "sample.picture: missing", id="no picture"),
        pytest.param('[sample]\npicture = "../x"', "plain relative path", id="outside"),
        pytest.param('[sample]\npicture = "x"\nscore = 0.5', "label with score", id="whose"),
        pytest.param('[sample]\npicture = "x"\nlabels = "a"', "did you mean label", id="typo"),
        pytest.param('[sample]\npicture = "x"\nlabel = ""', "labels of 1..256", id="empty"),
        pytest.param('[sample]\npicture = "x"\nlabel = 1', "sample.label: got 1", id="number"),
    ],
)
def test_a_wrong_sample_is_a_wrong_manifest(toml: str, words: str) -> None:
    """Key, got and wanted are said; no file is looked for."""
    with pytest.raises(BadManifest, match=words):
        parse_app_manifest(toml.encode(), default_name="a")

    assert () == files_named(toml.encode())


def test_the_manifest_names_its_files() -> None:
    """As they are to lie beside it."""
    assert ("pics/a.png",) == files_named(b'[sample]\npicture = "pics/a.png"')
    assert ((), (), ()) == (files_named(None), files_named(b"]["), files_named(b"\xff"))
