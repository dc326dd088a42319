"""Frames of the last minute."""

import pytest

from appliance.pace import LastMinute


@pytest.mark.parametrize(
    ("noted_s", "now_s", "count"),
    [
        pytest.param([], 5.0, 0, id="none"),
        pytest.param([5.0, 5.9, 6.0], 6.0, 3, id="now and just now"),
        pytest.param([5.0, 40.0], 64.9, 2, id="within a minute"),
        pytest.param([5.0, 40.0], 65.0, 1, id="the oldest second leaves"),
        pytest.param([5.0, 6.0, 1e9], 1e9, 1, id="a long silence"),
        pytest.param([100.0, 99.0], 100.0, 2, id="threads that note out of order"),
    ],
)
def test_what_is_older_than_a_minute_is_forgotten(
    noted_s: list[float], now_s: float, count: int
) -> None:
    """By whole seconds."""
    pace = LastMinute()
    for moment_s in noted_s:
        pace.note(moment_s)

    assert count == pace.total(now_s)
