"""Every failure of the box has a gRPC status, a sentence, and no secrets."""

import grpc
import pytest

from appliance import errors
from appliance.api.rpc.statuses import BUG, CODES, status_of


def _classes(root: type[errors.ApplianceError]) -> set[type[errors.ApplianceError]]:
    return {root}.union(*map(_classes, root.__subclasses__()))


def test_every_failure_has_a_status() -> None:
    """A new class of error forces a decision here; a removed one leaves nothing behind."""
    # HTTP has refusals of its own, which only HTTP says.
    known = {k for k in _classes(errors.ApplianceError) if k.__module__ == errors.__name__}

    assert {kind.code for kind in known} == set(CODES)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        pytest.param(errors.BadRequest("x"), grpc.StatusCode.INVALID_ARGUMENT, id="request"),
        pytest.param(errors.BadPicture("x"), grpc.StatusCode.INVALID_ARGUMENT, id="picture"),
        pytest.param(errors.NotFound("x"), grpc.StatusCode.NOT_FOUND, id="not found"),
        pytest.param(errors.Conflict("x"), grpc.StatusCode.FAILED_PRECONDITION, id="conflict"),
        pytest.param(errors.TooBig("x"), grpc.StatusCode.RESOURCE_EXHAUSTED, id="too big"),
        pytest.param(errors.Unsupported("x"), grpc.StatusCode.UNIMPLEMENTED, id="unsupported"),
        pytest.param(errors.Unavailable("x"), grpc.StatusCode.UNAVAILABLE, id="unavailable"),
    ],
)
def test_a_failure_keeps_its_sentence(error: errors.ApplianceError, code: grpc.StatusCode) -> None:
    """Status and sentence, and the word that HTTP has in its body."""
    status = status_of(error)

    assert (code, "x") == (status.code, status.sentence)
    assert ("error-code", error.code) in status.trailing


def test_a_guests_failure_says_how_it_ended() -> None:
    """The reason is data, not only words."""
    status = status_of(errors.GuestFailed("x", reason=errors.FailureReason.TRAP))

    assert grpc.StatusCode.ABORTED is status.code
    assert ("error-reason", "trap") in status.trailing


def test_a_full_box_says_when_to_try_again() -> None:
    """In the key that gRPC's own retry policy obeys."""
    status = status_of(errors.Unavailable("full", retry_after_s=0.25))

    assert ("grpc-retry-pushback-ms", "250") in status.trailing


@pytest.mark.parametrize(
    "error", [errors.Internal("/root/secret"), errors.BadSettings("/root/secret")], ids=repr
)
def test_our_own_bugs_say_nothing(error: errors.ApplianceError) -> None:
    """The log has the rest."""
    status = status_of(error)

    assert (grpc.StatusCode.INTERNAL, BUG) == (status.code, status.sentence)


def test_a_sentence_fits_into_metadata() -> None:
    """A client's megabyte of a name must not keep the status from arriving."""
    assert 1000 == len(status_of(errors.NotFound("x" * 10**6)).sentence)
