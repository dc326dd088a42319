"""Which version answers after a failed probation."""

from dataclasses import replace

from appliance.deploying.fallback import candidates
from appliance.deploying.probation import Probation, Verdict
from appliance.deploying.stages import Asker, Deploy, Kind, Stage, Step

FAILED = Probation(10, 0, 3, Verdict.FAILED)
BAD = Deploy(
    9, "cat", "v9", "v5", Kind.DEPLOY, Asker.API, (Step(Stage.LIVE, 1.0),), probation=FAILED
)


def of(version: str, probation: Probation) -> Deploy:
    """Give a deploy of another version."""
    return replace(BAD, version=version, probation=probation)


def test_the_one_that_answered_before_is_the_first() -> None:
    """Then those that were in front last; never itself."""
    assert ("v5", "v7", "v6") == candidates(BAD, ("v9", "v7", "v6", "v5"), (BAD,))


def test_one_that_is_gone_from_the_disk_is_not_asked() -> None:
    """The next best is."""
    assert ("v7",) == candidates(BAD, ("v9", "v7"), (BAD,))


def test_one_that_failed_its_own_probation_is_no_help() -> None:
    """Unless somebody brought it back since; then that is what counts."""
    history = (BAD, of("v7", Probation()), of("v7", FAILED), of("v5", FAILED))

    assert ("v7",) == candidates(BAD, ("v9", "v5", "v7"), history)


def test_there_may_be_none() -> None:
    """The first version of an app."""
    assert () == candidates(BAD, ("v9",), (BAD,))
