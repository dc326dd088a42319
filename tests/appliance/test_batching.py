import math
from typing import Any

import pytest

from appliance.batching import Batcher
from appliance.requests import BatchPolicy, Reason
from tests.appliance.requests import all_batches, ids, queue, request

# -- one request ---------------------------------------------------------------------------------


def test_an_empty_queue_has_nothing_to_do() -> None:
    """There is no batch, no refusal, and no time to wake at."""
    decision = Batcher().decide(1.0, 2, 2)

    assert ((), (), None) == (decision.batch, decision.refusals, decision.wake_at_s)


def test_a_lone_request_goes_at_once() -> None:
    """It is taken when it is offered, and only once."""
    batcher = queue(request(7))

    assert [7] == ids(batcher.decide(0.0, 1, 1).batch)
    assert () == batcher.decide(0.0, 1, 1).batch
    assert 0 == len(batcher)


def test_a_cancelled_request_is_gone() -> None:
    """It is never taken, and can be cancelled once."""
    batcher = queue(request(1), request(2))

    assert batcher.cancel(1)
    assert not batcher.cancel(1)
    assert 1 not in batcher
    assert [2] == ids(batcher.decide(0.0, 1, 1).batch)


def test_without_threads_nothing_starts() -> None:
    """A busy lane only says when the next request expires."""
    batcher = queue(request(1, deadline_s=3.0), request(2))

    decision = batcher.decide(0.0, 0, 2)

    assert ((), 3.0) == (decision.batch, decision.wake_at_s)


def test_a_run_that_wants_more_threads_than_there_are_takes_all() -> None:
    """It waits for all of the lane, not for what the lane has not."""
    batcher = queue(request(1, threads=4))

    assert () == batcher.decide(0.0, 1, 2).batch
    assert [1] == ids(batcher.decide(0.0, 2, 2).batch)


def test_nobody_overtakes_a_head_that_needs_more_threads() -> None:
    """A free thread stays free, or a stream of small runs would keep the large one out."""
    batcher = queue(request(1, "wide", threads=2), request(2, "narrow", owner="bob"))

    assert () == batcher.decide(0.0, 1, 2).batch
    assert [1] == ids(batcher.decide(0.0, 2, 2).batch)


# -- batches -------------------------------------------------------------------------------------


def test_requests_of_one_graph_and_key_go_together() -> None:
    """Other graphs and keys stay for the next batch."""
    batcher = queue(
        request(1), request(2, "other"), request(3, key="wider"), request(4), request(5, key=None)
    )

    assert [[1, 4], [2], [3], [5]] == all_batches(batcher)


def test_requests_without_a_key_share_with_nobody() -> None:
    """None is no key, not a common one."""
    assert [[1], [2]] == all_batches(queue(request(1, key=None), request(2, key=None)))


def test_a_batch_counts_rows() -> None:
    """A request of 5 rows and one of 3 fill a batch of 8."""
    batcher = queue(request(1, rows=5), request(2, rows=3), request(3))

    assert [[1, 2], [3]] == all_batches(batcher)


def test_what_does_not_fit_is_left_and_room_is_filled() -> None:
    """A request is never split; a smaller one behind it may take the room, once."""
    batcher = queue(request(1, rows=5), request(2, rows=4), request(3, rows=3), request(4))

    assert [[1, 3], [2, 4]] == all_batches(batcher)


def test_a_request_larger_than_the_bound_goes_alone() -> None:
    """It is computed as it came."""
    assert [[1], [2]] == all_batches(queue(request(1, rows=20), request(2)))


def test_one_row_switches_batching_off() -> None:
    """With max_batch_rows 1 each request is a batch."""
    single = BatchPolicy(max_batch_rows=1)

    batcher = queue(request(1, policy=single), request(2, policy=single))

    assert [[1], [2]] == all_batches(batcher)


# -- order ---------------------------------------------------------------------------------------


def test_the_higher_level_goes_first() -> None:
    """1 is the highest, 0 and less the default, more than there are the lowest."""
    single = BatchPolicy(priority_levels=3)
    levels = {1: 9, 2: 0, 3: 1, 4: 3, 5: -4}
    requests = [request(i, priority=p, policy=single) for i, p in levels.items()]

    assert [3, 2, 2, 3, 1] == [requests[i].level() for i in (0, 1, 4, 3, 2)]
    assert [[3], [2], [5], [1], [4]] == all_batches(queue(*requests))


def test_owners_take_turns() -> None:
    """Who has had the least service is next, whoever came first."""
    single = BatchPolicy()
    requests = [request(i, owner="ann", policy=single) for i in (1, 2, 3)]
    requests += [request(i, owner="bob", policy=single) for i in (4, 5)]

    assert [[1], [4], [2], [5], [3]] == all_batches(queue(*requests))


def test_owners_share_a_batch() -> None:
    """The room in a batch is dealt out in turns, too."""
    flood = [request(i) for i in range(20)]
    polite = [request(i, owner="bob") for i in range(20, 24)]

    assert {20, 21, 22, 23} <= set(all_batches(queue(*flood, *polite))[0])


def test_a_weight_is_a_share() -> None:
    """With weight 3 an owner gets three rows for another's one."""
    single = BatchPolicy(max_queue_size=100)
    requests = [request(i, owner="ab"[i % 2], policy=single) for i in range(80)]

    order = all_batches(queue(*requests, weights={"b": 3.0}))

    assert 30 == sum(id % 2 for (id,) in order[:40])


def test_service_counts_by_cost() -> None:
    """Whose requests take three times as long gets a third of the turns."""
    single = BatchPolicy(max_queue_size=100)
    costs = {"a": 3.0, "b": 1.0}
    requests = [
        request(i, owner="ab"[i % 2], cost_s=costs["ab"[i % 2]], policy=single) for i in range(80)
    ]

    assert 30 == sum(id % 2 for (id,) in all_batches(queue(*requests))[:40])


def test_an_idle_owner_saves_up_no_claim() -> None:
    """After a pause it takes turns from now on, and is not first until it has caught up."""
    single = BatchPolicy(max_queue_size=100)
    batcher = queue(*(request(i, policy=single) for i in range(20)))
    for _ in range(10):
        batcher.decide(0.0, 1, 1)
    for i in range(100, 110):
        batcher.offer(request(i, owner="bob", policy=single))

    assert [100, 10, 101, 11, 102] == [id for (id,) in all_batches(batcher)[:5]]


def test_what_ran_without_queueing_counts() -> None:
    """A lone request that was computed at once is service, too."""
    batcher = Batcher()
    batcher.charge(request(1))
    batcher.offer(request(2, policy=BatchPolicy()))
    batcher.offer(request(3, owner="bob", policy=BatchPolicy()))

    assert [[3], [2]] == all_batches(batcher)


def test_service_in_one_level_is_no_claim_on_another() -> None:
    """A high level's flood does not make old owners of the low one go before new ones."""
    single = BatchPolicy(max_queue_size=200)
    old = [request(i, owner="old", policy=single) for i in range(10)]
    flood = [request(i, owner="flood", priority=1, policy=single) for i in range(10, 60)]
    batcher = queue(*old, *flood)
    for _ in range(50):
        batcher.decide(0.0, 1, 1)
    for i in range(60, 65):
        batcher.offer(request(i, owner="new", policy=single))

    assert [0, 60, 1, 61, 2] == [id for (id,) in all_batches(batcher)[:5]]


def test_the_earliest_deadline_goes_first_within_an_owner() -> None:
    """Then those without a deadline, by arrival."""
    single = BatchPolicy()
    requests = [
        request(1, policy=single, arrived_s=0.2),
        request(2, policy=single, arrived_s=0.1),
        request(3, policy=single, deadline_s=9.0),
        request(4, policy=single, deadline_s=8.0),
    ]

    assert [[4], [3], [2], [1]] == all_batches(queue(*requests))


def test_riding_along_stops_where_another_graph_waits_too_long() -> None:
    """On others' turns a flood gets one full batch ahead of whoever waits for another graph."""
    four = BatchPolicy(max_batch_rows=4, max_queue_size=100)
    flood = [request(i, owner="flood", policy=four) for i in range(40)]
    cheap = [request(i, owner="cheap", rows=3, cost_s=0.1, policy=four) for i in range(40, 90)]
    waiting = [request(i, "other", owner="cy", cost_s=4.0, key=None) for i in (90, 91)]

    batches = all_batches(queue(*flood, *cheap, *waiting))

    before = batches[: batches.index([91])]
    assert 40 < len(before)
    assert 5 == sum(id < 40 for batch in before for id in batch)


def test_a_lower_level_does_not_ride_past_a_higher_one() -> None:
    """While the high level waits for another graph, only the high level computes."""
    requests = [
        request(1, priority=1),
        request(2, priority=2),
        request(3, "other", priority=1),
        request(4, priority=1),
    ]

    assert [[1, 4], [3], [2]] == all_batches(queue(*requests))


# -- bounds --------------------------------------------------------------------------------------


def test_a_full_graph_refuses_at_once() -> None:
    """The newcomer is refused, other graphs have room."""
    two = BatchPolicy(max_queue_size=2)
    batcher = queue(request(1, policy=two), request(2, policy=two))

    (refusal,) = batcher.offer(request(3, policy=two))

    assert (3, Reason.QUEUE_FULL) == (refusal.request.id, refusal.reason)
    assert 3 not in batcher
    assert () == batcher.offer(request(4, "other", policy=two))


def test_a_full_lane_refuses_at_once() -> None:
    """The total counts over all graphs."""
    batcher = queue(request(1, "a"), request(2, "b"), max_queue_size=2)

    (refusal,) = batcher.offer(request(3, "c"))

    assert 3 == refusal.request.id


def test_who_has_more_makes_room() -> None:
    """The last of the least important of the owner with the most is pushed out."""
    batcher = queue(
        request(1), request(2, arrived_s=0.1), request(3, priority=1, arrived_s=0.2),
        request(4, owner="cy"), max_queue_size=4,
    )  # fmt: skip

    (refusal,) = batcher.offer(request(5, owner="bob"))

    assert 2 == refusal.request.id
    assert 5 in batcher
    assert 4 == len(batcher)


def test_nobody_is_pushed_out_for_an_equal() -> None:
    """With one fewer in the queue the newcomer would only turn the tables: it is refused."""
    batcher = queue(request(1), request(2, owner="bob"), max_queue_size=2)

    (refusal,) = batcher.offer(request(3, owner="cy"))

    assert 3 == refusal.request.id


def test_room_in_a_full_graph_is_made_in_that_graph() -> None:
    """Who has much queued for another graph is not in the way."""
    two = BatchPolicy(max_queue_size=2)
    other = [request(i, "other", owner="cy") for i in (1, 2, 3)]
    batcher = queue(*other, request(4, policy=two), request(5, policy=two))

    (refusal,) = batcher.offer(request(6, owner="bob", policy=two))

    assert 5 == refusal.request.id


def test_owners_who_come_once_are_forgotten() -> None:
    """What is remembered of owners is bounded, however many names come by."""
    batcher = Batcher(max_queue_size=4)
    for i in range(1000):
        batcher.charge(request(i, owner=f"owner-{i}"))

    assert len(batcher._served) <= 4 * 4 + 1


# -- what is refused as wrong --------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_batch_rows": 0},
        {"max_queue_size": 0},
        {"default_priority_level": 3},
        {"default_priority_level": 0},
        {"max_queue_delay_us": -1},
        {"default_timeout_us": -1},
        {"max_batch_rows": 4, "preferred_batch_rows": (5,)},
    ],
    ids=str,
)
def test_a_policy_is_valid_or_is_not(wrong: dict[str, Any]) -> None:
    """If it exists, it can be followed."""
    with pytest.raises(ValueError, match=r"^batch policy: "):
        BatchPolicy(**wrong)


@pytest.mark.parametrize(
    "wrong", [{"rows": 0}, {"threads": 0}, {"cost_s": 0.0}, {"cost_s": math.nan}], ids=str
)
def test_a_request_of_no_size_is_not_queued(wrong: dict[str, Any]) -> None:
    """A request that costs nothing would be first for ever."""
    with pytest.raises(ValueError, match=r"^request: "):
        Batcher().offer(request(1, **wrong))


def test_weights_are_shares() -> None:
    """None at all would be a division by zero on the first request."""
    with pytest.raises(ValueError, match=r"^batcher: weights"):
        Batcher(weights={"ann": 0.0})
