"""A deploy goes forward only."""

from itertools import pairwise

import pytest

from appliance.deploying.stages import MAX_REASON_LENGTH, Asker, Deploy, Kind, Stage, Step

BEGUN = Deploy(1, "cat", "v2", "v1", Kind.DEPLOY, Asker.API, (Step(Stage.RECEIVED, 1.0),))


def at(stage: Stage) -> Deploy:
    """Give a deploy that came to a stage."""
    return BEGUN.reached(stage, 2.0)


def test_each_stage_is_reached_once_and_in_order() -> None:
    """Failing is the last one of what does not come to be."""
    stages = [*Stage][:-1]
    deploy = BEGUN
    for stage in stages:
        deploy = deploy.reached(stage, 2.0).reached(stage, 3.0)

    assert stages == [step.stage for step in deploy.steps]
    assert [1.0] + [2.0] * 6 == [step.at for step in deploy.steps]


@pytest.mark.parametrize(("later", "earlier"), [(b, a) for a, b in pairwise([*Stage][:-1])])
def test_there_is_no_way_back(later: Stage, earlier: Stage) -> None:
    """What comes late is ignored."""
    deploy = at(later)

    assert deploy is deploy.reached(earlier, 9.0)


@pytest.mark.parametrize("end", [Stage.GONE, Stage.FAILED])
def test_after_an_end_there_is_nothing(end: Stage) -> None:
    """Neither the other end."""
    assert end is at(end).reached(Stage.FAILED, 9.0).reached(Stage.GONE, 9.0).stage


def test_a_reason_is_kept_and_bounded() -> None:
    """A stage without one leaves that of before."""
    failed = BEGUN.reached(Stage.LIVE, 2.0, "why").reached(Stage.DRAINING, 3.0)

    assert "why" == failed.reason
    assert MAX_REASON_LENGTH == len(BEGUN.reached(Stage.FAILED, 2.0, "x" * 9999).reason)


def test_under_way_is_what_is_not_live_yet() -> None:
    """The first four."""
    assert [*Stage][:4] == [stage for stage in Stage if at(stage).is_under_way]
