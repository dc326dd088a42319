"""Commands that change one app: app, rollback, enable, disable, delete."""

import sys
import time
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.table import Table

from appliance.api import shapes
from appliance.cli.granted import granted_lines
from appliance.cli.options import Json, State, connect, console, printable
from appliance.errors import BadRequest

Name = Annotated[str, typer.Argument(help="The app's name.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def add_to(app: typer.Typer) -> None:
    app.command("app")(show)
    app.command("rollback")(rollback)
    app.command("enable")(enable)
    app.command("disable")(disable)
    app.command("delete")(delete)


def show(name: Name, state: State = None, as_json: Json = False) -> None:
    """Say all about one app: versions, deploys, limits, and what became of its frames."""
    with connect(state) as box:
        detail = box.app(name)
    if as_json:
        console.print_json(detail.model_dump_json(by_alias=True))
        return
    table = Table(show_header=False, box=None)
    for key, value in _lines_of(detail):
        table.add_row(key, value)
    console.print(table)
    versions = Table("version", "in front since", "bytes", "")
    for version in detail.versions:
        versions.add_row(
            version.version, _when(version.deployed_at), str(version.size_bytes),
            "answers" if version.is_current and detail.state == "live" else
            "current" if version.is_current else "",
        )  # fmt: skip
    if detail.versions:
        console.print(versions)
    for line in _deploys(detail.deploys):
        # Whole: a version is there to be copied.
        console.print(line, soft_wrap=True, markup=False)


def _deploys(deploys: list[shapes.Deploy]) -> Iterator[str]:
    """Show what was done to an app, the newest first."""
    if deploys:
        yield "deploys"
    for deploy in deploys:
        before = f" after {deploy.from_}" if deploy.from_ else ""
        yield (
            f"  {_when(deploy.started_at)}  {deploy.version}  {deploy.stage}{before}, "
            f"{deploy.kind} by {deploy.by}{_frames_of(deploy.probation)}"
        )
        if deploy.reason:
            yield f"    {printable(deploy.reason)}"


def _frames_of(probation: shapes.Probation | None) -> str:
    if probation is None:
        return ""
    seen = probation.answered + probation.failed
    verdict = f", {probation.verdict}" if probation.verdict else ""
    return f"; probation: {seen} of {probation.frames} frames, {probation.failed} failed{verdict}"


def _lines_of(detail: shapes.AppDetail) -> list[tuple[str, str]]:
    failed = ", ".join(f"{count} {reason}" for reason, count in detail.failures.items())
    lines = [
        ("app", detail.name),
        ("state", detail.state + (f": {detail.reason}" if detail.reason else "")),
        ("on the way", _on_the_way(detail.deploying)),
        ("mode", detail.mode or ""),
        ("live since", "" if detail.live_since is None else _when(detail.live_since)),
        ("frames", f"{detail.frames}, {detail.frames_last_minute} in the last minute"),
        ("predictions", str(detail.predictions)),
        ("failed", failed),
        ("in the guest", f"{detail.guest_ms:.0f} ms"),
        ("last error", detail.last_error),
        ("last deploy error", detail.last_deploy_error),
        ("log lines dropped", str(detail.log_dropped or "")),
        ("cameras", _names(detail.cameras)),
    ]
    lines += granted_lines(detail)
    limits = {} if detail.limits is None else detail.limits.model_dump(exclude_none=True)
    lines += [(key, str(value)) for key, value in limits.items()]
    return [(key, value) for key, value in lines if value]


def _on_the_way(deploying: shapes.Deploying | None) -> str:
    return "" if deploying is None else f"{deploying.version} {deploying.stage}"


def _names(names: list[str] | dict[str, str] | None) -> str:
    return "all" if names is None else ", ".join(names) or "none"


def _when(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))


def rollback(
    name: Name,
    version: Annotated[
        str | None, typer.Argument(help="The version; else the one before the current one.")
    ] = None,
    state: State = None,
) -> None:
    """Let an earlier version of an app answer; `app NAME` lists them."""
    with connect(state) as box:
        done = box.rollback(name, version)
    what = "answers" if done.is_new else "answered already"
    console.print(f"{done.name} {done.version} {what}")


def enable(name: Name, state: State = None) -> None:
    """Let a disabled app answer again."""
    with connect(state) as box:
        done = box.enable(name)
    console.print(f"{done.name} {done.version} {done.state}")


def disable(name: Name, state: State = None) -> None:
    """Let an app answer no frames, restarts included, until it is enabled or deployed."""
    with connect(state) as box:
        done = box.disable(name)
    console.print(f"{done.name} {done.version} {done.state}")


def delete(name: Name, yes: Yes = False, state: State = None) -> None:
    """Forget an app and its versions; its predictions stay in the history."""
    confirm(f"Delete the app {name} and its versions?", is_sure=yes)
    with connect(state) as box:
        box.delete_app(name)
    console.print(f"{name} deleted")


def confirm(question: str, *, is_sure: bool) -> None:
    """Ask on a terminal; a script says --yes. Raises: BadRequest if there is nobody to ask."""
    if is_sure:
        return
    if not sys.stdin.isatty():
        raise BadRequest(f"{question} Nobody can be asked here; say --yes")
    typer.confirm(question, abort=True)
