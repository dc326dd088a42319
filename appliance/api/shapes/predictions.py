"""Predictions and pages of them."""

from typing import Any

from appliance.api.shapes.shape import Shape


class Prediction(Shape):
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


class Page(Shape):
    """Predictions, newest first; `next_before` continues after the last one, null at the end."""

    predictions: list[Prediction]
    next_before: int | None


class LabelCount(Shape):
    """mean_score: of those that have a score. label null: predictions that name none."""

    label: str | None
    count: int
    mean_score: float | None


class Bucket(Shape):
    """start: Unix seconds, a multiple of the interval."""

    start: int
    label: str | None
    count: int


class Summary(Shape):
    """Counts of the most frequent labels, first in all and then per interval, without zeros.

    total: all predictions counted; others: those of them whose label is not listed.
    """

    since: float
    until: float
    interval_s: int
    total: int
    others: int
    labels: list[LabelCount]
    buckets: list[Bucket]
