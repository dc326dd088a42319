"""Fuzz in a process of its own, so that a crash or a hang is an answer and not the end."""

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Outcome:
    """How a child ended.

    summary: its count of calls.
    told: all that it printed, and for one that crashed how to see the crash again.
    """

    is_good: bool
    summary: str
    told: str


def fuzz(net: str, *, calls: int, seed: int = 1) -> Outcome:
    """Make so many calls to the host with one backend and wait for the end."""
    with tempfile.TemporaryDirectory() as folder:
        trail = Path(folder) / "at"
        command = [sys.executable, "-m", "tests.wasi_nn.fuzz", "--net", net]
        command += ["--calls", str(calls), "--seed", str(seed), "--trail", str(trail)]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
        told = done.stdout + done.stderr
        if done.returncode not in (0, 1):
            numbers = [path.read_text() for path in sorted(Path(folder).iterdir())]
            hints = " or ".join(f"--net {net} --replay {seed}:{number}" for number in numbers)
            told += f"\nended with {done.returncode}; python -m tests.wasi_nn.fuzz {hints}"
        # Some runtimes print on their own.
        lines = [line for line in done.stdout.splitlines() if line.startswith(f"{net}: ")]
        return Outcome(done.returncode == 0, "".join(lines), told)
