"""The newest frame of a camera, and leases on it: one place, latest wins.

Guarantees:
1. `publish` never waits for a reader; a frame nobody took before the next one is counted.
2. A frame's memory is given back exactly once: when it is no longer the newest and its last lease
   is closed.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from appliance.records import Frame


@dataclass(slots=True)
class _Kept:
    """A frame with its memory. leases: open ones.   is_newest: a hold of the place itself."""

    frame: Frame
    give_back: Callable[[], None]
    leases: int = 0
    is_newest: bool = True
    was_taken: bool = False

    @property
    def is_free(self) -> bool:
        return not self.leases and not self.is_newest


class Lease:
    """A frame on loan until `close`; its pixels are not to be looked at afterwards."""

    __slots__ = ("_close", "frame")

    def __init__(self, frame: Frame, close: Callable[[], None]) -> None:
        self.frame = frame
        self._close: Callable[[], None] | None = close

    def close(self) -> None:
        """Give it back; a second time does nothing."""
        close, self._close = self._close, None
        if close is not None:
            close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # A lease that a failing caller forgot would hold its slot for ever.
        self.close()


class Newest:
    """Holds the newest frame for any number of readers."""

    def __init__(self) -> None:
        # Re-entrant: the collector may run a forgotten lease's __del__ while the lock is held.
        self._changed = threading.Condition(threading.RLock())
        self._kept: _Kept | None = None
        self._wakes = 0
        self.unread = 0

    def publish(self, frame: Frame, give_back: Callable[[], None]) -> None:
        """Make a frame the newest. give_back: called when its memory is free; must not block."""
        with self._changed:
            old, self._kept = self._kept, _Kept(frame, give_back)
            self._changed.notify_all()
        self._let_go(old)

    def clear(self) -> None:
        """Forget the newest frame and wake all who wait; leases stay valid."""
        with self._changed:
            old, self._kept = self._kept, None
            self._wakes += 1
            self._changed.notify_all()
        self._let_go(old, counts=False)

    def wait_newer(self, sequence: int, timeout_s: float) -> Lease | None:
        """Borrow the newest frame with a greater number; see `states.Camera`."""
        ends_at = time.monotonic() + timeout_s
        with self._changed:
            wakes = self._wakes
            while self._kept is None or self._kept.frame.sequence <= sequence:
                left_s = ends_at - time.monotonic()
                if left_s <= 0 or self._wakes != wakes:
                    return None
                self._changed.wait(left_s)
            kept = self._kept
            kept.leases += 1
            kept.was_taken = True
        return Lease(kept.frame, lambda: self._close(kept))

    def _close(self, kept: _Kept) -> None:
        with self._changed:
            kept.leases -= 1
            is_free = kept.is_free
        if is_free:
            kept.give_back()

    def _let_go(self, kept: _Kept | None, *, counts: bool = True) -> None:
        if kept is None:
            return
        with self._changed:
            kept.is_newest = False
            self.unread += counts and not kept.was_taken
            is_free = kept.is_free
        if is_free:
            kept.give_back()
