"""What was refused just now is not tried again at once, but soon."""

import gc
import itertools
import weakref

import pytest

from appliance.deploying.refusals import FIRST_S, KEPT, MOST_S, Refusals
from appliance.errors import BadGuest, FailureReason, GuestFailed, Unavailable


class _Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def _fail(refusals: Refusals, error: Exception, name: str = "cat", version: str = "1") -> bool:
    """Try and fail. Returns: whether it was tried at all."""
    tried = []

    def attempt() -> None:
        with refusals.remembered(name, version):
            tried.append(version)
            raise error

    with pytest.raises(type(error)):
        attempt()
    return bool(tried)


def test_the_same_bytes_are_refused_with_the_same_reason() -> None:
    """The client is told since when, and when they will be tried again."""
    clock = _Clock()
    refusals = Refusals(clock)
    failure = GuestFailed("the guest trapped", reason=FailureReason.TRAP)
    assert _fail(refusals, failure)

    clock.now_s = 0.5
    with pytest.raises(GuestFailed) as caught, refusals.remembered("cat", "1"):
        pytest.fail("tried")

    assert "trap" == caught.value.reason
    assert str(caught.value) == (
        "the guest trapped (refused 0.5 s ago; the same bytes are tried again in 1.5 s)"
    )


def test_they_are_tried_again_later_and_later() -> None:
    """Twice as late each time, up to a bound."""
    clock = _Clock()
    refusals = Refusals(clock)
    tries = []
    while clock.now_s < 600:
        if _fail(refusals, BadGuest("guest: no")):
            tries.append(clock.now_s)
        clock.now_s += 1

    waits = [after - before for before, after in itertools.pairwise(tries)]
    assert [FIRST_S, 4, 8, 16, 32, MOST_S, MOST_S] == waits[:7]


def test_what_answers_is_no_longer_held_against_it() -> None:
    """The next refusal is a first one."""
    clock = _Clock()
    refusals = Refusals(clock)
    for _ in range(2):
        assert _fail(refusals, BadGuest("guest: no"))
        clock.now_s += 2 * FIRST_S
    with refusals.remembered("cat", "1"):
        pass

    assert _fail(refusals, BadGuest("guest: no"))
    clock.now_s += FIRST_S
    assert _fail(refusals, BadGuest("guest: no"))


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(Unavailable("disk: full"), id="box"),
        pytest.param(
            GuestFailed("late", reason=FailureReason.DEADLINE, is_overload=True), id="overload"
        ),
    ],
)
def test_what_is_no_fault_of_the_bundle_may_be_tried_at_once(error: Exception) -> None:
    """A retry may help."""
    refusals = Refusals(_Clock())

    assert _fail(refusals, error)
    assert _fail(refusals, error)


def test_other_bytes_and_other_names_are_tried() -> None:
    """A corrected bundle does not wait."""
    refusals = Refusals(_Clock())

    assert _fail(refusals, BadGuest("guest: no"))
    assert _fail(refusals, BadGuest("guest: no"), version="2")
    assert _fail(refusals, BadGuest("guest: no"), name="dog")
    assert not _fail(refusals, BadGuest("guest: no"))


def test_memory_is_bounded() -> None:
    """The oldest is forgotten, and nothing of a try is kept alive."""

    class Body:
        pass

    def attempt() -> "weakref.ref[Body]":
        body = Body()
        with pytest.raises(BadGuest), refusals.remembered("cat", "1"):
            raise BadGuest("guest: no")
        return weakref.ref(body)

    refusals = Refusals(_Clock())
    seen = attempt()
    gc.collect()
    assert seen() is None
    for number in range(KEPT):
        assert _fail(refusals, BadGuest("guest: no"), name=f"app-{number}")

    assert _fail(refusals, BadGuest("guest: no"))
