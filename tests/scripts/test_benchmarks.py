"""The pure parts of the benchmarks: what is claimed, when queries are due, and the verdicts."""

import itertools
import json
import math
import os
from pathlib import Path

import pytest
import wasmtime

from appliance.shipped import classifier_folder
from scripts.benchmarks import report
from scripts.benchmarks.callers import Answer, is_busy, open_loop
from scripts.benchmarks.estimates import (
    claimed_latency,
    fewest_queries,
    is_within,
    plain_percentile,
    slow_allowed,
)
from scripts.benchmarks.modules import distinct, grown
from scripts.benchmarks.overload import meanwhile
from scripts.benchmarks.processes import proportional_mb, resident_mb
from scripts.benchmarks.schedules import highest_rate, poisson, ticks
from wasi_nn.errors import Busy, RuntimeFailure


@pytest.mark.parametrize(
    ("percentile", "wanted"),
    [
        (0.90, [44, 64, 81, 97, 113, 127]),
        (0.95, [90, 130, 165, 198, 229, 259]),
        (0.97, [152, 219, 277, 332, 383, 433]),
        (0.99, [459, 662, 838, 1001, 1157, 1307]),
        (0.999, [4603, 6636, 8403, 10042, 11601, 13105]),
    ],
)
def test_fewest_queries_are_loadgens(percentile: float, wanted: list[int]) -> None:
    """The table of MLPerf's early stopping, confidence 0.99 and no tolerance."""
    assert wanted == [fewest_queries(percentile, slow) for slow in range(6)]


@pytest.mark.parametrize(
    ("queries", "slow"),
    [(43, None), (44, 0), (63, 0), (64, 1), (80, 1), (81, 2), (127, 5)],
)
def test_slow_queries_allowed_grow_with_their_number(queries: int, slow: int | None) -> None:
    """As many may be over the latency as the number of queries pays for."""
    assert slow == slow_allowed(0.90, queries)


def test_a_claim_is_the_slowest_after_the_outliers() -> None:
    """Of t slow ones that are allowed, t - 1 are left out."""
    latencies_s = [float(n) for n in range(81)]

    claimed_s = claimed_latency(latencies_s, 0.90)

    assert 79.0 == claimed_s


@pytest.mark.parametrize("queries", [0, 44, 63])
def test_too_few_queries_claim_nothing(queries: int) -> None:
    """A 90th percentile takes 64 queries."""
    assert claimed_latency([1.0] * queries, 0.90) is None


@pytest.mark.parametrize(
    ("slow", "is_met"), [(0, True), (1, True), (2, False)], ids=["none", "one", "two"]
)
def test_a_bound_is_met_with_as_many_slow_as_allowed(slow: int, is_met: bool) -> None:
    """64 queries may have one over the bound; one that was refused is over any."""
    latencies_s = [0.01] * (64 - slow) + [math.inf] * slow

    assert is_met == is_within(latencies_s, 0.02, 0.90)


def test_too_few_queries_meet_no_bound() -> None:
    """Nothing is claimed of 43 queries, however fast."""
    assert not is_within([0.0] * 43, 1.0, 0.90)


@pytest.mark.parametrize(("percentile", "value"), [(0.5, 2.0), (0.99, 4.0), (0.01, 1.0)])
def test_plain_percentile_is_of_the_values(percentile: float, value: float) -> None:
    """Nearest rank: never a number that was not measured."""
    assert value == plain_percentile([4.0, 1.0, 3.0, 2.0], percentile)


def test_poisson_arrivals_are_the_same_every_time() -> None:
    """The seed is fixed, the times rise and end with the run."""
    arrivals = poisson(100.0, 5.0)

    assert arrivals == poisson(100.0, 5.0)
    assert arrivals == sorted(arrivals)
    assert arrivals[-1] < 5.0


def test_poisson_arrivals_have_the_rate_and_the_spread() -> None:
    """The gaps' mean is 1 / rate, and so is their deviation: that is what makes queues."""
    arrivals = poisson(50.0, 400.0)
    gaps = [b - a for a, b in itertools.pairwise(arrivals)]
    mean = sum(gaps) / len(gaps)
    deviation = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps))

    assert 0.02 == pytest.approx(mean, rel=0.05)
    assert 0.02 == pytest.approx(deviation, rel=0.05)


def test_another_seed_gives_other_arrivals() -> None:
    """The seed is what decides."""
    assert poisson(100.0, 1.0) != poisson(100.0, 1.0, seed=1)


def test_ticks_do_not_drift() -> None:
    """The thousandth frame is due at exactly a thousand frame times."""
    assert 1000 / 30 == list(ticks(30.0, 60.0))[1000]


def test_ticks_begin_in_their_phase() -> None:
    """Half a frame time late, and none after the end."""
    assert [0.25, 0.75] == list(ticks(2.0, 1.0, phase=0.5))


@pytest.mark.parametrize(("limit", "found"), [(70.0, 68.75), (0.0, 0.0), (200.0, 93.75)])
def test_the_highest_rate_is_halved_in(limit: float, found: float) -> None:
    """Four probes of 0 to 100 come within a sixteenth of it, never above."""
    assert found == highest_rate(lambda rate: rate <= limit, 0.0, 100.0, 4)


@pytest.mark.parametrize(("value", "is_ok"), [(2.9, False), (3.0, True), (3.1, True)])
def test_a_lower_bound_is_inclusive(value: float, is_ok: bool) -> None:
    """At least means at least."""
    assert report.Row("x", value, "s", ">= 3", is_ok) == report.at_least("x", value, "s", 3)


@pytest.mark.parametrize(("value", "is_ok"), [(2.9, True), (3.0, True), (3.1, False)])
def test_an_upper_bound_is_inclusive(value: float, is_ok: bool) -> None:
    """At most means at most."""
    assert report.Row("x", value, "s", "<= 3", is_ok) == report.at_most("x", value, "s", 3)


def test_what_is_absent_is_missed() -> None:
    """A figure with a target that could not be had fails the run."""
    assert not report.absent("x", "no file").ok


def test_json_is_a_list_of_rows(tmp_path: Path) -> None:
    """Name, value, unit, target, ok."""
    file = tmp_path / "figures.json"

    report.write_json([report.at_least("x", 2.0, "s", 1)], file)

    assert [{"name": "x", "value": 2.0, "unit": "s", "target": ">= 1", "ok": True}] == json.loads(
        file.read_text()
    )


def test_latency_counts_from_when_a_query_was_due() -> None:
    """A caller that comes late adds to it; a refusal is never fast."""
    assert 3.0 == Answer(due_s=1.0, asked_s=3.0, answered_s=4.0, is_refused=False).latency_s
    assert math.inf == Answer(due_s=1.0, asked_s=1.0, answered_s=1.0, is_refused=True).latency_s


def test_an_open_loop_answers_every_query_once() -> None:
    """Whoever of the callers is free takes the next; order is that of the arrivals."""
    due_s = [0.0] * 20

    answers = open_loop([lambda: None] * 3, due_s)

    assert due_s == [answer.due_s for answer in answers]


def test_a_refusal_is_an_answer_and_a_failure_is_not() -> None:
    """Only want of room is counted; anything else ends the run."""

    def refuse() -> None:
        raise Busy("full")

    def fail() -> None:
        raise RuntimeFailure("broken")

    assert is_busy(refuse)
    assert not is_busy(lambda: None)
    with pytest.raises(RuntimeFailure, match="broken"):
        open_loop([fail], [0.0])


def test_waiting_is_counted_in_answers() -> None:
    """Three asked at once and answered in turn waited for one, two and three answers."""
    answers = [Answer(0.0, 0.0, float(n), is_refused=False) for n in (1, 2, 3)]

    assert [1, 2, 3] == meanwhile(answers)


@pytest.mark.parametrize("size_bytes", [0, 100_000, 300_000])
def test_a_grown_guest_is_as_large_and_still_itself(size_bytes: int) -> None:
    """Its functions are there over and over, and it compiles; a small one is left as it is."""
    wasm = (classifier_folder() / "classifier.wasm").read_bytes()
    larger = grown(wasm, size_bytes)

    assert max(len(wasm), size_bytes) == pytest.approx(len(larger), rel=0.1)
    engine = wasmtime.Engine()
    names = [[e.name for e in wasmtime.Module(engine, one).exports] for one in (wasm, larger)]
    assert names[0] == names[1]


def test_distinct_guests_differ_in_nothing_but_their_bytes() -> None:
    """A custom section says the number."""
    wasm = (classifier_folder() / "classifier.wasm").read_bytes()

    assert 3 == len({wasm, distinct(wasm, 1), distinct(wasm, 2)})
    wasmtime.Module.validate(wasmtime.Engine(), distinct(wasm, 1))


def test_a_process_holds_no_more_than_is_resident() -> None:
    """Its part of what it shares is at most all of it."""
    assert 0 < proportional_mb(os.getpid()) <= resident_mb(os.getpid()) + 1
