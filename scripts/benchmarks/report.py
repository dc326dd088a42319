"""What a measurement says: rows with a target, as a table and as JSON."""

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


def at_least(name: str, value: float, unit: str, bound: float) -> Row:
    """A figure with a lower bound, inclusive."""
    return Row(name, value, unit, f">= {bound:g}", value >= bound)


def at_most(name: str, value: float, unit: str, bound: float) -> Row:
    """A figure with an upper bound, inclusive."""
    return Row(name, value, unit, f"<= {bound:g}", value <= bound)


def show(rows: Sequence[Row]) -> None:
    """Print the rows as a table."""
    table = Table("what", "figure", "unit", "target", "")
    for row in rows:
        verdict = "" if not row.target else "ok" if row.ok else "MISSED"
        table.add_row(row.name, f"{row.value:.4g}", row.unit, row.target, verdict)
    Console(highlight=False).print(table)


def write_json(rows: Sequence[Row], path: Path) -> None:
    """Write the rows as a list of objects."""
    path.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
