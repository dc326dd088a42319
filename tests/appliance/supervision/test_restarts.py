"""When a service is started again; time is a number."""

from appliance.supervision.restarts import Restarts


def waits(*deaths: float) -> list[float]:
    """Start at 0, die at these seconds, and start again after each wait."""
    restarts = Restarts()
    restarts.started(0.0)
    found = []
    for death in deaths:
        found.append(restarts.wait_s(death))
        restarts.started(death + found[-1])
    return found


def test_the_first_deaths_cost_no_wait() -> None:
    """Three strikes are had without a pause."""
    assert [0.0, 0.0, 0.0] == waits(1.0, 2.0, 3.0)


def test_there_are_five_starts_in_a_minute() -> None:
    """The sixth is a minute after the first."""
    assert [0.0, 0.0, 0.0, 1.0, 54.0] == waits(1.0, 2.0, 3.0, 4.0, 6.0)


def test_then_it_gets_slower_up_to_five_minutes() -> None:
    """A service that always dies is not given up."""
    now, found, restarts = 0.0, [], Restarts()
    restarts.started(now)
    for _ in range(15):
        found.append(restarts.wait_s(now + 1))
        now += 1 + found[-1]
        restarts.started(now)

    assert [30.0, 60.0, 120.0, 240.0, 300.0, 300.0] == found[5:11]


def test_a_minute_of_life_begins_anew() -> None:
    """What dies once an hour is started at once, whatever was before."""
    assert 0.0 == waits(1.0, 2.0, 3.0, 4.0, 6.0, 3600.0)[-1]
