"""Play the conformance suite and show what the host answered; see tests/wasi_nn/conformance.

A row is a case on a backend, a column a dialect, a cell the errnos that were asked for. Calls that
only prepare something are left out of the cells, though they have to go well, too.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tests.wasi_nn.conformance.dialects import ALL
from tests.wasi_nn.conformance.suite import Run, runs
from tests.wasi_nn.conformance.table import Answer
from tests.wasi_nn.fuzz.child import fuzz

# Where there are no runtimes' parsers to wait for, more calls are made.
_SHARES = {"fake": 0.6, "quantised": 0.25, "onnx": 0.05, "openvino": 0.05, "tflite": 0.05}

# Of a log, where nobody has a window.
_WIDTH = 140

Rows = dict[tuple[str, str, str], dict[str, Text]]


def main() -> int:
    """Play what the command line asks for. Returns: the exit code, 1 if any answer is wrong."""
    parser = argparse.ArgumentParser(prog="scripts/conformance")
    parser.add_argument("words", nargs="*", help="only cases or backends that have one of these")
    parser.add_argument("--all", action="store_true", help="both kinds of host functions")
    parser.add_argument("--fuzz-calls", type=int, default=0, help="then so many random calls")
    parser.add_argument("--seed", type=int, default=1, help="of the random calls")
    options = parser.parse_args()
    # Refusals are what the cases are about; the host's notes of them would bury the table.
    logging.getLogger("wasi_nn").addHandler(logging.NullHandler())
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    chosen = [run for run in runs() if options.all or run.path == _PREFERRED]
    if options.words:
        chosen = [run for run in chosen if any(word in str(run) for word in options.words)]
    wrong = play(chosen, console, is_all=options.all)
    if options.fuzz_calls:
        wrong += fuzz_all(options.fuzz_calls, options.seed, console)
    return 1 if wrong else 0


_PREFERRED = max((run.path for run in runs()), key=lambda path: path == "fast")


def play(chosen: Sequence[Run], console: Console, *, is_all: bool) -> int:
    """Play runs and print the table. Returns: the number of wrong answers."""
    rows: Rows = {}
    asked = wrong = 0
    problems: list[str] = []
    for run in chosen:
        answers = run.play()
        asked += len(answers)
        bad = [answer for answer in answers if not answer.is_right]
        wrong += len(bad) or (not answers)
        problems += [f"{run}: {a.what}: expected {a.expected!r}, got {a.got!r}" for a in bad]
        row = rows.setdefault(
            (run.case.id, run.case.source, f"{run.net} {run.path}" if is_all else run.net), {}
        )
        row[run.dialect.id] = cell(answers)
    table = Table(title="WASI-NN core dialects: errnos by case", box=SIMPLE_HEAD)
    for column in ("case", "after", "backend", *(d.id for d in ALL)):
        table.add_column(column, no_wrap=True)
    for (case, source, backend), row in rows.items():
        table.add_row(case, source, backend, *(row.get(d.id, Text("")) for d in ALL))
    console.print(table)
    for problem in problems:
        console.print(problem, style="red", markup=False)
    legend = ", ".join(f"{d.id} {d.title}" for d in ALL)
    console.print(f"{legend}; a number is an errno as expected, 1>5 one that should have been 1")
    cases = len({run.case.id for run in chosen})
    console.print(
        f"{cases} cases, {len(chosen)} runs, {asked} answers, {wrong} wrong",
        style="red" if wrong or not chosen else "green",
    )
    return wrong or (not chosen)


def cell(answers: Sequence[Answer]) -> Text:
    """Show the errnos that a case is about: those that are no success, else its success."""
    bad = [answer for answer in answers if not answer.is_right]
    if bad:
        told = " ".join(f"{a.expected}>{a.got}" if a.is_errno else a.what[:20] for a in bad)
        return Text(told, style="red")
    codes = {a.expected for a in answers if a.is_errno and a.expected}
    return Text(" ".join(str(code) for code in sorted(codes)) or "0", style="green")


def fuzz_all(calls: int, seed: int, console: Console) -> int:
    """Fuzz every backend, two at a time. Returns: how many broke a promise."""
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(
            pool.map(lambda net: fuzz(net, calls=round(calls * _SHARES[net]), seed=seed), _SHARES)
        )
    for outcome in outcomes:
        told = outcome.summary if outcome.is_good else outcome.told
        console.print(told, style="green" if outcome.is_good else "red", markup=False)
    return sum(not outcome.is_good for outcome in outcomes)


if __name__ == "__main__":
    sys.exit(main())
