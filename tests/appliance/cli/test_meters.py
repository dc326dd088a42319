"""Rates from the counters of two looks at a box, and what restarts do to them."""

from dataclasses import replace
from typing import Any

from appliance.api.shapes import App, Counts, Graph, Health
from appliance.cli.meters import Poll, app_rows, graph_rows


def app(name: str = "a", **counts: Any) -> App:
    return App(name=name, state="live", version="v", **counts)


def graph(**counts: Any) -> Graph:
    none = {"requests": 0, "rows": 0, "executions": 0, "failures": 0, "queue_ms": 0,
            "compute_ms": 0, "batch_rows": {}, "refusals": {}, "owner_rows": {}}  # fmt: skip
    return Graph(
        model="m:1", digest="d", encoding="onnx", backend="onnx", asked="cpu", device="cpu",
        references=1, plan=None, counts=Counts(**{**none, **counts}) if counts else None,
    )  # fmt: skip


def poll(*things: App | Graph, at_s: float = 10.0, uptime_s: float = 100.0) -> Poll:
    return Poll(
        at_s, Health(version="1", uptime_s=uptime_s, apps=0),
        tuple(t for t in things if isinstance(t, App)),
        tuple(t for t in things if isinstance(t, Graph)), {},
    )  # fmt: skip


def test_an_apps_rates() -> None:
    """Latency is of the frames that were answered between the looks."""
    old = poll(app(frames=10, guest_ms=1000, failures={"trap": 1}), at_s=10)
    new = poll(app(frames=20, guest_ms=1064, failures={"trap": 2, "exit": 1}), at_s=12)
    (row,) = app_rows(new, old)

    assert (20, 5.0, 8.0, 3, 1.0) == (
        row.frames, row.frames_per_s, row.latency_ms, row.failures, row.failures_per_s
    )  # fmt: skip


def test_a_graphs_rates() -> None:
    """A mean batch is rows a run; refused and failed requests are one figure."""
    old = poll(graph(requests=10, rows=10, executions=10, queue_ms=5, compute_ms=50), at_s=10)
    new = poll(
        graph(requests=18, rows=18, executions=12, queue_ms=21, compute_ms=80, failures=1,
              refusals={"full": 2}), at_s=14,
    )  # fmt: skip
    (row,) = graph_rows(new, old)

    assert (2.0, 4.0, 2.0, 15.0, 3) == (
        row.rows_per_s, row.mean_batch, row.queue_ms, row.compute_ms, row.failures
    )  # fmt: skip


def test_the_first_look_knows_no_rate() -> None:
    """But what a graph has done so far."""
    (first,) = app_rows(poll(app(frames=10, guest_ms=5)), None)
    (row,) = graph_rows(poll(graph(rows=8, executions=2)), None)

    assert (10, None, None) == (first.frames, first.frames_per_s, first.latency_ms)
    assert (None, 4.0) == (row.rows_per_s, row.mean_batch)


def test_nothing_happened() -> None:
    """A rate of 0 is known; a latency is not."""
    look = poll(app(frames=10, guest_ms=5), graph(rows=8, executions=2))
    later = replace(look, at_s=11)
    (row,), (computed,) = app_rows(later, look), graph_rows(later, look)

    assert (0.0, None) == (row.frames_per_s, row.latency_ms)
    assert (0.0, None) == (computed.rows_per_s, computed.mean_batch)


def test_a_box_that_was_started_again_counts_anew() -> None:
    """Its old counters say nothing about the new ones, be they higher or lower."""
    old = poll(app(frames=10), graph(rows=5, executions=5), at_s=10, uptime_s=100)
    new = poll(app(frames=30), graph(rows=6, executions=3), at_s=11, uptime_s=1)

    assert None is app_rows(new, old)[0].frames_per_s
    assert (None, 2.0) == (graph_rows(new, old)[0].rows_per_s, graph_rows(new, old)[0].mean_batch)


def test_a_new_version_counts_from_nought() -> None:
    """No rate is ever below 0."""
    old, new = poll(app(frames=1000), at_s=10), poll(app(frames=3), at_s=11)

    assert 3.0 == app_rows(new, old)[0].frames_per_s


def test_what_appeared_between_two_looks_has_its_rate() -> None:
    """An app just deployed, and a graph just loaded."""
    old, new = poll(at_s=10), poll(app(frames=4), graph(rows=2, executions=1), at_s=12)

    assert 2.0 == app_rows(new, old)[0].frames_per_s
    assert 1.0 == graph_rows(new, old)[0].rows_per_s


def test_graphs_that_never_computed_are_left_out() -> None:
    """They have nothing to show."""
    assert [] == graph_rows(poll(graph()), None)
