"""What the processes of a box use: its supervisor, the service, and the workers below.

Source: proc(5), /proc/PID/stat, status and task/TID/children.
"""

import os
from pathlib import Path


def children_of(pid: int) -> list[int]:
    """List the processes that any thread of a process has started."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for one in threads for child in (one / "children").read_text().split()]


def tree_of(pid: int) -> list[int]:
    """List a process and all below it."""
    found = [pid]
    for one in found:
        found += children_of(one)
    return found


def resident_mb(pid: int) -> float:
    """Tell what a process holds in memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)


def proportional_mb(pid: int) -> float:
    """Tell what a process holds in memory, of what it shares with others its part (PSS)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:"))


def cpu_s(pid: int) -> float:
    """Tell the processor time of a process and all below it, user and system, in seconds."""
    ticks = 0
    for one in tree_of(pid):
        text = Path(f"/proc/{one}/stat").read_text()
        fields = text[text.rindex(")") + 2 :].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
