import math

import pytest

from appliance.batching import Batcher
from appliance.requests import BatchPolicy, Hold, Reason, Request, TimeoutAction
from tests.appliance.requests import all_batches, ids, queue, request

HELD = BatchPolicy(max_batch_rows=8, max_queue_delay_us=5000)


# -- time ----------------------------------------------------------------------------------------


def test_an_expired_request_is_refused() -> None:
    """At its deadline it is over, not after it."""
    batcher = queue(request(1, deadline_s=2.0), request(2, deadline_s=2.5))

    decision = batcher.decide(2.0, 1, 1)

    assert [(1, Reason.EXPIRED)] == [(r.request.id, r.reason) for r in decision.refusals]
    assert [2] == ids(decision.batch)


def test_expiry_does_not_need_a_free_thread() -> None:
    """A busy lane refuses the expired, too, and says when the next one expires."""
    batcher = queue(request(1, deadline_s=2.0), request(2, deadline_s=2.5))

    decision = batcher.decide(2.1, 0, 1)

    assert [1] == [r.request.id for r in decision.refusals]
    assert 2.5 == decision.wake_at_s


@pytest.mark.parametrize(
    ("policy", "deadline_s", "expires_s"),
    [
        (BatchPolicy(), None, math.inf),
        (BatchPolicy(), 7.0, 7.0),
        (BatchPolicy(default_timeout_us=500_000), None, 1.5),
        (BatchPolicy(default_timeout_us=500_000), 1.2, 1.2),
        (BatchPolicy(default_timeout_us=500_000), 9.0, 1.5),
        (BatchPolicy(default_timeout_us=500_000, allow_timeout_override=False), 1.2, 1.5),
        (BatchPolicy(allow_timeout_override=False), 1.2, math.inf),
    ],
    ids=["never", "own", "default", "shorter", "longer", "not allowed", "not allowed, no default"],
)
def test_the_shorter_time_counts(
    policy: BatchPolicy, deadline_s: float | None, expires_s: float
) -> None:
    """A request's own deadline can shorten the default timeout, if it is allowed to."""
    one = request(1, arrived_s=1.0, policy=policy, deadline_s=deadline_s)

    assert expires_s == one.expires_s()


def test_delayed_requests_come_after_those_in_time() -> None:
    """With DELAY the late are computed all the same, whatever their level."""
    late = BatchPolicy(timeout_action=TimeoutAction.DELAY)
    batcher = queue(
        request(1, policy=late, deadline_s=1.0, priority=1), request(2, policy=late, priority=2)
    )

    assert [[2], [1]] == all_batches(batcher, now=1.0)


def test_a_delayed_request_is_no_time_to_wake_at() -> None:
    """Nothing happens when it turns late, so nobody looks."""
    late = BatchPolicy(timeout_action=TimeoutAction.DELAY)

    assert queue(request(1, policy=late, deadline_s=1.0)).decide(0.0, 0, 1).wake_at_s is None


# -- the queue delay -----------------------------------------------------------------------------


def test_a_batch_is_held_for_the_oldest_request() -> None:
    """The delay counts from the first arrival, and at its end what is there goes."""
    batcher = queue(
        request(1, policy=HELD, arrived_s=1.0), request(2, policy=HELD, arrived_s=1.004)
    )

    assert 1.005 == batcher.decide(1.004, 1, 1).wake_at_s
    assert [1, 2] == ids(batcher.decide(1.005, 1, 1).batch)


def test_arrivals_in_the_delay_join() -> None:
    """N arrivals dt apart give floor(delay / dt) + 1 members, not fewer each time."""
    batcher = Batcher()
    for i in range(6):
        batcher.offer(request(i, policy=HELD, arrived_s=i * 0.001))
        taken = batcher.decide(i * 0.001, 1, 1).batch

    assert [0, 1, 2, 3, 4, 5] == ids(taken)


@pytest.mark.parametrize(
    "requests",
    [
        [request(1, policy=HELD, rows=8)],
        [request(1, policy=HELD, key=None)],
        [request(1, policy=HELD, deadline_s=0.004)],
        [request(1, policy=HELD, rows=5), request(2, policy=HELD, rows=5)],
    ],
    ids=["full", "shares with nobody", "would expire", "the next does not fit"],
)
def test_holding_back_must_pay(requests: list[Request]) -> None:
    """A batch that cannot grow, or a member that cannot wait, goes at once."""
    assert [1] == ids(queue(*requests).decide(0.0, 1, 1).batch)


def test_a_preferred_size_goes_at_once() -> None:
    """It is not held back, and what is beyond the largest such size waits on."""
    preferring = BatchPolicy(max_batch_rows=8, max_queue_delay_us=5000, preferred_batch_rows=(2, 4))
    batcher = queue(*(request(i, policy=preferring) for i in range(5)))

    assert [0, 1, 2, 3] == ids(batcher.decide(0.0, 1, 1).batch)
    assert 0.005 == batcher.decide(0.0, 1, 1).wake_at_s
    assert [4] == ids(batcher.decide(0.005, 1, 1).batch)


def test_a_graph_that_is_held_waits_until_then() -> None:
    """What the shell knows of its callers counts as a delay of its own."""
    batcher = queue(request(1), request(2))

    decision = batcher.decide(0.0, 1, 1, {"g": Hold(4, 0.002)})
    assert ((), 0.002) == (decision.batch, decision.wake_at_s)
    assert [1, 2] == ids(batcher.decide(0.002, 1, 1, {"g": Hold(4, 0.002)}).batch)


def test_a_share_goes_and_the_rest_has_a_run_of_its_own() -> None:
    """A hold bounds the batch; a full one is not held."""
    batcher = queue(*(request(i) for i in range(5)))

    assert [0, 1] == ids(batcher.decide(0.0, 2, 2, {"g": Hold(2, 9.0)}).batch)
    assert [2, 3] == ids(batcher.decide(0.0, 1, 2, {"g": Hold(2, 9.0)}).batch)
    assert () == batcher.decide(0.0, 1, 2, {"g": Hold(2, 9.0)}).batch


def test_what_is_held_back_holds_up_nobody() -> None:
    """Other graphs start meanwhile, even those of a lower level."""
    batcher = queue(request(1, policy=HELD, priority=1), request(2, "other", owner="bob"))

    assert [2] == ids(batcher.decide(0.0, 1, 1).batch)
    assert 0.005 == batcher.decide(0.0, 1, 1).wake_at_s


def test_the_nearest_time_is_when_to_wake() -> None:
    """Of two held batches and a deadline the first counts."""
    slow = BatchPolicy(max_batch_rows=8, max_queue_delay_us=8000)
    batcher = queue(
        request(1, "slow", policy=slow), request(2, policy=HELD),
        request(3, "slow", policy=slow, deadline_s=0.009),
    )  # fmt: skip

    assert 0.005 == batcher.decide(0.0, 1, 1).wake_at_s
    assert [2] == ids(batcher.decide(0.005, 1, 1).batch)
    assert 0.008 == batcher.decide(0.005, 1, 1).wake_at_s
