"""The seam between the modes and whoever has a frame."""

from dataclasses import dataclass
from typing import Protocol

from appliance.records import Frame


@dataclass(frozen=True, slots=True)
class Answer:
    """What a guest said about a frame.

    outputs: one message or one line each, as bytes.   guest_s: time inside the guest and its host
    calls.   memory_bytes: its linear memory after the call.
    """

    outputs: tuple[bytes, ...]
    guest_s: float
    memory_bytes: int


class Runner(Protocol):
    """Runs an app's guest; thread-safe."""

    def run(self, frame: Frame) -> Answer:
        """Show the guest a frame.

        Raises: GuestFailed with the reason; Unavailable if all instances stay busy.
        """
        ...

    def close(self) -> None:
        """End all instances. No run may be under way."""
        ...
