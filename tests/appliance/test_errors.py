import pytest

from appliance import errors
from appliance.errors import ApplianceError, BadGuest, FailureReason, GuestFailed, Unavailable

CLASSES = [
    c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, ApplianceError)
]


@pytest.mark.parametrize("error", CLASSES, ids=lambda c: c.__name__)
def test_every_class_stands_in_the_tree_of_the_docstring(error: type[ApplianceError]) -> None:
    """The module's docstring names every class with its status and code."""
    assert errors.__doc__ is not None
    assert error is ApplianceError or f"{error.__name__} " in errors.__doc__
    assert f"{error.status} {error.code} " in errors.__doc__


def test_codes_tell_classes_apart() -> None:
    """No two classes share a code, except Internal, which is what the root says."""
    codes = [c.code for c in CLASSES if c is not ApplianceError]

    assert len(codes) == len(set(codes))


def test_a_bad_guest_is_the_clients_fault() -> None:
    """A guest that cannot be deployed gives 422."""
    assert (BadGuest.status, BadGuest.code) == (422, "bad_guest")


def test_a_failed_guest_says_why() -> None:
    """The reason is one of a small set and compares equal to its word."""
    error = GuestFailed("app cat: ran 10 s, wanted at most 10 s", reason=FailureReason.DEADLINE)

    assert error.reason == "deadline"


def test_unavailable_says_when_to_retry() -> None:
    """The time to wait travels with the error."""
    assert Unavailable("queue full", retry_after_s=2.5).retry_after_s == 2.5
