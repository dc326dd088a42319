"""Predictions over the socket: filter and page through the history."""

from typing import Annotated

from fastapi import APIRouter, Query

from appliance.api import shapes
from appliance.api.body import TheBox
from appliance.records import Prediction
from appliance.store import PredictionQuery

router = APIRouter(prefix="/v1/predictions", tags=["predictions"])

Time = Annotated[float | None, Query(description="Unix seconds", allow_inf_nan=False)]


@router.get("")
def list_predictions(
    box: TheBox,
    app: str | None = None,
    camera: Annotated[str | None, Query(description="the frame's source")] = None,
    label: Annotated[str | None, Query(description="the top label, exactly")] = None,
    min_score: Annotated[float | None, Query(allow_inf_nan=False)] = None,
    since: Time = None,
    until: Time = None,
    before: Annotated[
        int | None, Query(ge=0, le=2**62, description="next_before of the page before")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> shapes.Page:
    """List predictions, newest first."""
    query = PredictionQuery(
        app=app, source=camera, label=label, min_score=min_score, since=since, until=until,
        before_id=before, limit=limit,
    )  # fmt: skip
    found = box.store.query(query)
    is_full = len(found) == limit
    return shapes.Page(
        predictions=[shape_of(prediction) for prediction in found],
        next_before=found[-1].id if is_full else None,
    )


def shape_of(prediction: Prediction) -> shapes.Prediction:
    """Show a prediction as the API does."""
    return shapes.Prediction(
        id=prediction.id,
        app=prediction.app,
        version=prediction.version,
        source=prediction.source,
        sequence=prediction.sequence,
        captured_at=prediction.captured_at,
        emitted_at=prediction.emitted_at,
        label=prediction.label,
        score=prediction.score,
        data=dict(prediction.data),
    )
