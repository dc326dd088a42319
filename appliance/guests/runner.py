"""The seam between the modes and whoever has a frame."""

from dataclasses import dataclass
from typing import Protocol

from appliance.records import Frame
from wasi_nn.executor import Cancellation, Spent


@dataclass(frozen=True, slots=True)
class Answer:
    """What a guest said about a frame.

    outputs: one message or one line each, as bytes.   guest_s: time inside the guest and its host
    calls, of which spent says what the computes took.   memory_bytes: its linear memory after the
    call.
    """

    outputs: tuple[bytes, ...]
    guest_s: float
    memory_bytes: int
    spent: Spent


class Runner(Protocol):
    """Runs an app's guest; thread-safe."""

    def run(self, frame: Frame, cancellation: Cancellation | None = None) -> Answer:
        """Show the guest a frame.

        cancellation: tells when nobody waits for the answer; what is queued is then dropped.
        Raises: GuestFailed with the reason; Unavailable if all instances stay busy, or
        the box was too busy to compute for it.
        """
        ...

    def close(self) -> None:
        """End all instances. No run may be under way."""
        ...
