"""`appliance logs`: what the box says, or one of its apps."""

import time
from collections.abc import Callable, Sequence
from typing import Annotated, Protocol, TypeVar

import typer

from appliance.api.shapes import LogLine as AppLine
from appliance.api.shapes.health import LogLine as BoxLine
from appliance.cli.options import Json, State, connect, printable
from appliance.cli.watching import Outage, polled
from appliance.client import Client
from appliance.errors import ApplianceError
from appliance.logs import LogLevel

T = TypeVar("T")

# As many as the box keeps; between two looks no more can come without some being lost.
_KEPT_OF_APP = 200
_KEPT_OF_BOX = 2000
_LOOK_EVERY_S = 1.0

App = Annotated[str | None, typer.Argument(help="What this app says; else the box's own log.")]
Lines = Annotated[int, typer.Option("--lines", "-n", min=0, help="So many of the last lines.")]
Level = Annotated[LogLevel, typer.Option(help="The least that is shown.")]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="And what comes, until Ctrl-C.")]


class _Line(Protocol):
    """What the lines of both logs have."""

    @property
    def at(self) -> float: ...
    @property
    def level(self) -> str: ...
    @property
    def text(self) -> str: ...
    def model_dump_json(self) -> str: ...


def add_to(app: typer.Typer) -> None:
    app.command("logs")(logs)


def logs(
    app: App = None,
    lines: Lines = 100,
    level: Level = LogLevel.DEBUG,
    follow: Follow = False,
    state: State = None,
    as_json: Json = False,
) -> None:
    """Show the last lines of the box's log, or of one app's."""
    with connect(state) as box:
        ask = _asking(box, app, level)
        if not follow:
            _print(_last(ask(), lines), as_json)
            return
        outage = Outage()
        seen: Sequence[_Line] | None = None
        for found in polled(ask, _LOOK_EVERY_S):
            if isinstance(found, ApplianceError):
                outage.began(found)
                continue
            outage.ended()
            _print(_last(found, lines) if seen is None else newer(found, seen), as_json)
            seen = found


def _asking(box: Client, app: str | None, level: LogLevel) -> Callable[[], Sequence[_Line]]:
    def of_box() -> Sequence[BoxLine]:
        return box.logs(_KEPT_OF_BOX, level.value).lines

    def of_app() -> Sequence[AppLine]:
        assert app is not None, "asked for"
        return box.app_log(app, _KEPT_OF_APP, level.value).lines

    return of_box if app is None else of_app


def newer(found: Sequence[T], seen: Sequence[T]) -> Sequence[T]:
    """Give what was not there at the last look.

    Both are the last lines of one log, the newest last. Found by what overlaps, not by time: the
    clock of a box may be set back.
    """
    for gone in range(len(seen)):
        kept = len(seen) - gone
        if list(seen[gone:]) == list(found[:kept]):
            return found[kept:]
    return found


def _last(found: Sequence[T], lines: int) -> Sequence[T]:
    return found[len(found) - min(lines, len(found)) :]


def _print(found: Sequence[_Line], as_json: bool) -> None:
    for line in found:
        if as_json:
            typer.echo(line.model_dump_json())
        else:
            when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(line.at))
            typer.echo(f"{when}  {line.level:7}  {printable(line.text)}")
