"""Versions that were refused lately are refused again, without being tried.

Whoever deploys the same bad bytes again and again, be it a script or a fleet's agent, would have
each compiled, tried in a process of its own and journalled: on two cores beside a dozen other
failing apps that cost a seventh of what the others answered.

Rules:
1. FIRST_S after a refusal the same bytes are tried again, for what they lacked may be there now;
   that time doubles with each refusal, up to MOST_S.
2. What is no fault of the bundle is not remembered: a full disk, a busy box, a missing signature.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from appliance.errors import ApplianceError, BadGuest, BadManifest, BadPicture, GuestFailed

FIRST_S = 2.0
MOST_S = 60.0
# Names and bytes are the client's to invent; the oldest refusal is forgotten.
KEPT = 64

_FAULTS = (BadGuest, BadManifest, BadPicture, GuestFailed)


@dataclass(frozen=True, slots=True)
class _Refusal:
    error: ApplianceError
    at_s: float
    for_s: float


class Refusals:
    """The refused versions of one box. Thread-safe. clock: monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, str], _Refusal] = OrderedDict()

    @contextmanager
    def remembered(self, name: str, version: str) -> Iterator[None]:
        """Remember how a try ends that is made inside the block.

        Raises: what the last one raised, before the block begins, if it is too early for another.
        """
        known = self._known.get((name, version))
        if known is not None:
            since_s = self._clock() - known.at_s
            if since_s < known.for_s:
                raise known.error.again(
                    f" (refused {since_s:.1f} s ago; the same bytes are tried again in "
                    f"{known.for_s - since_s:.1f} s)",
                )
        try:
            yield
        except _FAULTS as exc:
            if not (isinstance(exc, GuestFailed) and exc.is_overload):
                for_s = FIRST_S if known is None else min(2 * known.for_s, MOST_S)
                self._note((name, version), _Refusal(exc.again(), self._clock(), for_s))
            raise
        self._forget((name, version))

    def _note(self, key: tuple[str, str], refusal: _Refusal) -> None:
        with self._lock:
            self._known[key] = refusal
            self._known.move_to_end(key)
            while len(self._known) > KEPT:
                self._known.popitem(last=False)

    def _forget(self, key: tuple[str, str]) -> None:
        with self._lock:
            self._known.pop(key, None)
