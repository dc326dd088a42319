"""What a measurement says: rows with a target, as a table and as JSON; curves, for plots."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Row:
    """One figure.

    target: what the figure must be, in words ("" if it is for information); ok: whether it is.
    """

    name: str
    value: float
    unit: str
    target: str = ""
    ok: bool = True


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of a plot of latency against load.

    plot: curves of the same name share one.   points: load in rows/s, latency in milliseconds.
    """

    plot: str
    label: str
    points: tuple[tuple[float, float], ...]


Finding = Row | Curve


def at_least(name: str, value: float, unit: str, bound: float) -> Row:
    """A figure with a lower bound, inclusive."""
    return Row(name, value, unit, f">= {bound:.4g}", value >= bound)


def at_most(name: str, value: float, unit: str, bound: float) -> Row:
    """A figure with an upper bound, inclusive."""
    return Row(name, value, unit, f"<= {bound:.4g}", value <= bound)


def absent(name: str, reason: str) -> Row:
    """A figure that could not be had although it has a target."""
    return Row(name, 0.0, reason, "measured", ok=False)


def show(rows: Sequence[Row]) -> None:
    """Print the rows as a table."""
    # As wide as its longest row: a report is read in files and logs, too.
    table = Table("what", "figure", "unit", "target", "")
    for row in rows:
        verdict = "" if not row.target else "ok" if row.ok else "MISSED"
        table.add_row(row.name, f"{row.value:.4g}", row.unit, row.target, verdict)
    Console(highlight=False, width=120).print(table)


def write_json(rows: Sequence[Row], path: Path) -> None:
    """Write the rows as a list of objects."""
    path.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
