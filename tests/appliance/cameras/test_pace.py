"""Pace: the wanted rate, evenly, at the least decoding."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.cameras.pace import Gate, Meter, Thrift


def passed(gate: Gate, fps: float, seconds: float) -> int:
    return sum(gate.passes(n / fps) for n in range(int(seconds * fps)))


@pytest.mark.parametrize(
    ("source_fps", "wanted_fps", "expected"),
    [(30, 5, 50), (30, 30, 300), (120, 30, 300), (25, 10, 100), (1, 30, 10), (30, 0.5, 5)],
)
def test_a_gate_lets_the_wanted_rate_through(
    source_fps: float, wanted_fps: float, expected: int
) -> None:
    """To a frame, over ten seconds; never more than come."""
    assert pytest.approx(expected, abs=1) == passed(Gate(wanted_fps), source_fps, 10)


def test_a_gate_without_a_rate_is_open() -> None:
    """All frames pass, even at one time."""
    gate = Gate(None)

    assert [True, True, True] == [gate.passes(t) for t in (0.0, 0.0, 0.1)]


def test_a_gate_forgives_a_frame_that_is_early() -> None:
    """A 30 fps camera's frames come some milliseconds early or late; none is lost for that."""
    gate = Gate(30)
    times = [n / 30 + (0.006 if n % 2 else 0) for n in range(60)]

    assert 60 == sum(gate.passes(t) for t in times)


def test_a_gate_does_not_make_up_for_a_pause() -> None:
    """After ten seconds of nothing there is no burst."""
    gate = Gate(2)
    gate.passes(0.0)

    assert [True, False, False] == [gate.passes(t) for t in (10.0, 10.1, 10.2)]


def test_a_gate_begins_anew_when_time_jumps_back() -> None:
    """A film that starts again must not wait for its old end."""
    gate = Gate(1)
    gate.passes(100.0)

    assert gate.passes(0.0)


@given(st.floats(0.1, 60), st.lists(st.floats(0, 0.5), min_size=2, max_size=200))
def test_a_gate_never_lets_more_through(fps: float, gaps: list[float]) -> None:
    """However unevenly frames come, there are at most fps a second and one for the start."""
    gate, now, count = Gate(fps), 0.0, 0
    for gap in gaps:
        now += gap
        count += gate.passes(now)

    assert count <= now * fps + 2


def test_a_meter_measures_the_last_seconds() -> None:
    """A stream that became slower is shown as it is now."""
    meter = Meter()
    for n in range(300):
        meter.count(n / 30)
    for n in range(40):
        meter.count(10 + n / 10)

    assert 10.0 == pytest.approx(meter.fps(13.9), rel=0.01)


def test_a_meter_falls_to_zero_when_nothing_comes() -> None:
    """A stalled camera shows no rate."""
    meter = Meter()
    meter.count(0.0)
    meter.count(0.1)

    assert 0.0 == meter.fps(100.0)


def test_a_meter_knows_slow_streams() -> None:
    """A frame every ten seconds is a rate, too."""
    meter = Meter()
    for n in range(4):
        meter.count(n * 10.0)

    assert 0.1 == pytest.approx(meter.fps(31.0))


def wanted(thrift: Thrift, *, fps: int, key_every: int, seconds: int) -> int:
    return sum(thrift.wants(n / fps, is_key=n % key_every == 0) for n in range(fps * seconds))


def test_pictures_by_themselves_are_chosen_before_decoding() -> None:
    """MJPEG at 30 for 5 a second: one in six is decoded."""
    assert 50 == wanted(
        Thrift(5, is_intra=True, passes=Gate(5).passes), fps=30, key_every=1, seconds=10
    )


def test_key_frames_alone_are_decoded_where_they_are_enough() -> None:
    """A key frame a second serves 1 fps; the first three seconds are for learning that."""
    thrift = Thrift(1, is_intra=False, passes=Gate(1).passes)

    assert 90 + 7 == wanted(thrift, fps=30, key_every=30, seconds=10)
    assert thrift.decides_rate


def test_all_is_decoded_where_key_frames_are_too_few() -> None:
    """Two seconds between them cannot serve 1 fps."""
    thrift = Thrift(1, is_intra=False, passes=Gate(1).passes)

    assert 300 == wanted(thrift, fps=30, key_every=60, seconds=10)
    assert not thrift.decides_rate


def test_without_a_rate_all_is_decoded() -> None:
    """Nobody said that less is enough."""
    assert 300 == wanted(
        Thrift(None, is_intra=True, passes=Gate(None).passes), fps=30, key_every=1, seconds=10
    )


def test_more_is_decoded_again_when_key_frames_become_rare() -> None:
    """From the next key frame on, which the rest of its group needs."""
    thrift = Thrift(1, is_intra=False, passes=Gate(1).passes)
    wanted(thrift, fps=30, key_every=30, seconds=10)
    later = [thrift.wants(10 + n / 30, is_key=n in (0, 120)) for n in range(180)]

    assert [True] + [False] * 119 + [True] * 60 == later


def test_unreferenced_frames_are_left_out_while_enough_remain() -> None:
    """Half of 30 is more than 5."""
    thrift = Thrift(5, is_intra=False, passes=Gate(5).passes)
    skips = []
    for n in range(600):
        thrift.wants(n / 30, is_key=n % 300 == 0)
        skips.append(thrift.skips_unreferenced(n / 30))
        if n % 2:
            thrift.count_decoded(n / 30)

    assert [False] * 15 + [True] * 585 == skips


def test_unreferenced_frames_are_decoded_again_if_the_rest_is_too_little() -> None:
    """A stream of which little is referred to; tried once only."""
    thrift = Thrift(5, is_intra=False, passes=Gate(5).passes)
    for n in range(300):
        thrift.wants(n / 30, is_key=n % 300 == 0)
    thrift.skips_unreferenced(9.9)
    for second in range(10, 20):
        thrift.count_decoded(float(second))

    assert not thrift.skips_unreferenced(19.1)
    assert not thrift.skips_unreferenced(30.0)
