"""How a call to a box can fail, and how each failure is said.

    ApplianceError
     |- Refused       the box answered, and said no: its sentence, status and code
     `- Unavailable   no box, or no answer in time, or somebody else on the socket

Everything here is shared by the blocking and the asynchronous client.
"""

import json

import httpx

from appliance.errors import ApplianceError, Unavailable


class Refused(ApplianceError):
    """The box refused; the message is its sentence.

    status: of HTTP.   code: the box's word for it, such as bad_picture.
    reason: of a failed guest (trap, exit, deadline, ...).
    retry_after_s: when the same call may work; None if it never will by itself.
    """

    def __init__(
        self,
        sentence: str,
        *,
        status: int,
        code: str,
        reason: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code
        self.reason = reason
        self.retry_after_s = retry_after_s

    @property
    def sentence(self) -> str:
        """What happened, got, wanted, what to do."""
        return str(self)

    def about(self, name: str) -> "Refused":
        """Say the same with the name of what it was about in front."""
        return Refused(
            f"{name}: {self}", status=self.status, code=self.code, reason=self.reason,
            retry_after_s=self.retry_after_s,
        )  # fmt: skip


# Of a box that stops, starts, or has no room for one more request now.
_PASSING = frozenset({429, 502, 503, 504})


def is_passing(error: ApplianceError) -> bool:
    """Tell whether the same call may work later: the box is away, starts, or is full."""
    if isinstance(error, Refused):
        return error.status in _PASSING
    return isinstance(error, Unavailable)


def refusal_of(response: httpx.Response) -> Refused:
    """Read a refusal, of a box or of whatever answered in its place."""
    try:
        told = json.loads(response.content)
    except ValueError:
        told = None
    told = told if isinstance(told, dict) else {}
    sentence, code, reason = (
        value if isinstance(value := told.get(key), str) else None
        for key in ("error", "code", "reason")
    )
    return Refused(
        sentence or f"refused with status {response.status_code}",
        status=response.status_code,
        code=code or "unknown",
        reason=reason,
        retry_after_s=_seconds(response.headers.get("retry-after", "")),
    )


def _seconds(text: str) -> float | None:
    # The header may also be a date; no box of ours sends one.
    return float(text) if text.isascii() and text.isdigit() else None


def unanswered(error: httpx.HTTPError, shown: str) -> Unavailable:
    """Say why there is no answer.

    shown: the address as the user knows it.
    """
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return Unavailable(f"the certificate of {shown} is not trusted; give its issuer's as ca")
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return Unavailable(
            f"no appliance answers on {shown}; start one with `appliance serve`, "
            "or say where with --state"
        )
    if isinstance(error, httpx.TimeoutException):
        return Unavailable("the appliance did not answer in time; it hangs, or has too much to do")
    return Unavailable(f"the appliance did not answer: {error}")
