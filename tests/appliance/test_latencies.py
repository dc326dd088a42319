"""Histograms of fixed size."""

import pytest

from appliance.latencies import BOUNDS_S, Latencies, Stopwatch


def of(*taken_s: float) -> Latencies:
    watch = Stopwatch()
    for one in taken_s:
        watch.note(one)
    return watch.snapshot()


def test_buckets_are_summed_up_and_bounds_are_inclusive() -> None:
    """As Prometheus wants it: how many took at most so long."""
    shown = of(0.005, 0.006, 0.2, 99.0)
    buckets = dict(shown.buckets())

    assert (1, 2, 3, 4) == (buckets["0.005"], buckets["0.01"], buckets["0.2"], buckets["+Inf"])
    assert (4, pytest.approx(99.211)) == (shown.total, shown.sum_s)


@pytest.mark.parametrize(
    ("taken_s", "share", "expected"),
    [
        pytest.param((), 0.5, None, id="none"),
        pytest.param((0.05,) * 10, 0.5, 0.05, id="in the middle of its bucket"),
        pytest.param((0.015,) * 9 + (0.9,), 0.9, 0.02, id="the bucket's end"),
        pytest.param((1000.0,), 0.5, BOUNDS_S[-1], id="beyond the last"),
    ],
)
def test_percentiles_are_estimated(
    taken_s: tuple[float, ...], share: float, expected: float | None
) -> None:
    """Within the bounds of the bucket where it lies."""
    assert expected == pytest.approx(of(*taken_s).percentile_s(share))
