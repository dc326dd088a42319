"""Which frames count for a new version, and when it is to go."""

from itertools import accumulate

import pytest

from appliance.deploying.probation import NO_PROBATION, Probation, Verdict
from appliance.errors import (
    ApplianceError,
    BadPicture,
    FailureReason,
    GuestFailed,
    Suspended,
    Unavailable,
)

TRAP = GuestFailed("trapped", reason=FailureReason.TRAP)
SUSPENDED = Suspended("suspended for its failed frames")
ERRORS: dict[str, ApplianceError | None] = {"a": None, "t": TRAP, "s": SUSPENDED}


def judged(frames: int, seen: str) -> Probation:
    """Show frames: a is answered, t traps, s finds the app suspended."""
    *_, last = accumulate(seen, lambda p, one: p.after(ERRORS[one]), initial=Probation(frames))
    return last


@pytest.mark.parametrize(
    ("frames", "seen", "verdict"),
    [
        pytest.param(10, "tt", None, id="two are bad luck"),
        pytest.param(10, "ttt", Verdict.FAILED, id="the first three in a row"),
        pytest.param(10, "attt", None, id="three, but not the first"),
        pytest.param(10, "tatatatat", None, id="half so far"),
        pytest.param(10, "atatatatatt", Verdict.PASSED, id="half of all"),
        pytest.param(10, "attatatatt", Verdict.FAILED, id="more than half"),
        pytest.param(10, "atttttt", Verdict.FAILED, id="as soon as it is certain"),
        pytest.param(10, "a" * 10, Verdict.PASSED, id="all answered"),
        pytest.param(10, "a" * 9, None, id="not yet"),
        pytest.param(1, "t", Verdict.FAILED, id="one frame decides"),
        pytest.param(2, "ta", Verdict.PASSED, id="half of two"),
        pytest.param(0, "tttt", None, id="no probation"),
        pytest.param(10, "tss", Verdict.FAILED, id="suspended before its first answer"),
        pytest.param(10, "sss", None, id="suspended by the version before"),
        pytest.param(10, "atssssss", None, id="suspended after an answer"),
    ],
)
def test_the_verdict_is_as_soon_as_it_is_certain(
    frames: int, seen: str, verdict: Verdict | None
) -> None:
    """The first three in a row, or more than half of all."""
    assert verdict is judged(frames, seen).verdict


@pytest.mark.parametrize(
    "error",
    [
        BadPicture("no picture"),
        Unavailable("the box is too busy"),
        GuestFailed("deadline", reason=FailureReason.DEADLINE, is_overload=True),
    ],
    ids=["picture", "busy", "deadline in the queue"],
)
def test_what_is_not_the_guests_fault_does_not_count(error: ApplianceError) -> None:
    """The same version on a quiet box might have answered."""
    begun = judged(10, "tt")

    assert begun is begun.after(error)


def test_after_the_verdict_nothing_counts() -> None:
    """What passed stays, whatever it does later: there are other limits for that."""
    passed = judged(3, "aaa")

    assert passed is passed.after(TRAP)
    assert (True, False, False) == (judged(3, "aa").is_open, passed.is_open, NO_PROBATION.is_open)


def test_a_crash_is_a_verdict() -> None:
    """However its frames were."""
    crashed = judged(10, "aaaa").crashed()

    assert (True, Verdict.CRASHED, 4) == (crashed.is_bad, crashed.verdict, crashed.answered)
