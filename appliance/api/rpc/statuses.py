"""How a failure is said over gRPC: its status, its sentence, and what else a client can use.

Trailing metadata: `error-code` and, where a guest failed, `error-reason`, the words that HTTP has
in its error body; where a retry may help `grpc-retry-pushback-ms`, which gRPC's own retry policy
obeys (gRFC A6).
"""

from dataclasses import dataclass

import grpc

from appliance.errors import ApplianceError, GuestFailed, Unavailable

_Code = grpc.StatusCode
# By the word that the class carries. `too_big` is what gRPC itself says of a message over the
# limit. A guest's or model's failure is ABORTED, not FAILED_PRECONDITION: the next input may well
# succeed.
CODES = {
    "bad_request": _Code.INVALID_ARGUMENT,
    "bad_picture": _Code.INVALID_ARGUMENT,
    "bad_manifest": _Code.INVALID_ARGUMENT,
    "bad_guest": _Code.INVALID_ARGUMENT,
    "bad_model": _Code.INVALID_ARGUMENT,
    "not_acceptable": _Code.INVALID_ARGUMENT,
    "forbidden": _Code.PERMISSION_DENIED,
    "not_found": _Code.NOT_FOUND,
    # Here a disabled app; what exists already is HTTP's business, where things are made.
    "conflict": _Code.FAILED_PRECONDITION,
    "too_big": _Code.RESOURCE_EXHAUSTED,
    "unsupported": _Code.UNIMPLEMENTED,
    "guest_failed": _Code.ABORTED,
    "model_failed": _Code.ABORTED,
    "unavailable": _Code.UNAVAILABLE,
    "suspended": _Code.UNAVAILABLE,
    "bad_settings": _Code.INTERNAL,
    "internal": _Code.INTERNAL,
}
# Clients take 8 KiB of metadata, and a sentence may repeat a name they sent.
_MAX_SENTENCE = 1000
BUG = "the box failed on this request; its log has the reason"


@dataclass(frozen=True, slots=True)
class Status:
    """What ends a call that failed. trailing: metadata, lower-case keys."""

    code: grpc.StatusCode
    sentence: str
    trailing: tuple[tuple[str, str], ...]


def status_of(error: ApplianceError) -> Status:
    """Say a failure; of our own broken promises no more than that."""
    # What is not listed is no answer of a room, so that it is our bug.
    code = CODES.get(error.code, _Code.INTERNAL)
    trailing = [("error-code", error.code)]
    if isinstance(error, GuestFailed):
        trailing.append(("error-reason", error.reason.value))
    if isinstance(error, Unavailable):
        trailing.append(("grpc-retry-pushback-ms", str(max(1, round(error.retry_after_s * 1000)))))
    sentence = BUG if code is _Code.INTERNAL else str(error)[:_MAX_SENTENCE]
    return Status(code, sentence, tuple(trailing))
