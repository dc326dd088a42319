"""What the server knows of a request beside its ASGI scope, and hands to the shell and to routes.

A route adds a part to the Server-Timing header of its answer by

    timing_of(request)["decode"] = 1.8  # ms
"""

from dataclasses import dataclass, field

from fastapi import Request
from starlette.types import Scope

_KEY = "exchange"


@dataclass(slots=True)
class Exchange:
    """One request and its answer.

    peer: who asks, for the log.   is_local: it came by a Unix socket, whose rights let it in.
    bytes_in: of the body, so far.   cut: the status with which the server itself ended it, if so.
    timing: parts of the time spent, by name, ms.   request_id: the client's own or ours.
    """

    peer: str = "-"
    is_local: bool = True
    bytes_in: int = 0
    cut: int = 0
    request_id: str = ""
    timing: dict[str, float] = field(default_factory=dict)


def put_exchange(scope: Scope, exchange: Exchange) -> None:
    """Attach it to a request."""
    scope.setdefault("state", {})[_KEY] = exchange


def exchange_of(scope: Scope) -> Exchange:
    """Find the exchange of a request; one that did not come by our server gets a blank one."""
    state = scope.setdefault("state", {})
    found = state.get(_KEY)
    if not isinstance(found, Exchange):
        found = state[_KEY] = Exchange()
    return found


def timing_of(request: Request) -> dict[str, float]:
    """Give the parts of a request's time, name to ms, for a route to fill in."""
    return exchange_of(request.scope).timing
