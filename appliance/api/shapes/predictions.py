"""Predictions and pages of them."""

from typing import Any

from pydantic import BaseModel


class Prediction(BaseModel):
    """What an app said about a frame; data is the guest's own JSON object."""

    id: int | None
    app: str
    version: str
    source: str
    sequence: int
    captured_at: float
    emitted_at: float
    label: str | None
    score: float | None
    data: dict[str, Any]


class Page(BaseModel):
    """Predictions, newest first; `next_before` continues after the last one, null at the end."""

    predictions: list[Prediction]
    next_before: int | None
