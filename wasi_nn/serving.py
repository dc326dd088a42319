"""Whom a host function serves: the guest that runs on its thread.

One Store runs on one thread at a time, and `with guest:` marks which, so host functions are made
once for all guests of an engine.
"""

import logging
import threading
from collections.abc import Callable

import wasmtime

from wasi_nn.errors import Errno, MissingMemory, NNError
from wasi_nn.memory import GuestMemory
from wasi_nn.session import Session

log = logging.getLogger(__name__)


class Guest:
    """One running instance, as its host functions see it.

    session: what the instance owns.   on_error: told every failed WASI-NN call, function name and
    error; the guest itself gets only an errno.
    calls_at_ease: host calls before `on_many_calls` is asked again, each of which takes Python's
    lock from everybody else; counted down by every call.
    """

    def __init__(
        self,
        store: wasmtime.Store,
        session: Session,
        on_error: Callable[[str, NNError], None] | None = None,
    ) -> None:
        self.store = store
        self.session = session
        self.on_error = on_error
        self.interrupt: BaseException | None = None
        self._previous: Guest | None = None
        self.calls_at_ease = 1 << 62
        # None until the instance exists; `memory` is the checked way to it.
        self.bound_memory: GuestMemory | None = None

    @property
    def memory(self) -> GuestMemory:
        """The instance's memory as it is now. Raises: MissingMemory if it exports none."""
        memory = self.bound_memory
        if memory is None:
            raise MissingMemory("the guest exports no memory: wanted an export named memory")
        memory.look()
        return memory

    def on_many_calls(self) -> bool:
        """Hold a guest up that calls the host without end; an embedder decides how.

        Returns: whether this call is to end the guest by a trap.
        """
        self.calls_at_ease = 1 << 62
        return False

    def __enter__(self) -> None:
        """Serve host calls of this thread for this guest, inside the block.

        Guests nest, each in another's; none within itself, as its Store allows neither.
        Raises: at its end, what the user sent (Ctrl-C) while a host function ran.
        """
        # By hand: a generator's context manager costs eight calls more, about every frame.
        self._previous, thread.guest = thread.guest, self

    def __exit__(self, *raised: object) -> None:
        thread.guest, self._previous = self._previous, None
        interrupt, self.interrupt = self.interrupt, None
        if interrupt is not None:
            raise interrupt

    def tell(self, name: str, error: NNError) -> None:
        """Report a failed call; a listener that fails itself is not the guest's matter."""
        if self.on_error is not None:
            try:
                self.on_error(name, error)
            except Exception:
                log.exception("listener for failed calls failed name=%s", name)
            except BaseException as exc:  # Ctrl-C, SystemExit: raised again at the block's end
                self.interrupt = exc

    def close(self) -> None:
        """Give back all that the guest owns; windows into its memory become invalid."""
        if self.bound_memory is not None:
            self.bound_memory.close()
            self.bound_memory = None
        self.session.close()


class _Thread(threading.local):
    """guest: who runs on this thread."""

    guest: Guest | None = None


thread = _Thread()


def refuse(name: str, exc: BaseException) -> int:
    """Turn whatever a host function raised into an errno."""
    guest = thread.guest
    if guest is None:
        log.error("host function outside a running guest name=%s", name)
    elif isinstance(exc, NNError):
        guest.tell(name, exc)
        return exc.errno
    elif isinstance(exc, Exception):
        log.error("host function failed name=%s", name, exc_info=exc)
    else:  # Ctrl-C, SystemExit: raised again at the end of the guest's block
        guest.interrupt = exc
    return Errno.RUNTIME_ERROR
