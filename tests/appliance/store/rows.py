"""Predictions to store."""

from dataclasses import replace
from typing import Any

from appliance.records import Prediction

NOW = 1_700_000_000.0


def predict(sequence: int = 0, **changes: Any) -> Prediction:
    """Make one, emitted so many seconds after NOW as its frame's number says."""
    made = Prediction(
        app="cat", version="v1", source="door", sequence=sequence, captured_at=NOW,
        emitted_at=NOW + sequence, label="tabby", score=0.5, data={"n": sequence, "é": [1.5]},
    )  # fmt: skip
    return replace(made, **changes)
