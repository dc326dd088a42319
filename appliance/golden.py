"""The golden sample of an app: a picture in its bundle, and what the app must say about it.

[sample]
picture = "cat.png"                # beside the app.toml
label = "tabby"                    # or several, any of which is right
score = 0.83                       # of that label, if it matters
tolerance = 0.05
"""

import tomllib
from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from appliance.fields import RelativePath
from appliance.records import MAX_LABEL_LENGTH, Prediction
from appliance.tables import Table

_TOLERANCE = 0.05
_MAX_LABELS = 32


def _as_list(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _check_labels(labels: tuple[str, ...]) -> tuple[str, ...]:
    if any(not 0 < len(label) <= MAX_LABEL_LENGTH for label in labels):
        raise ValueError(f"labels of 1..{MAX_LABEL_LENGTH} characters")
    return labels


class AppSample(Table):
    """A picture that the app knows.

    label: what the app must say first about it, any of these; () if that it answers is enough.
    score: what it must give that label, within the tolerance.
    """

    picture: RelativePath
    label: Annotated[
        tuple[str, ...],
        BeforeValidator(_as_list), AfterValidator(_check_labels), Field(max_length=_MAX_LABELS),
    ] = ()  # fmt: skip
    score: float | None = Field(None, ge=0, le=1)
    tolerance: float = Field(_TOLERANCE, ge=0, le=1)

    @model_validator(mode="after")
    def _scored(self) -> Self:
        if self.score is not None and not self.label:
            raise ValueError("label with score: whose score it is")
        return self

    def complaint(self, predictions: Sequence[Prediction]) -> str:
        """Say what is wrong with what an app said about the picture; "" if nothing is."""
        if not self.label:
            return ""
        best = top_of(predictions)
        wanted = " or ".join(self.label)
        if best is None or best.label is None:
            said = "nothing" if not predictions else "no label"
            return f"sample {self.picture}: got {said}, wanted {wanted}"
        if best.label not in self.label:
            return f"sample {self.picture}: got {_shown(best)}, wanted {wanted}"
        if self.score is not None and not self._is_near(best.score):
            return (
                f"sample {self.picture}: got {_shown(best)}, wanted a score of {self.score:g} "
                f"give or take {self.tolerance:g}"
            )
        return ""

    def _is_near(self, score: float | None) -> bool:
        assert self.score is not None, "asked only then"
        return score is not None and abs(score - self.score) <= self.tolerance


def _shown(prediction: Prediction) -> str:
    score = "without a score" if prediction.score is None else f"at {prediction.score:.3f}"
    return f"{prediction.label} {score}"


def top_of(predictions: Sequence[Prediction]) -> Prediction | None:
    """Give the best answer: of the highest score, or the first where none has one."""
    labelled = [p for p in predictions if p.label is not None]
    if not labelled:
        return None
    # max takes the first of equals.
    return max(labelled, key=lambda p: float("-inf") if p.score is None else p.score)


def files_named(manifest: bytes | None) -> tuple[str, ...]:
    """Name the files of a bundle that its manifest needs, as it names them.

    One that is not to be read names none: whoever parses it as a whole says why.
    """
    try:
        sample = tomllib.loads((manifest or b"").decode("utf-8-sig")).get("sample")
        return () if sample is None else (AppSample.model_validate(sample).picture,)
    except (ValueError, RecursionError, ValidationError):
        return ()
