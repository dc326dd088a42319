"""Every way a request to the box can fail, and the HTTP status and code each way carries.

    ApplianceError
     |- BadRequest     400 bad_request    a parameter, a body or a header is wrong
     |- BadPicture     400 bad_picture    the bytes are no picture we read, or a damaged or huge one
     |- BadManifest    400 bad_manifest   app.toml or model.toml says something we refuse
     |- BadGuest       422 bad_guest      no wasm, truncated, an unknown import, does not compile
     |- BadModel       422 bad_model      no weights that load, or they are not what model.toml says
     |- Forbidden      403 forbidden      the operator's policy or signatures do not allow it
     |- NotFound       404 not_found      no app, model, camera or file of that name
     |- NotAcceptable  406 not_acceptable no form of the answer that the client accepts
     |- Conflict       409 conflict       it exists already, or another change is under way
     |- TooBig         413 too_big        the body or the file is over its limit
     |- Unsupported    501 unsupported    part of a protocol that this box does not offer
     |- GuestFailed    502 guest_failed   the guest was reached and gave no usable answer
     |- ModelFailed    502 model_failed   the model was run and gave no usable answer
     |- Unavailable    503 unavailable    the box cannot do it now; the same call may work later
     |   `- Suspended  503 suspended      the app pays back what its failed frames took
     |- BadSettings    500 bad_settings   the operator's settings; the box does not start
     `- Internal       500 internal       our own broken promise

Rules:
1. Only the class knows status and code. An API file reads them; nothing else maps errors.
2. The message is shown to the client: what happened, got, wanted, what to do. It holds names,
   never folders of the box and never payload bytes.
"""

from enum import StrEnum
from typing import Self


class ApplianceError(Exception):
    """A request cannot be served; the message says what, got, wanted and what to do."""

    status = 500
    code = "internal"

    def again(self, more: str = "") -> Self:
        """Make the same error anew, without its traceback, which may hold a body or a guest.

        more: to be said at its end.
        """
        other = type(self).__new__(type(self), f"{self}{more}")
        vars(other).update(vars(self))
        return other


class BadRequest(ApplianceError):
    """A parameter, a body or a header is wrong."""

    status = 400
    code = "bad_request"


class BadPicture(ApplianceError):
    """The bytes are not a picture this box reads, or a damaged or too large one."""

    status = 400
    code = "bad_picture"


class BadManifest(ApplianceError):
    """A manifest, or a file that it names, is wrong."""

    status = 400
    code = "bad_manifest"


class BadGuest(ApplianceError):
    """The guest cannot be deployed: not wasm, truncated, an unknown import, not compilable."""

    status = 422
    code = "bad_guest"


class BadModel(ApplianceError):
    """The model cannot be used: it does not load, or is not what its manifest says."""

    status = 422
    code = "bad_model"


class Forbidden(ApplianceError):
    """The operator does not allow it: not granted, not signed, or signed wrongly."""

    status = 403
    code = "forbidden"


class NotFound(ApplianceError):
    """Nothing of that name is here."""

    status = 404
    code = "not_found"


class NotAcceptable(ApplianceError):
    """The answer has no form that the client accepts."""

    status = 406
    code = "not_acceptable"


class Conflict(ApplianceError):
    """The thing exists already, or another change of it is under way."""

    status = 409
    code = "conflict"


class TooBig(ApplianceError):
    """A body or a file is over its limit."""

    status = 413
    code = "too_big"


class Unsupported(ApplianceError):
    """A known part of a protocol is not offered here, or switched off."""

    status = 501
    code = "unsupported"


class FailureReason(StrEnum):
    """Why a guest gave no answer; also the metric's label, so the set stays small."""

    TRAP = "trap"
    EXIT = "exit"
    DEADLINE = "deadline"
    MEMORY = "memory"
    FUEL = "fuel"
    CALLS = "calls"
    OUTPUT = "output"
    ERRNO = "errno"


class GuestFailed(ApplianceError):
    """The guest ran and failed. 502: to the client we are a gateway to somebody else's code.

    reason: which limit or event ended the call.   is_overload: what it waited for was the box.
    """

    status = 502
    code = "guest_failed"

    def __init__(self, message: str, *, reason: FailureReason, is_overload: bool = False) -> None:
        super().__init__(message)
        self.reason = FailureReason(reason)
        self.is_overload = is_overload


class ModelFailed(ApplianceError):
    """The model ran and failed on this input; like a guest it is somebody else's."""

    status = 502
    code = "model_failed"


class Unavailable(ApplianceError):
    """The box cannot do this now.

    retry_after_s: when a retry may make sense.
    """

    status = 503
    code = "unavailable"

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Suspended(Unavailable):
    """The app is not run for a while: its failed frames took more than their share."""

    code = "suspended"


class BadSettings(ApplianceError):
    """A setting is wrong; the box does not start with it."""

    code = "bad_settings"


class Internal(ApplianceError):
    """Our own broken promise; the log has the rest."""
