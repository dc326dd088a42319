"""`appliance predictions`: the history as a table, or predictions as they are made."""

import json
import math
import time
from datetime import datetime
from itertools import islice
from typing import Annotated

import typer
from rich.table import Table

from appliance.api.shapes import Prediction
from appliance.cli.options import Json, State, connect, console, print_json, printable
from appliance.cli.watching import Outage
from appliance.client import Client, Event, Lost
from appliance.client.routes import PAGE_ROWS, Filters, Watched
from appliance.errors import BadRequest

_USUAL_ROWS = 20
_AGES = {"s": 1, "m": 60, "h": 3600, "d": 86400}

App = Annotated[str | None, typer.Option(help="Of this app.")]
Camera = Annotated[str | None, typer.Option(help="Of frames of this camera.")]
Label = Annotated[str | None, typer.Option(help="With this top label, exactly.")]
MinScore = Annotated[float | None, typer.Option(help="With at least this score.")]
Frame = Annotated[int | None, typer.Option(min=0, help="Of the frame with this number.")]
Time = Annotated[
    str | None,
    typer.Option(help="An age (90s, 10m, 2h, 7d), a local time (2026-01-31 12:00), Unix seconds."),
]
Limit = Annotated[
    int | None,
    typer.Option(min=1, help=f"At most so many; else {_USUAL_ROWS}, with --follow no end."),
]
Follow = Annotated[
    bool, typer.Option("--follow", "-f", help="Print predictions as they are made, until Ctrl-C.")
]
After = Annotated[
    int | None,
    typer.Option(min=0, help="With --follow: first what came after the prediction of this id."),
]


def add_to(app: typer.Typer) -> None:
    app.command("predictions")(predictions)


def predictions(
    app: App = None,
    camera: Camera = None,
    label: Label = None,
    min_score: MinScore = None,
    frame: Frame = None,
    since: Time = None,
    until: Time = None,
    limit: Limit = None,
    follow: Follow = False,
    after: After = None,
    state: State = None,
    as_json: Json = False,
) -> None:
    """Query the history, newest first; or --follow what is predicted from now on."""
    watched: Watched = {"app": app, "camera": camera, "label": label, "min_score": min_score}
    if follow:
        if (frame, since, until) != (None, None, None):
            raise BadRequest("--follow: goes on for ever, so no --frame, --since or --until")
        with connect(state) as box:
            _follow(box, watched, after, limit, as_json)
        return
    if after is not None:
        raise BadRequest("--after: only with --follow; the history is queried by --since")
    now = time.time()
    filters: Filters = {
        **watched, "frame": frame, "since": unix_time(since, now), "until": unix_time(until, now),
        "before": None, "limit": min(limit or _USUAL_ROWS, PAGE_ROWS),
    }  # fmt: skip
    with connect(state) as box:
        found = list(islice(box.history(**filters), limit or _USUAL_ROWS))
    if as_json:
        print_json(found)
        return
    console.print(_table(found) if found else "no prediction matches")


def unix_time(text: str | None, now: float) -> float | None:
    """Read a time as the user says it. Raises: BadRequest saying how it may be said."""
    if text is None:
        return None
    try:
        seconds = _seconds(text, now)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise BadRequest(
            f"time: got {text}, wanted an age such as 10m, a time such as 2026-01-31T12:00, or "
            "Unix seconds"
        )
    return seconds


def _seconds(text: str, now: float) -> float:
    if text[-1:] in _AGES:
        return now - float(text[:-1]) * _AGES[text[-1]]
    if text.replace(".", "", 1).isdigit():
        return float(text)
    return datetime.fromisoformat(text).timestamp()


def _table(found: list[Prediction]) -> Table:
    table = Table("id", "when", "app", "camera", "frame", "label", "score")
    for row in found:
        table.add_row(
            str(row.id), _local(row.captured_at, "%Y-%m-%d %H:%M:%S"), row.app, row.source,
            str(row.sequence), row.label or "", _score(row),
        )  # fmt: skip
    return table


def _follow(
    box: Client, watched: Watched, after: int | None, limit: int | None, as_json: bool
) -> None:
    """Print each prediction at once; what a reader of the pipe must know goes to stderr."""
    outage = Outage()
    count = 0
    with box.stream(after=after, on_break=outage.began, **watched) as stream:
        for event in stream:
            outage.ended()
            _print_event(event, as_json)
            count += isinstance(event, Prediction)
            if count == limit:
                return


def _print_event(event: Event, as_json: bool) -> None:
    if isinstance(event, Lost):
        if as_json:
            typer.echo(f'{{"lost": {event.count}}}')
        typer.echo(f"appliance: {event.count} predictions left out: too slow a reader", err=True)
    elif as_json:
        typer.echo(event.model_dump_json())
    else:
        what = event.label or str(event.data.get("text", json.dumps(event.data)))
        when = _local(event.captured_at, "%H:%M:%S")
        typer.echo(
            f"{when}  {event.app}  {event.source}  {printable(what)}  {_score(event)}".rstrip()
        )


def _local(unix_s: float, form: str) -> str:
    return time.strftime(form, time.localtime(unix_s))


def _score(prediction: Prediction) -> str:
    return "" if prediction.score is None else f"{prediction.score:.3f}"
