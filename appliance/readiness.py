"""Whether the box takes work: starting, ready, stopping; and who wants to know of the stop.

Guarantees: it goes forward only, from any thread. Callbacks are called once, without a lock held;
one that raises is logged and does not keep the others from being called.
"""

import logging
import threading
from collections.abc import Callable
from enum import StrEnum

from appliance.errors import Unavailable

log = logging.getLogger(__name__)


class Phase(StrEnum):
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"


class Readiness:
    """The phase of one box."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._phase = Phase.STARTING
        self._callbacks: list[Callable[[], None]] = []

    @property
    def phase(self) -> Phase:
        return self._phase

    @property
    def is_ready(self) -> bool:
        return self._phase is Phase.READY

    def begin(self) -> None:
        """Say that everything has come up; a stop that came meanwhile stays one."""
        with self._lock:
            if self._phase is Phase.STARTING:
                self._phase = Phase.READY

    def stop(self) -> None:
        """Say that the box stops and tell whoever asked; a second call does nothing."""
        with self._lock:
            self._phase = Phase.STOPPING
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            try:
                callback()
            except Exception:
                log.exception("callback at the stop failed")

    def on_stopping(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Have a callback called when the stop begins, at once if it has begun.

        It is called in the thread that stops the box and must not wait: a stream that lasts ends
        itself, say by setting an event.
        Returns: what to call when nobody wants to know any more; calling it twice does no harm.
        """
        with self._lock:
            is_late = self._phase is Phase.STOPPING
            if not is_late:
                self._callbacks.append(callback)
        if is_late:
            callback()

        def forget() -> None:
            with self._lock:
                if callback in self._callbacks:
                    self._callbacks.remove(callback)

        return forget

    def check(self) -> None:
        """Refuse unless the box is ready. Raises: Unavailable."""
        phase = self._phase
        if phase is not Phase.READY:
            raise Unavailable(f"the box is {phase}; ask again in a moment")
