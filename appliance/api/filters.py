"""What a client may ask of predictions, as parameters of a URL.

A parameter that is not known is refused: a filter with a typing error would else answer with
everything.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from appliance.store import PredictionQuery, SummaryQuery

# An export of a day at 10 predictions/s; more come with next_before.
MAX_TABLE_ROWS = 1_000_000

Time = Annotated[float | None, Field(description="Unix seconds", allow_inf_nan=False)]
Id = Annotated[int, Field(ge=0, le=2**63 - 1)]


class Filters(BaseModel):
    """Which predictions; all given filters hold at once."""

    model_config = ConfigDict(extra="forbid")

    app: str | None = None
    camera: str | None = Field(None, description="the frame's source")
    label: str | None = Field(None, description="the top label, exactly")
    min_score: float | None = Field(None, allow_inf_nan=False, description="inclusive")


class ListFilters(Filters):
    """Which page of them."""

    since: Time = Field(None, description="Unix seconds, inclusive")
    until: Time = Field(None, description="Unix seconds, exclusive")
    frame: Id | None = Field(None, description="the frame's number within its camera")
    before: Id | None = Field(None, description="next_before of the page before")
    limit: int = Field(
        100, ge=1, le=MAX_TABLE_ROWS, description="at most 1000 as JSON, 1000000 as CSV and NDJSON"
    )

    def query(self, limit: int) -> PredictionQuery:
        """Give the store's query. Raises: BadRequest."""
        return PredictionQuery(
            app=self.app, source=self.camera, label=self.label, min_score=self.min_score,
            since=self.since, until=self.until, sequence=self.frame, before_id=self.before,
            limit=limit,
        )  # fmt: skip


class StreamFilters(Filters):
    """Which predictions are followed."""

    after: Id | None = Field(
        None, description="first those after this id, exclusive; as the header Last-Event-ID"
    )

    def query(self) -> PredictionQuery:
        """Give the store's query. Raises: BadRequest."""
        return PredictionQuery(
            app=self.app, source=self.camera, label=self.label, min_score=self.min_score
        )


class SummaryFilters(Filters):
    """Which predictions are counted, and how finely."""

    since: Time = Field(None, description="Unix seconds, inclusive; without it from the oldest")
    until: Time = Field(None, description="Unix seconds, exclusive; without it to now")
    interval: int | None = Field(
        None, ge=1, description="seconds; without it what gives at most 200 intervals"
    )
    top: int = Field(20, ge=1, le=200, description="labels listed, the most frequent first")

    def query(self) -> SummaryQuery:
        """Give the store's query. Raises: BadRequest."""
        return SummaryQuery(
            app=self.app, source=self.camera, label=self.label, min_score=self.min_score,
            since=self.since, until=self.until, interval_s=self.interval, top=self.top,
        )  # fmt: skip
