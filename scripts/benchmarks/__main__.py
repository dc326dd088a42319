"""The command line of `scripts/bench`."""

import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import typer

from scripts.benchmarks import (
    by_grpc,
    by_http,
    by_socket,
    cameras,
    crowd,
    history,
    hostcalls,
    hostile,
    loads,
    models,
    offline,
    overload,
    plots,
    report,
    server,
    service,
    starts,
    streams,
)
from scripts.benchmarks.effort import FULL, QUICK, Effort

MEASUREMENTS: dict[str, Callable[[Effort], Iterable[report.Finding]]] = {
    "hostcalls": hostcalls.measure,
    "models": models.measure,
    "loads": loads.measure,
    "service": service.measure,
    "streams": streams.measure,
    "offline": offline.measure,
    "server": server.measure,
    "crowd": crowd.measure,
    "cameras": cameras.measure,
    "overload": overload.measure,
    "socket": by_socket.measure,
    "grpc": by_grpc.measure,
    "http": by_http.measure,
    "history": history.measure,
    "hostile": hostile.measure,
    "starts": starts.measure,
}
_SOCKET = ("socket", "http", "grpc", "history")
_CAMERAS = ("cameras",)
# What is measured unless something is named: computing, from the host call to the full queue.
_USUAL = tuple(
    name for name in MEASUREMENTS if name not in (*_SOCKET, *_CAMERAS, "hostile", "starts")
)


def main(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help=f"Any of {', '.join(MEASUREMENTS)}; or all. Usual: {', '.join(_USUAL)}."
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures there, too.")
    ] = None,
    plots_folder: Annotated[
        Path | None, typer.Option("--plots", help="Draw latency against load there, as PNG.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="The usual in 3 minutes: fewer rounds, wider errors.")
    ] = False,
    of_socket: Annotated[
        bool, typer.Option("--socket", help=f"The same as {' '.join(_SOCKET)}.")
    ] = False,
    of_cameras: Annotated[bool, typer.Option("--cameras", help="The same as cameras.")] = False,
    of_starts: Annotated[bool, typer.Option("--starts", help="The same as starts.")] = False,
    soak: Annotated[
        float | None, typer.Option(help="Only cameras, for so many minutes; a line for each.")
    ] = None,
) -> None:
    """Measure the box against the direct call; exit status 1 if a target is missed."""
    if soak is not None:
        for line in cameras.soak(soak):
            typer.echo(line)
        return
    named = [*(names or ()), *_SOCKET * of_socket, *_CAMERAS * of_cameras]
    wanted = [*named, *["starts"] * of_starts] or list(_USUAL)
    if wanted == ["all"]:
        wanted = list(MEASUREMENTS)
    unknown = set(wanted) - set(MEASUREMENTS)
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}: wanted any of {', '.join(MEASUREMENTS)}")
    findings: list[report.Finding] = []
    for name in dict.fromkeys(wanted):
        started_s = time.monotonic()
        typer.echo(f"measuring {name} ...", err=True, nl=False)
        findings += _measured(name, QUICK if quick else FULL)
        typer.echo(f" {time.monotonic() - started_s:.0f} s", err=True)
    rows = [finding for finding in findings if isinstance(finding, report.Row)]
    report.show(rows)
    if json_file is not None:
        report.write_json(rows, json_file)
    if plots_folder is not None:
        plots.write([f for f in findings if isinstance(f, report.Curve)], plots_folder)
    raise typer.Exit(0 if all(row.ok for row in rows) else 1)


def _measured(name: str, effort: Effort) -> list[report.Finding]:
    """Measure; what breaks is a figure missed, and the others are measured all the same."""
    findings: list[report.Finding] = []
    try:
        # One by one, to keep what was found before it broke.
        for finding in MEASUREMENTS[name](effort):
            findings.append(finding)
    except Exception as exc:
        traceback.print_exc()
        findings.append(report.absent(f"{name}: broken off", type(exc).__name__))
    return findings


typer.run(main)
