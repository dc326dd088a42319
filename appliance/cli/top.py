"""`appliance top`: what the box does now, once a second."""

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated

import typer
from prometheus_client.parser import text_string_to_metric_families
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Column, Table
from rich.text import Text

from appliance.cli.meters import Poll, app_rows, graph_rows
from appliance.cli.options import State, connect, console
from appliance.cli.watching import Outage, polled
from appliance.client import Client
from appliance.errors import ApplianceError

_PENDING = "nv_inference_pending_request_count"

Once = Annotated[bool, typer.Option("--once", help="Watch for one interval, print, and end.")]
Interval = Annotated[float, typer.Option(min=0.05, max=3600, help="Seconds between two looks.")]


def add_to(app: typer.Typer) -> None:
    app.command("top")(top)


def top(once: Once = False, interval: Interval = 1.0, state: State = None) -> None:
    """Show what apps and graphs do now, until Ctrl-C."""
    with connect(state) as box:
        # The second look is the first that knows a rate.
        shown = _views(box, interval)
        if once:
            console.print(next(shown))
        elif console.is_terminal:
            with Live(console=console, screen=True, auto_refresh=False) as live:
                for view in shown:
                    live.update(view, refresh=True)
        else:
            for view in shown:
                console.print(view)


def _views(box: Client, interval_s: float) -> Iterator[RenderableType]:
    """Look again and again; on a terminal the last sight stays while the box is away."""
    outage = Outage()
    polls = polled(lambda: poll_of(box), interval_s)
    old: Poll | None = None
    for new in polls:
        if isinstance(new, ApplianceError):
            if not console.is_terminal:
                outage.began(new)
            elif old is not None:
                yield Group(Text(f"{new}; waiting for it", "bold"), *tables_of(old, None))
            continue
        outage.ended()
        if old is not None:
            yield view_of(new, old)
        old = new


def poll_of(box: Client) -> Poll:
    """Ask a box for all that is shown."""
    pending = {
        sample.labels["device"]: int(sample.value)
        for family in text_string_to_metric_families(box.metrics())
        for sample in family.samples
        if sample.name == _PENDING
    }
    return Poll(
        time.monotonic(), box.health(), tuple(box.apps()), tuple(box.models().graphs), pending
    )


def view_of(new: Poll, old: Poll | None) -> RenderableType:
    """Lay out one look at the box."""
    return Group(head(new), *tables_of(new, old))


def tables_of(new: Poll, old: Poll | None) -> list[RenderableType]:
    """Make the tables: one for each kind of thing that the box has."""
    return [_apps(new, old), _graphs(new, old)]


def head(poll: Poll) -> str:
    """Say how the box is, in a line."""
    health = poll.health
    up = timedelta(seconds=int(health.uptime_s))
    memory = (
        "" if health.memory_bytes is None else f", memory {health.memory_bytes / 2**20:.0f} MiB"
    )
    queued = [f", {count} queued for {device}" for device, count in poll.pending.items() if count]
    return f"appliance {health.version}, up {up}{memory}" + "".join(queued or [", nothing queued"])


def _apps(new: Poll, old: Poll | None) -> RenderableType:
    table = _table("app", "state", "frames", "frames/s", "guest ms", "failed", "failed/s")
    for row in app_rows(new, old):
        table.add_row(
            row.name, row.state, str(row.frames), _figure(row.frames_per_s),
            _figure(row.latency_ms, 2), str(row.failures), _figure(row.failures_per_s),
        )  # fmt: skip
    return table if new.apps else "no app is deployed"


def _graphs(new: Poll, old: Poll | None) -> RenderableType:
    rows = graph_rows(new, old)
    table = _table("graph", "runs on", "rows", "rows/s", "rows/run", "queue ms", "run ms", "failed")
    for row in rows:
        table.add_row(
            row.name, row.place, str(row.rows), _figure(row.rows_per_s), _figure(row.mean_batch),
            _figure(row.queue_ms, 2), _figure(row.compute_ms, 2), str(row.failures),
        )  # fmt: skip
    return table if rows else "no graph has computed"


def _table(*words: str) -> Table:
    """Make a table of a name, a word, and figures."""
    name, word, *figures = words
    # Without lines it fits a terminal of 80 columns; names stay whole in a narrower one.
    return Table(
        Column(name, no_wrap=True), Column(word, no_wrap=True),
        *(Column(figure, justify="right") for figure in figures), box=SIMPLE_HEAD,
    )  # fmt: skip


def _figure(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
