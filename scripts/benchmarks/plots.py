"""Plots of latency against load, one PNG for all curves of a name."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from scripts.benchmarks.report import Curve


def write(curves: Sequence[Curve], folder: Path) -> list[Path]:
    """Draw every plot. Returns: the files."""
    # Here, because it takes a second and only `--plots` needs it.
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, group in groupby(sorted(curves, key=lambda c: c.plot), key=lambda c: c.plot):
        figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
        for curve in group:
            loads, latencies = zip(*curve.points, strict=True)
            axes.plot(loads, latencies, marker="o", label=curve.label)
        axes.set(title=name, xlabel="load, rows/s", ylabel="latency, ms", yscale="log")
        axes.grid(alpha=0.3, which="both")
        axes.legend()
        files.append(folder / f"{name}.png")
        figure.savefig(files[-1], dpi=120)
        pyplot.close(figure)
    return files
