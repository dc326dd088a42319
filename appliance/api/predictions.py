"""Predictions over the socket: the history in pages, as tables, in sums, and live."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response, StreamingResponse

from appliance.api import shapes
from appliance.api.accept import choose
from appliance.api.body import TheBox
from appliance.api.filters import ListFilters, StreamFilters, SummaryFilters
from appliance.api.stream import FORMS, SSE, open_stream
from appliance.api.tables import CSV, JSON, NDJSON, TABLES
from appliance.api.tables import shape_of as shape_of
from appliance.errors import BadRequest
from appliance.records import Prediction
from appliance.store import PredictionQuery, PredictionStore, Summary
from appliance.store.query import MAX_LIMIT

router = APIRouter(prefix="/v1/predictions", tags=["predictions"])

_TEXT: dict[str, Any] = {"schema": {"type": "string"}}
_LINK = {
    "Link": {
        "description": '<the next page>; rel="next", if there may be one',
        "schema": {"type": "string"},
    }
}
_TABLES: dict[int | str, dict[str, Any]] = {
    200: {"content": {CSV: _TEXT, NDJSON: _TEXT}, "headers": _LINK}
}
_STREAMS: dict[int | str, dict[str, Any]] = {
    200: {"content": {SSE: _TEXT, NDJSON: _TEXT}, "description": "until the box stops"}
}

Accept = Annotated[str | None, Header(include_in_schema=False)]


@router.get("", responses=_TABLES, response_model=shapes.Page)
def list_predictions(
    box: TheBox,
    request: Request,
    filters: Annotated[ListFilters, Query()],
    accept: Accept = None,
) -> Response:
    """List predictions, newest first: as JSON, or by Accept as text/csv or NDJSON."""
    form = choose(accept, (JSON, *TABLES))
    query = filters.query(filters.limit if form == JSON else min(filters.limit, MAX_LIMIT))
    found = box.store.query(query)
    is_full = len(found) == query.limit
    next_before = found[-1].id if is_full else None
    headers = {}
    if next_before is not None and filters.limit <= MAX_LIMIT:
        url = request.url.include_query_params(before=next_before)
        headers["Link"] = f'<{url.path}?{url.query}>; rel="next"'
    if form == JSON:
        page = shapes.Page(predictions=[shape_of(p) for p in found], next_before=next_before)
        return Response(page.model_dump_json(), media_type=JSON, headers=headers)
    table = TABLES[form]
    pages = _pages(box.store, query, filters.limit, found)
    return StreamingResponse(table.write(pages), media_type=table.media_type, headers=headers)


def _pages(
    store: PredictionStore, query: PredictionQuery, limit: int, first: list[Prediction]
) -> Iterator[list[Prediction]]:
    """Give the first page and those after it, until there are as many as wanted."""
    page, left = first, limit - len(first)
    yield page
    while left > 0 and len(page) == query.limit:
        query = replace(query, before_id=page[-1].id, limit=min(left, MAX_LIMIT))
        page = store.query(query)
        left -= len(page)
        yield page


@router.get("/stream", responses=_STREAMS, response_class=Response)
async def follow(
    box: TheBox,
    filters: Annotated[StreamFilters, Query()],
    accept: Accept = None,
    last_event_id: Annotated[
        str | None, Header(description="of a stream that broke; goes before `after`")
    ] = None,
) -> Response:
    """Follow predictions as they come: Server-Sent Events, or by Accept NDJSON."""
    form = FORMS[choose(accept, tuple(FORMS))]
    after = filters.after
    # Browsers that saw no id yet send none, or an empty one.
    if last_event_id:
        after = _id_from(last_event_id)
    return await open_stream(box.feed, box.store, filters.query(), after, form)


def _id_from(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) < 2**63):
        raise BadRequest(f"Last-Event-ID: got {text[:40]!r}, wanted the id of a prediction")
    return int(text)


@router.get("/summary", response_model=shapes.Summary)
def summarize(box: TheBox, filters: Annotated[SummaryFilters, Query()]) -> Response:
    """Count predictions per label and interval, for charts."""
    return Response(_shown(box.store.summary(filters.query())), media_type=JSON)


def _shown(summary: Summary) -> str:
    head = {
        "since": summary.since,
        "until": summary.until,
        "interval_s": summary.interval_s,
        "total": summary.total,
        "others": summary.others,
        "labels": [
            {"label": label.label, "count": label.count, "mean_score": label.mean_score}
            for label in summary.labels
        ],
    }
    # By hand: of thousands of buckets with a few labels only the numbers differ.
    labels = {label.label: json.dumps(label.label) for label in summary.labels}
    buckets = ",".join([
        f'{{"start":{start},"label":{labels[label]},"count":{count}}}'
        for start, label, count in summary.buckets
    ])  # fmt: skip
    return f'{json.dumps(head)[:-1]}, "buckets": [{buckets}]}}'
