"""The command line of `scripts/bench`."""

from pathlib import Path
from typing import Annotated

import typer

from scripts.benchmarks import hostcalls, loads, models, report, service

MEASUREMENTS = {
    "hostcalls": hostcalls.measure,
    "models": models.measure,
    "loads": loads.measure,
    "service": service.measure,
}
_ROUNDS, _QUICK_ROUNDS = 60, 15


def main(
    names: Annotated[
        list[str] | None, typer.Argument(help=f"Any of {', '.join(MEASUREMENTS)}; all by default.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures there, too.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer rounds, wider errors.")] = False,
) -> None:
    """Measure the box against the direct call; exit status 1 if a target is missed."""
    unknown = set(names or ()) - set(MEASUREMENTS)
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}: wanted any of {', '.join(MEASUREMENTS)}")
    rows: list[report.Row] = []
    for name in names or MEASUREMENTS:
        typer.echo(f"measuring {name} ...", err=True)
        rows += MEASUREMENTS[name](_QUICK_ROUNDS if quick else _ROUNDS)
    report.show(rows)
    if json_file is not None:
        report.write_json(rows, json_file)
    raise typer.Exit(0 if all(row.ok for row in rows) else 1)


typer.run(main)
