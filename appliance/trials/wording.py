"""Our errors on their way out of a throw-away process: which kinds, and with what sentence."""

from typing import Any

from appliance import errors
from appliance.errors import ApplianceError, FailureReason, GuestFailed, Unavailable

_MAX_SENTENCE = 2000
# Those that are made of their sentence alone.
_KINDS = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, ApplianceError) and kind is not GuestFailed
}


def to_json(error: ApplianceError) -> dict[str, str]:
    """Write an error down."""
    reason = error.reason.value if isinstance(error, GuestFailed) else ""
    return {
        "kind": type(error).__name__, "sentence": str(error)[:_MAX_SENTENCE], "reason": reason,
    }  # fmt: skip


def from_json(value: Any) -> ApplianceError:
    """Read an error; whatever it is, it is one."""
    match value:
        case {"kind": "GuestFailed", "sentence": str() as sentence, "reason": str() as reason} if (
            reason in set(FailureReason)
        ):
            return GuestFailed(sentence, reason=FailureReason(reason))
        case {"kind": str() as kind, "sentence": str() as sentence} if kind in _KINDS:
            return _KINDS[kind](sentence[:_MAX_SENTENCE])
    return Unavailable("the trial failed and did not say how; the box's log may have more")
